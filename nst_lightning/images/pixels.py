"""Conversion between Pillow images and float arrays, and between their value ranges."""

import numpy as np
from PIL import Image

from nst_lightning.images.pillow_limits import check_pixels


def image_to_array(image: Image.Image) -> np.ndarray:
    """An RGB image as a float32 array of shape (3, H, W) in [0, 1]."""
    return np.divide(np.asarray(image).transpose(2, 0, 1), 255, dtype=np.float32, order="C")


def array_to_image(array: np.ndarray) -> Image.Image:
    """A float array of shape (3, H, W) as an RGB image; values outside [0, 1] are clipped."""
    return Image.fromarray((array.clip(0, 1) * 255 + 0.5).astype(np.uint8).transpose(1, 2, 0))


def samples_to_array(samples: np.ndarray) -> np.ndarray:
    """16-bit samples of shape (H, W, C) as a float32 array of shape (C, H, W) in [0, 1]."""
    return np.ascontiguousarray(samples.transpose(2, 0, 1), dtype=np.float32) / 65535


def array_to_samples(array: np.ndarray) -> np.ndarray:
    """A float array of shape (C, H, W) as uint16 samples of shape (H, W, C); values outside [0, 1] are clipped."""
    return (array.clip(0, 1) * 65535 + 0.5).astype(np.uint16).transpose(1, 2, 0)


def resize_array(array: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scale a float array of shape (C, H, W) in [0, 1] to a width and height (Lanczos), without rounding to 8 bits."""
    if array.shape[:0:-1] == tuple(size):
        return array
    channels = [Image.fromarray(channel).resize(size, Image.Resampling.LANCZOS) for channel in array]
    return np.stack([np.asarray(channel) for channel in channels]).clip(0, 1)


def fit_short_side(size: tuple[int, int], short_side: int) -> tuple[int, int]:
    """The width and height of a picture of a size, (width, height), after scaling to a short side in pixels."""
    width, height = (max(short_side, round(side * short_side / min(size))) for side in size)
    return width, height


def resize_short_side(image: Image.Image, short_side: int) -> Image.Image:
    """Scale an image, up or down, to a short side of `short_side` pixels, keeping its proportions (Lanczos).

    Raises:
        UserError: it would have more than 500 megapixels, see `check_pixels`.
    """
    target = fit_short_side(image.size, short_side)
    if target == image.size:
        return image
    check_pixels(target)
    return image.resize(target, Image.Resampling.LANCZOS)


def lay_on_white(rgb: Image.Image, alpha: Image.Image) -> Image.Image:
    """An RGB image whose transparent parts are white, as alpha, of mode L, says."""
    return Image.composite(rgb, Image.new("RGB", rgb.size, "white"), alpha)
