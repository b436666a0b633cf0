"""Crops of paintings, which replace some photos in training."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nst_lightning.encoders import resize_tensor
from nst_lightning.images import list_pictures, read_rgb, resize_short_side

LARGEST_SHORT_SIDE = 512
KEPT = 256
"""Number of paintings to keep in memory, at most 200 MB of them if they are squares; others are read when needed."""


class PaintingCrops:
    """Random square crops of the paintings in a folder.

    Args:
        folder: folder of picture files, searched recursively; None for no paintings.
        share: share of the photos that crops replace.

    Raises:
        PictureError: the folder is missing or has no picture, or a picture can't be read.
    """

    def __init__(self, folder: Path | None, *, share: float) -> None:
        self.share = share
        self._paintings = [] if folder is None else list_pictures(folder)
        for path in self._paintings:  # refused before the work begins
            _read(path)

    def mix_in(self, photos: Tensor, generator: torch.Generator) -> Tensor:
        """Replace some of the photos, RGB in [0, 1], shape (N, 3, S, S), by crops at random scales."""
        if not self._paintings:
            return photos
        replaced = torch.rand(len(photos), generator=generator) < self.share
        side = photos.shape[-1]
        return torch.stack([self._crop(side, generator) if x else photo for photo, x in zip(photos, replaced)])

    def crop_like(self, photos: Tensor, generator: torch.Generator) -> Tensor:
        """As many crops as there are photos, of their size and on their device; without paintings, the photos."""
        if not self._paintings:
            return photos
        return torch.stack([self._crop(photos.shape[-1], generator) for _ in photos]).to(photos)

    def _crop(self, side: int, generator: torch.Generator) -> Tensor:
        chosen, scale, down, across = torch.rand(4, generator=generator).tolist()
        painting = _read(self._paintings[int(chosen * len(self._paintings))]).float() / 255
        short_side = min(painting.shape[-2:])
        resized = resize_tensor(painting[None], round(side * (max(side, short_side) / side) ** scale))[0]
        top, left = (int(place * (n - side + 1)) for place, n in zip((down, across), resized.shape[-2:]))
        return resized[:, top : top + side, left : left + side]


@lru_cache(maxsize=KEPT)
def _read(path: Path) -> Tensor:
    """A painting as uint8 of shape (3, H, W), its short side at most 512 pixels."""
    image = read_rgb(path)
    if min(image.size) > LARGEST_SHORT_SIDE:
        image = resize_short_side(image, LARGEST_SHORT_SIDE)
    return torch.from_numpy(np.asarray(image).transpose(2, 0, 1).copy())
