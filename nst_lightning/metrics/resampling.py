"""Lanczos resampling of tensors on their own device, like Pillow's."""

import numpy as np
import torch
from torch import Tensor

from nst_lightning.images import resize_array

_LOBES = 3  # of the Lanczos window on each side, as in Pillow


def resize_lanczos(pictures: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize pictures, RGB in [0, 1], to a width and height, without rounding to 8 bits.

    On the CPU, Pillow does it. Elsewhere it takes two matrix products in float64, which gives the same to 1e-6, and no
    picture leaves the device.

    Args:
        pictures: shape (N, 3, H, W).
        size: the new width and height in pixels.

    Returns:
        The pictures in float32, or unchanged if they have this size already.
    """
    height, width = pictures.shape[-2:]
    if size == (width, height):
        return pictures
    if pictures.device.type == "cpu":
        return torch.from_numpy(np.stack([resize_array(picture, size) for picture in pictures.float().numpy()]))
    return resize_by_products(pictures, size)


def resize_by_products(pictures: Tensor, size: tuple[int, int]) -> Tensor:
    """`resize_lanczos` by matrix products, on any device."""
    height, width = pictures.shape[-2:]
    across, down = (lanczos_weights(*sides).to(pictures.device) for sides in ((width, size[0]), (height, size[1])))
    with torch.autocast(pictures.device.type, enabled=False):
        return (down @ (pictures.double() @ across.mT)).clamp(0, 1).float()


def lanczos_weights(length: int, new_length: int) -> Tensor:
    """The weights of old positions for each new position along an axis: shape (new, old), float64, rows sum to 1.

    The window is stretched where pictures shrink, which averages all that a new pixel covers.
    """
    scale = length / new_length
    stretch = max(1.0, scale)
    centers = (torch.arange(new_length, dtype=torch.float64) + 0.5) * scale
    offsets = (torch.arange(length, dtype=torch.float64) + 0.5 - centers[:, None]) / stretch
    weights = torch.sinc(offsets) * torch.sinc(offsets / _LOBES)
    first = (centers - _LOBES * stretch + 0.5).floor()[:, None]  # Pillow rounds the window's ends to whole pixels
    last = (centers + _LOBES * stretch + 0.5).floor()[:, None]
    places = torch.arange(length)
    inside = (places >= first) & (places < last) & (offsets.abs() < _LOBES)
    weights = torch.where(inside, weights, 0.0)
    return weights / weights.sum(1, keepdim=True)
