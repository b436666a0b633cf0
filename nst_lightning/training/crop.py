"""Random crops, which the losses see of a batch."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor


def crop_at_random(*images: Tensor, largest: int, smallest: int, seed: Sequence[int]) -> list[Tensor]:
    """Crop images of the same shape at the same random place, to at most `largest` pixels and by a few at least.

    The encoder pools pixels in pairs. If it always paired the same rows and columns, a network that makes its pixels in
    pairs as well would learn to favor one pixel of each pair, which shows as a grid.

    Args:
        images: the images, each of shape (N, 3, H, W).
        largest: longest side of a crop, in pixels.
        smallest: shortest side of a crop, in pixels; where it leaves no room, less is removed.
        seed: the same seed always gives the same place.
    """
    sides = images[0].shape[-2:]
    removed = [max(0, min(max(min(8, side // 16), side - largest), side - smallest)) for side in sides]
    top, left = np.random.default_rng(seed).integers(0, removed, endpoint=True).tolist()
    height, width = (side - less for side, less in zip(sides, removed))
    return [image[..., top : top + height, left : left + width] for image in images]
