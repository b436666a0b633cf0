"""The check of batches that come from somebody else's data."""

import torch
from torch import Tensor

from nst_lightning.errors import UserError

_OVERSHOOT = 0.1  # of resampling that isn't clamped


def check_batch(photos: object) -> None:
    """Refuse a batch that isn't photos, RGB in [0, 1], shape (N, 3, H, W).

    Raises:
        UserError: the batch is something else, which the message describes.
    """
    found = _describe(photos)
    if found:
        raise UserError(
            f"batches must be float32 tensors of shape (N, 3, H, W) with values from 0 to 1, got {found}",
            argument="batches",
        )


def _describe(photos: object) -> str | None:
    """What is wrong with a batch."""
    if not isinstance(photos, Tensor):
        return f"a {type(photos).__name__}"
    if photos.dtype != torch.float32 or photos.ndim != 4 or photos.shape[1] != 3:
        return f"{photos.dtype} of shape {tuple(photos.shape)}"
    low, high = photos.min().item(), photos.max().item()
    good = low >= -_OVERSHOOT and high <= 1 + _OVERSHOOT  # false for NaN, too
    return None if good else f"values from {low:.3g} to {high:.3g}"
