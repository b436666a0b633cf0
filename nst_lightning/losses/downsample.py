"""Scaling pictures down, to compare style and content at several scales."""

import torch
from torch import Tensor
from torch.nn import functional as F


def tent_downsample(pictures: Tensor, factor: int) -> Tensor:
    """Scale pictures of shape (N, C, H, W) to 1/factor of their size with a tent filter, in their own precision.

    Plain averages would spread the gradient of a small picture in blocks, which show as a pattern.
    """
    if factor == 1:
        return pictures
    length, channels = 2 * factor - factor % 2, pictures.shape[1]
    tent = factor - (torch.arange(length, device=pictures.device) - (length - 1) / 2).abs()
    tent = (tent / tent.sum()).to(pictures).expand(channels, 1, 1, length)
    with torch.autocast(pictures.device.type, enabled=False):  # pictures rounded twice would have steps
        padded = F.pad(pictures, ((length - factor) // 2,) * 4, mode="reflect")
        columns = F.conv2d(padded, tent, stride=(1, factor), groups=channels)
        return F.conv2d(columns, tent.mT, stride=(factor, 1), groups=channels)
