"""Tiles of a large picture. Each includes all pixels that its features depend on, so tiling doesn't change them."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from nst_lightning.encoders.base import reach_of, stride_of

LEAST_TILE = 256
"""The smallest side of a tile in pixels: smaller tiles would be mostly borders."""


@dataclass(frozen=True)
class Tile:
    """A part of a picture, in pixels.

    Args:
        core: rows and columns of the tile itself; the cores of all tiles fill the picture once.
        seen: rows and columns of the core and of a border with the pixels that the core's features depend on.
    """

    core: tuple[slice, slice]
    seen: tuple[slice, slice]

    def of(self, pictures: Tensor) -> Tensor:
        """Cut the tile with its border out of pictures of shape (N, C, H, W)."""
        return pictures[..., self.seen[0], self.seen[1]]

    def of_mask(self, mask: Tensor | None) -> Tensor | None:
        """Cut the core out of a mask of shape (1, 1, H, W), if there is a mask."""
        return None if mask is None else mask[..., self.core[0], self.core[1]]

    def crop(self, features: Tensor, stride: int) -> Tensor:
        """Cut the core's features out of the features of the tile with its border."""
        rows, columns = (self._inner(axis, stride) for axis in (0, 1))
        return features[..., rows, columns]

    def _inner(self, axis: int, stride: int) -> slice:
        core, seen = self.core[axis], self.seen[axis]
        first = (core.start - seen.start) // stride
        # the last tile keeps a remainder smaller than the stride, as the whole picture does
        return slice(first, None) if core.stop == seen.stop else slice(first, (core.stop - seen.start) // stride)


def tiles_of(height: int, width: int, layers: Sequence[str], *, side: int | None = None, extra: int = 0) -> list[Tile]:
    """Divide a picture into tiles.

    Args:
        height: height of the picture.
        width: width of the picture.
        layers: the layers whose features are needed.
        side: side of the cores in pixels, rounded down to the deepest layer's stride; None makes one tile of the whole
            picture.
        extra: number of positions at the deepest layer by which the border is wider than the features need.
    """
    if side is None:
        whole = (slice(0, height), slice(0, width))
        return [Tile(whole, whole)]
    stride = max(stride_of(layer) for layer in layers)
    side = max(stride, side // stride * stride)
    border = -(-max(reach_of(layer) for layer in layers) // stride) * stride + extra * stride
    rows, columns = (_slices(length, side, border, stride) for length in (height, width))
    return [Tile((row[0], column[0]), (row[1], column[1])) for row in rows for column in columns]


def _slices(length: int, side: int, border: int, stride: int) -> list[tuple[slice, slice]]:
    """The core and seen parts of tiles along one axis; a last part too short to have features joins its neighbor."""
    starts = list(range(0, length, side))
    if len(starts) > 1 and length - starts[-1] < stride:
        starts.pop()
    stops = [*starts[1:], length]
    return [
        (slice(start, stop), slice(max(0, start - border), min(length, stop + border)))
        for start, stop in zip(starts, stops)
    ]
