"""VGG-19 and VGG-16 (Simonyan & Zisserman 2015), with every layer available by its name."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from nst_lightning.encoders.base import Encoder, Features, Pooling, run_convolutions
from nst_lightning.encoders.weights import (
    VGG16_FILES,
    VGG19_FILES,
    Architecture,
    VGGWeights,
    convolution_names,
    load_vgg,
)

Padding = Literal["zeros", "replicate"]


class _VGG(Encoder):
    """The convolutions of a VGG, as far as its weights go."""

    mean: Tensor
    std: Tensor

    def __init__(
        self, weights: str, architecture: Architecture, pooling: Pooling, padding: Padding, deepest: str | None
    ) -> None:
        loaded = load_vgg(weights, architecture)
        names = [name for name in convolution_names(architecture.blocks) if f"{name}.weight" in loaded.tensors]
        layers = [kind + name[4:] for name in names for kind in ("conv", "relu")]
        super().__init__(layers, f"{architecture.name.replace('-', '')} ({loaded.origin})")
        if deepest is not None:
            self.require([deepest])
            self.layers = tuple(layers[: layers.index(deepest) + 1])
            self.description += f" to {deepest}"
            names = names[: names.index("conv" + deepest[4:]) + 1]
        self.convolutions = nn.ModuleDict(
            {name: _convolution(loaded, name, padding if name == "conv1_1" else "zeros") for name in names}
        )
        self.pooling: Pooling = pooling
        self.register_buffer("mean", torch.tensor(loaded.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(loaded.std).view(3, 1, 1), persistent=False)
        self.requires_grad_(False).to(memory_format=torch.channels_last).eval()

    def forward(self, pictures: Tensor, layers: Sequence[str]) -> Features:
        """Features of RGB pictures in [0, 1], shape (N, 3, H, W), at the requested layers."""
        self._check(pictures, layers)
        return run_convolutions(dict(self.convolutions.items()), self.normalize(pictures), layers, self.pooling)

    def normalize(self, pictures: Tensor) -> Tensor:
        """RGB pictures in [0, 1], shape (N, 3, H, W), as the first convolution takes them."""
        return (pictures - self.mean) / self.std


class VGG19(_VGG):
    """VGG-19 (Simonyan & Zisserman 2015), the encoder of Gatys et al., with every layer available by its name.

    Args:
        weights: `imagenet` (torchvision's, 548 MB, downloaded once), `caffe` (the authors' own, which the papers used,
            downloaded once), `bundled` (the authors' own to relu3_1, which come with the package), or a .safetensors
            or .pth file, which may end early. The environment variable NST_VGG19_WEIGHTS names a file to use in place
            of a download.
        pooling: `max` as in VGG's training, `average` as Gatys et al. prefer, or `l2` (root mean square, scaled to the
            magnitude that max pooling gives, so that deeper layers see what they were trained on).
        padding: padding of the first convolution: `zeros` as in VGG's training, or `replicate`, which avoids a dark
            frame along the borders.
        deepest: the deepest layer to offer, by default the last one in the weights; an `EncoderChain` takes deeper
            layers from its next encoder, which may be faster.

    Raises:
        UserError: the file is missing or damaged, the download failed, or the weights have no layer `deepest`.
    """

    def __init__(
        self,
        weights: str = "imagenet",
        pooling: Pooling = "max",
        padding: Padding = "zeros",
        deepest: str | None = None,
    ) -> None:
        super().__init__(weights, VGG19_FILES, pooling, padding, deepest)


class VGG16(_VGG):
    """VGG-16 (Simonyan & Zisserman 2015), the loss network of Johnson et al., with every layer available by its name.

    Args:
        weights: `imagenet` (torchvision's, 528 MB, downloaded once), or a .safetensors or .pth file, which may end
            early. The environment variable NST_VGG16_WEIGHTS names a file to use in place of the download.
        pooling: `max` as in VGG's training, `average` or `l2`, see `VGG19`.
        padding: padding of the first convolution: `zeros` as in VGG's training, or `replicate`, which avoids a dark
            frame along the borders.
        deepest: the deepest layer to offer, see `VGG19`.

    Raises:
        UserError: the file is missing or damaged, the download failed, or the weights have no layer `deepest`.
    """

    def __init__(
        self,
        weights: str = "imagenet",
        pooling: Pooling = "max",
        padding: Padding = "zeros",
        deepest: str | None = None,
    ) -> None:
        super().__init__(weights, VGG16_FILES, pooling, padding, deepest)


def _convolution(loaded: VGGWeights, name: str, padding_mode: Padding) -> nn.Conv2d:
    weight, bias = loaded.tensors[f"{name}.weight"].float(), loaded.tensors[f"{name}.bias"].float()
    convolution = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1, padding_mode=padding_mode)
    convolution.load_state_dict({"weight": weight, "bias": bias})
    return convolution
