"""Pictures as tensors: conversion from Pillow images, and resizing."""

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from nst_lightning.images import fit_short_side, image_to_array


def image_to_tensor(image: Image.Image) -> Tensor:
    """An RGB image as a float32 tensor of shape (1, 3, H, W) in [0, 1]."""
    return torch.from_numpy(image_to_array(image))[None]


def resize_tensor(pictures: Tensor, short_side: int) -> Tensor:
    """Resize pictures (bicubic, antialiased) to a short side of `short_side` pixels.

    Args:
        pictures: RGB in [0, 1], shape (N, C, H, W).
        short_side: the new short side in pixels.
    """
    height, width = pictures.shape[-2:]
    size = fit_short_side((height, width), short_side)
    if size == (height, width):
        return pictures
    precise = pictures.float()  # bfloat16 has no antialiasing on a CPU
    return F.interpolate(precise, size=size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
