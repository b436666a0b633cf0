"""What all encoders share: layer names, checks of requested layers and picture sizes, and the VGG forward pass."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nst_lightning.encoders.weights import VGG19_BLOCKS, convolution_names
from nst_lightning.errors import UserError

Pooling = Literal["max", "average", "l2"]
Features = dict[str, Tensor]

ALL_LAYERS = tuple(kind + name[4:] for name in convolution_names(VGG19_BLOCKS) for kind in ("conv", "relu"))
"""Every layer name of VGG-19: conv1_1, relu1_1, ... relu5_4. VGG-16 has some of them."""

_BLOCK_OF = {name: int(name[4]) for name in ALL_LAYERS}
L2_GAIN = 1.38
"""Factor of `l2` pooling. Measured on photographs, the mean of max pooling divided by that of the root mean square is
1.26, 1.51 and 1.37 in blocks 1 to 3."""


def stride_of(layer: str) -> int:
    """Pixels of the picture, in each direction, for each position at `layer`: 1, 2, 4, 8 or 16."""
    return 2 ** (_BLOCK_OF[layer] - 1)


def reach_of(layer: str) -> int:
    """How many pixels away from its own a position at `layer` of VGG-19 can see, at most; fewer in VGG-16."""
    block, last = _BLOCK_OF[layer], int(layer[6:])
    earlier = sum(2**i * (n + 1) for i, n in enumerate(VGG19_BLOCKS[: block - 1]))  # + 1 for the pooling
    return earlier + 2 ** (block - 1) * last


class Encoder(nn.Module):
    """Base class of encoders: it is frozen, names its layers, and checks requested layers and picture sizes.

    Args:
        layers: names of the layers that the encoder offers, from shallow to deep.
        description: the encoder's kind and weights, for messages and metadata.
        reflects: whether the encoder pads by reflection, which needs two pixels where zeros need one.
    """

    def __init__(self, layers: Sequence[str], description: str, *, reflects: bool = False) -> None:
        super().__init__()
        self.layers = tuple(layers)
        self.description = description
        self._pixels = 2 if reflects else 1

    def train(self, mode: bool = True) -> "Encoder":
        """Stay in evaluation mode, since encoders are never trained."""
        return super().train(False)

    def require(self, layers: Iterable[str]) -> None:
        """Check that this encoder offers layers.

        Raises:
            UserError: VGG-19 has no layer of that name, or this encoder doesn't offer it; the message lists the layers.
        """
        for layer in layers:
            if layer not in ALL_LAYERS:
                raise UserError(f"unknown layer {layer!r}; allowed: {', '.join(ALL_LAYERS)}")
            if layer not in self.layers:
                raise UserError(f"{self.description} has no layer {layer}; {self._reach()}")

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
                raise UserError(f"a picture of {width}x{height} is too small for {layer}: at least {needed}x{needed}")


def run_convolutions(
    convolutions: Mapping[str, nn.Module], x: Tensor, layers: Iterable[str], pooling: Pooling
) -> Features:
    """Run convolutions, ReLUs and poolings up to the deepest of the requested layers, and return their features."""
    wanted, found = set(layers), {}
    x = x.contiguous(memory_format=torch.channels_last)
    for name, convolution in convolutions.items():
        if name.endswith("_1") and name != "conv1_1":  # a new block
            x = pool(x, pooling)
        x = convolution(x)
        if name in wanted:
            found[name] = x
        relu = "relu" + name[4:]
        x = F.relu(x)
        if relu in wanted:
            found[relu] = x
        if len(found) == len(wanted):
            break
    return found


def pool(x: Tensor, pooling: Pooling) -> Tensor:
    """Halve the size of features of shape (N, C, H, W)."""
    if pooling == "max":
        return F.max_pool2d(x, 2)
    if pooling == "average":
        return F.avg_pool2d(x, 2)
    return L2_GAIN * (F.avg_pool2d(x.square(), 2) + 1e-8).sqrt()  # the root has no gradient at 0
