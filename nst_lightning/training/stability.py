"""Stability in video: photos that differ by a small shift, or by noise, should be painted alike."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

LARGEST_SHIFT = 4
NOISE = 0.02
"""Standard deviation of the noise, for values in [0, 1]: that of a camera in dim light."""
_BORDER = 16  # pixels along the border are left out, since a shift brings new content there


def disturb(photos: Tensor, *, seed: Sequence[int]) -> tuple[Tensor, tuple[int, int]]:
    """Shift photos by a few pixels and add noise.

    Args:
        photos: RGB in [0, 1], shape (N, 3, H, W).
        seed: the same seed always gives the same shift and, on the same kind of device, the same noise.

    Returns:
        The disturbed photos, and the numbers of pixels by which they are shifted down and to the right.
    """
    random = np.random.default_rng(seed)
    down, right = random.integers(-LARGEST_SHIFT, LARGEST_SHIFT + 1, size=2).tolist()
    generator = torch.Generator(photos.device).manual_seed(int(random.integers(2**63)))
    noise = NOISE * torch.randn(photos.shape, generator=generator, device=photos.device)
    return (photos.roll((down, right), (2, 3)) + noise.to(photos)).clamp(0, 1), (down, right)


def unsteadiness(pictures: Tensor, disturbed: Tensor, shift: tuple[int, int]) -> Tensor:
    """Mean squared difference between shifted pictures and the pictures of shifted photos; a scalar.

    Args:
        pictures: pictures of the photos, RGB in [0, 1], shape (N, 3, H, W).
        disturbed: pictures of the disturbed photos, same shape.
        shift: numbers of pixels by which the photos were shifted down and to the right.
    """
    height, width = pictures.shape[-2:]
    border = min(_BORDER, height // 4, width // 4)
    difference = pictures.roll(shift, (2, 3)) - disturbed
    return difference[..., border : height - border, border : width - border].square().mean()
