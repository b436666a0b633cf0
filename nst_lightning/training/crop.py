"""Where the losses look at a batch."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor


def crop_at_random(*images: Tensor, largest: int, smallest: int, seed: Sequence[int]) -> list[Tensor]:
    """Crop images of the same shape to at most `largest` pixels, or by a few pixels, all at the same random place.

    The encoder pools pixels in pairs. If pairs were always the same rows and columns, a network that makes its pixels
    in pairs as well would learn to serve one member of each pair, which shows as a grid.

    Args:
        images: each of shape (N, 3, H, W).
        largest: longest side of what is kept, in pixels.
        smallest: shortest side that may be left of it, in pixels.
        seed: the same seed always gives the same place.
    """
    sides = images[0].shape[-2:]
    removed = [max(0, min(max(min(8, side // 16), side - largest), side - smallest)) for side in sides]
    top, left = np.random.default_rng(seed).integers(0, removed, endpoint=True).tolist()
    height, width = (side - less for side, less in zip(sides, removed))
    return [image[..., top : top + height, left : left + width] for image in images]
