"""What is compared of features: Gram matrices, and the picture at smaller sizes."""

import torch
from torch import Tensor
from torch.nn import functional as F


def gram_matrix(features: Tensor) -> Tensor:
    """Gram matrix of features, averaged over positions: F F^T / M (Gatys et al. 2015, whose G is M times this).

    Computed in float32 or better whatever the precision around it, since sums over positions overflow in float16.

    Args:
        features: shape (N, C, H, W).

    Returns:
        Shape (N, C, C), float32 (float64 for float64 features).
    """
    with torch.autocast(features.device.type, enabled=False):
        precise = features.to(torch.promote_types(features.dtype, torch.float32))
        by_position = precise.permute(0, 2, 3, 1).flatten(1, 2)  # (N, M, C): a view of what encoders return
        return by_position.transpose(1, 2) @ by_position / by_position.shape[1]


def shrink(pictures: Tensor, factor: int) -> Tensor:
    """Pictures of shape (N, C, H, W) at 1/factor of their size, each pixel the average of factor x factor."""
    return pictures if factor == 1 else F.avg_pool2d(pictures, factor)


def resize_to(pictures: Tensor, short_side: int) -> Tensor:
    """Pictures of shape (N, C, H, W) scaled, antialiased, so that their short side measures `short_side` pixels."""
    height, width = pictures.shape[-2:]
    if min(height, width) == short_side:
        return pictures
    scale = short_side / min(height, width)
    size = [max(short_side, round(side * scale)) for side in (height, width)]
    precise = pictures.float()  # bfloat16 has no antialiasing on a CPU
    return F.interpolate(precise, size=size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
