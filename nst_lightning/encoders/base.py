"""What all encoders share: layer names, the checks of what is asked for, and the way through a VGG."""

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
"""Every layer name of VGG-19: conv1_1, relu1_1, ... relu5_4. Those of VGG-16 are some of them."""

_BLOCK_OF = {name: int(name[4]) for name in ALL_LAYERS}
L2_GAIN = 1.38
"""Of `l2` pooling. Measured on photographs, the mean of max pooling over that of the root mean square is 1.26, 1.51 and
1.37 in blocks 1 to 3."""


def stride_of(layer: str) -> int:
    """Pixels of the picture, in each direction, that a position at `layer` stands for: 1, 2, 4, 8 or 16."""
    return 2 ** (_BLOCK_OF[layer] - 1)


def reach_of(layer: str) -> int:
    """How many pixels away from its own a position at `layer` of VGG-19 still sees, at most; of VGG-16, fewer."""
    block, last = _BLOCK_OF[layer], int(layer[6:])
    earlier = sum(2**i * (n + 1) for i, n in enumerate(VGG19_BLOCKS[: block - 1]))  # the pooling counts for one more
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
            UserError: a name is none of VGG-19's (lists them), or this encoder doesn't offer it (says what it offers).
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
    """Convolutions, ReLUs and poolings up to the deepest layer asked for."""
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
    """Features of shape (N, C, H, W) at half the size."""
    if pooling == "max":
        return F.max_pool2d(x, 2)
    if pooling == "average":
        return F.avg_pool2d(x, 2)
    return L2_GAIN * (F.avg_pool2d(x.square(), 2) + 1e-8).sqrt()  # the root has no gradient at 0
