"""VGG-19 and VGG-16 (Simonyan & Zisserman 2015), every layer by name."""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from nst_lightning.encoders.base import ALL_LAYERS, Encoder, Features, Pooling, run_convolutions
from nst_lightning.encoders.weights import CONVOLUTIONS, load_vgg19


class VGG19(Encoder):
    """VGG-19 (Simonyan & Zisserman 2015), every layer by name.

    Args:
        weights: `imagenet` (torchvision's, 548 MB, downloaded once), `caffe` (the authors' own, which the papers used,
            downloaded once), or a .safetensors or .pth file, which may end early. The environment variable
            NST_VGG19_WEIGHTS names a file to use in place of a download.
        pooling: `max` as trained, `average` as Gatys et al. prefer, or `l2` (root mean square, scaled to the magnitude
            that max pooling gives, so that deeper layers see what they were trained on).
        padding: of the first convolution: `zeros` as trained, or `replicate`, which spares the borders a dark frame.
        deepest: the deepest layer to offer, by default the last that the weights have; an `EncoderChain` takes those
            below from its next encoder, which may be faster.
    """

    def __init__(
        self,
        weights: str = "imagenet",
        pooling: Pooling = "max",
        padding: Literal["zeros", "replicate"] = "zeros",
        deepest: str | None = None,
    ) -> None:
        loaded = load_vgg19(weights)
        convolutions = _convolutions(loaded.tensors, first_padding=padding)
        layers = ALL_LAYERS[: ALL_LAYERS.index("relu" + list(convolutions)[-1][4:]) + 1]
        super().__init__(layers, f"VGG19 ({loaded.origin})")
        if deepest is not None:
            self.require([deepest])
            self.layers = layers[: layers.index(deepest) + 1]
            self.description += f" to {deepest}"
            for name in list(convolutions)[CONVOLUTIONS.index("conv" + deepest[4:]) + 1 :]:
                del convolutions[name]
        self.convolutions = convolutions
        self.pooling: Pooling = pooling
        self.register_buffer("mean", torch.tensor(loaded.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(loaded.std).view(3, 1, 1), persistent=False)
        self.requires_grad_(False).to(memory_format=torch.channels_last).eval()

    def forward(self, pictures: Tensor, layers: Sequence[str]) -> Features:
        """Features of RGB pictures in [0, 1], shape (N, 3, H, W), at the layers asked for."""
        self._check(pictures, layers)
        return run_convolutions(self.convolutions, (pictures - self.mean) / self.std, layers, self.pooling)


def _convolutions(tensors: Mapping[str, Tensor], *, first_padding: str) -> nn.ModuleDict:
    """3x3 convolutions from `conv1_1` on, as far as the tensors go."""
    names = [name for name in CONVOLUTIONS if f"{name}.weight" in tensors]
    return nn.ModuleDict(
        {name: _convolution(tensors, name, first_padding if name == "conv1_1" else "zeros") for name in names}
    )


def _convolution(tensors: Mapping[str, Tensor], name: str, padding_mode: str) -> nn.Conv2d:
    weight, bias = tensors[f"{name}.weight"].float(), tensors[f"{name}.bias"].float()
    convolution = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1, padding_mode=padding_mode)
    convolution.load_state_dict({"weight": weight, "bias": bias})
    return convolution
