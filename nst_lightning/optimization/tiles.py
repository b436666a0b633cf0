"""Tiles of a large picture: each is seen with all that its features depend on, so that they are the whole's own."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from nst_lightning.encoders.base import reach_of, stride_of

LEAST_TILE = 256
"""Pixels that a tile's side has at least: of smaller ones, the borders are most."""


@dataclass(frozen=True)
class Tile:
    """A part of a picture, in pixels.

    Args:
        core: rows and columns that are its own; those of all tiles fill the picture once.
        seen: the same with a border of pixels that the core's features depend on.
    """

    core: tuple[slice, slice]
    seen: tuple[slice, slice]

    def of(self, pictures: Tensor) -> Tensor:
        """The tile with its border, of pictures of shape (N, C, H, W)."""
        return pictures[..., self.seen[0], self.seen[1]]

    def of_mask(self, mask: Tensor | None) -> Tensor | None:
        """The core of a mask of shape (1, 1, H, W), if there is one."""
        return None if mask is None else mask[..., self.core[0], self.core[1]]

    def crop(self, features: Tensor, stride: int) -> Tensor:
        """The core's features, of those of the tile with its border."""
        rows, columns = (self._inner(axis, stride) for axis in (0, 1))
        return features[..., rows, columns]

    def _inner(self, axis: int, stride: int) -> slice:
        core, seen = self.core[axis], self.seen[axis]
        first = (core.start - seen.start) // stride
        # the last tile keeps a remainder smaller than the stride, as the whole picture does
        return slice(first, None) if core.stop == seen.stop else slice(first, (core.stop - seen.start) // stride)


def tiles_of(height: int, width: int, layers: Sequence[str], *, side: int | None = None, extra: int = 0) -> list[Tile]:
    """The tiles of a picture.

    Args:
        height: of the picture.
        width: of the picture.
        layers: whose features are wanted.
        side: of the cores in pixels, rounded to what the deepest layer divides; None makes one tile of the whole.
        extra: positions at the deepest layer that are needed beyond what its features depend on.
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
    """Core and seen part of each tile along one axis; a last one too short to have features joins its neighbor."""
    starts = list(range(0, length, side))
    if len(starts) > 1 and length - starts[-1] < stride:
        starts.pop()
    stops = [*starts[1:], length]
    return [
        (slice(start, stop), slice(max(0, start - border), min(length, stop + border)))
        for start, stop in zip(starts, stops)
    ]
