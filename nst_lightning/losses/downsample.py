"""Pictures at a fraction of their size, where style and content are compared at several scales."""

import torch
from torch import Tensor
from torch.nn import functional as F


def tent_downsample(pictures: Tensor, factor: int) -> Tensor:
    """Pictures of shape (N, C, H, W) at 1/factor of their size, through a tent filter, in their own precision.

    Plain averages would spread a small picture's gradient in blocks, which show as a pattern of that period.
    """
    if factor == 1:
        return pictures
    length, channels = 2 * factor - factor % 2, pictures.shape[1]
    tent = factor - (torch.arange(length) - (length - 1) / 2).abs()
    tent = (tent / tent.sum()).to(pictures).expand(channels, 1, 1, length)
    with torch.autocast(pictures.device.type, enabled=False):  # pictures rounded twice would have steps
        padded = F.pad(pictures, ((length - factor) // 2,) * 4, mode="reflect")
        columns = F.conv2d(padded, tent, stride=(1, factor), groups=channels)
        return F.conv2d(columns, tent.mT, stride=(factor, 1), groups=channels)
