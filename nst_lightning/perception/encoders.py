"""Encoders: frozen networks whose features say how a picture looks. Layers go by the field's names."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nst_lightning.perception.weights import CONVOLUTIONS, VGG_BLOCKS, load_vgg19

Pooling = Literal["max", "average", "l2"]
Features = dict[str, Tensor]

ALL_LAYERS = tuple(kind + name[4:] for name in CONVOLUTIONS for kind in ("conv", "relu"))
"""Every layer name of VGG-19: conv1_1, relu1_1, ... relu5_4."""

_BLOCK_OF = {name: int(name[4]) for name in ALL_LAYERS}
_L2_GAIN = (
    1.38  # measured on photographs: mean of max pooling over mean of the RMS is 1.26, 1.51, 1.37 in blocks 1 to 3
)


def stride_of(layer: str) -> int:
    """Pixels of the picture, in each direction, that a position at `layer` stands for: 1, 2, 4, 8 or 16."""
    return 2 ** (_BLOCK_OF[layer] - 1)


def reach_of(layer: str) -> int:
    """How many pixels away from its own a position at `layer` still sees, at most."""
    block, last = _BLOCK_OF[layer], int(layer[6:])
    earlier = sum(2**i * (n + 1) for i, n in enumerate(VGG_BLOCKS[: block - 1]))  # the pooling counts for one more
    return earlier + 2 ** (block - 1) * last


class Encoder(nn.Module):
    """What all encoders share: they are frozen, name their layers and check what they are asked for.

    Args:
        layers: the names of the layers it offers, from shallow to deep.
        description: what it is and which weights it has, for messages and metadata.
        reflects: whether it pads by reflection, which needs two pixels where zeros need one.
    """

    def __init__(self, layers: Sequence[str], description: str, *, reflects: bool = False) -> None:
        super().__init__()
        self.layers = tuple(layers)
        self.description = description
        self._pixels = 2 if reflects else 1

    def train(self, mode: bool = True) -> "Encoder":
        """Stays in evaluation mode: an encoder is never trained."""
        return super().train(False)

    def require(self, layers: Iterable[str]) -> None:
        """Check layer names.

        Raises:
            ValueError: a name is none of VGG-19's (lists them), or this encoder doesn't offer it (says what it offers).
        """
        for layer in layers:
            if layer not in ALL_LAYERS:
                raise ValueError(f"unknown layer {layer!r}; allowed: {', '.join(ALL_LAYERS)}")
            if layer not in self.layers:
                raise ValueError(f"{self.description} has no layer {layer}; {self._reach()}")

    def minimum_size(self, layer: str) -> int:
        """The shortest side in pixels of a picture that still has features at `layer`."""
        return self._pixels * stride_of(layer)

    def _reach(self) -> str:
        if all(layer in self.layers for layer in ALL_LAYERS[: len(self.layers)]):
            return f"it goes as far as {self.layers[-1]}"
        return f"it offers {', '.join(self.layers)}"

    def _check(self, pictures: Tensor, layers: Sequence[str]) -> None:
        self.require(layers)
        for layer in layers:
            needed = self.minimum_size(layer)
            if min(pictures.shape[-2:]) < needed:
                height, width = pictures.shape[-2:]
                raise ValueError(f"a picture of {width}x{height} is too small for {layer}: at least {needed}x{needed}")


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


class EncoderChain(Encoder):
    """Several encoders as one: each layer comes from the first that offers it.

    Args:
        encoders: in order of preference, for example VGG-19's first blocks and a compact encoder for the deep layers.
    """

    def __init__(self, encoders: list[Encoder]) -> None:
        if not encoders:
            raise ValueError("encoders: a chain needs at least one encoder")
        offered = {layer for encoder in encoders for layer in encoder.layers}
        super().__init__(
            [layer for layer in ALL_LAYERS if layer in offered], " + ".join(encoder.description for encoder in encoders)
        )
        self.encoders = nn.ModuleList(encoders)

    def forward(self, pictures: Tensor, layers: Sequence[str]) -> Features:
        """Features of RGB pictures in [0, 1], shape (N, 3, H, W), at the layers asked for."""
        self.require(layers)
        found: Features = {}
        for encoder in self.encoders:
            own = [layer for layer in layers if layer in encoder.layers and layer not in found]
            if own:
                found |= encoder(pictures, own)
        return {layer: found[layer] for layer in layers}

    def minimum_size(self, layer: str) -> int:
        """The shortest side in pixels of a picture that still has features at `layer`."""
        return next(encoder.minimum_size(layer) for encoder in self.encoders if layer in encoder.layers)


def run_convolutions(
    convolutions: Mapping[str, nn.Module], x: Tensor, layers: Iterable[str], pooling: Pooling
) -> Features:
    """Convolutions, ReLUs and poolings up to the deepest layer asked for."""
    wanted, found = set(layers), {}
    x = x.contiguous(memory_format=torch.channels_last)
    for name, convolution in convolutions.items():
        x = convolution(x)
        if name in wanted:
            found[name] = x
        relu = "relu" + name[4:]
        x = F.relu(x)
        if relu in wanted:
            found[relu] = x
        if len(found) == len(wanted):
            break
        if int(name[6:]) == VGG_BLOCKS[int(name[4]) - 1]:
            x = _pool(x, pooling)
    return found


def _pool(x: Tensor, pooling: Pooling) -> Tensor:
    if pooling == "max":
        return F.max_pool2d(x, 2)
    if pooling == "average":
        return F.avg_pool2d(x, 2)
    return _L2_GAIN * (F.avg_pool2d(x.square(), 2) + 1e-8).sqrt()  # the root has no gradient at 0


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
