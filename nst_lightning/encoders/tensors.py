"""Pictures as tensors: from Pillow images, and at other sizes."""

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from nst_lightning.images import fit_short_side, image_to_array


def image_to_tensor(image: Image.Image) -> Tensor:
    """An RGB image as float32 tensor of shape (1, 3, H, W) in [0, 1]."""
    return torch.from_numpy(image_to_array(image))[None]


def resize_tensor(pictures: Tensor, short_side: int) -> Tensor:
    """Pictures scaled, antialiased, so that their short side measures `short_side` pixels.

    Args:
        pictures: RGB in [0, 1], shape (N, C, H, W).
        short_side: in pixels.
    """
    height, width = pictures.shape[-2:]
    size = fit_short_side((height, width), short_side)
    if size == (height, width):
        return pictures
    precise = pictures.float()  # bfloat16 has no antialiasing on a CPU
    return F.interpolate(precise, size=size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
