"""From Pillow images to what encoders take."""

import torch
from PIL import Image
from torch import Tensor

from nst_lightning.images import image_to_array


def image_to_tensor(image: Image.Image) -> Tensor:
    """An RGB image as float32 tensor of shape (1, 3, H, W) in [0, 1]."""
    return torch.from_numpy(image_to_array(image))[None]
