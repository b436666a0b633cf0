"""Photos as apps have them: Pillow's images, and NumPy's arrays of a single one or of several equal ones."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from PIL import Image

from nst_lightning.errors import UserError, require
from nst_lightning.images import array_to_image, image_to_array, resize_array, to_rgb
from nst_lightning.inference.rasters import Raster

Photo = Image.Image | np.ndarray
"""An RGB image, or an array of float32 in [0, 1] of shape (3, H, W)."""
Given = TypeVar("Given", Image.Image, np.ndarray)
"""An image, or an array of shape (H, W, 3) or (N, H, W, 3): bytes, or float32 in [0, 1]."""


def split_photos(given: Image.Image | np.ndarray) -> list[Photo]:
    """The photos that are given. Bytes become images, so that they are painted as images are.

    Raises:
        UserError: an array has another type or shape, or values that are out of range, or nothing; or what is given is
            neither an image nor an array.
    """
    if isinstance(given, Image.Image):
        return [to_rgb(given)]
    require("image", type(given), isinstance(given, np.ndarray), "an image or an array")
    kind = given.dtype.name  # whatever the order of bytes
    require("image", kind, kind in ("uint8", "float32"), "an array of uint8 or float32")
    if given.ndim not in (3, 4) or given.shape[-1] != 3 or not given.size:
        raise UserError.about("image", f"the shape must be (H, W, 3) or (N, H, W, 3) and not empty, got {given.shape}")
    photos = given.reshape(-1, *given.shape[-3:])
    if given.dtype == np.uint8:
        return [Image.fromarray(photo) for photo in photos]
    least, most = given.min(), given.max()
    require("image", f"{least} to {most}", bool(least >= 0 and most <= 1), "in [0, 1] if it is float32")
    return [np.ascontiguousarray(photo.transpose(2, 0, 1), np.float32) for photo in photos]


def join_pictures(pictures: Sequence[Photo], given: Given) -> Given:
    """Pictures in the form in which their photos were given, see `split_photos`."""
    if isinstance(given, Image.Image):
        (picture,) = pictures
        assert isinstance(picture, Image.Image)
        return picture
    own = [p if isinstance(p, Image.Image) else p.transpose(1, 2, 0).clip(0, 1) for p in pictures]
    joined = np.stack([np.asarray(picture) for picture in own])
    return joined if given.ndim == 4 else joined[0]


def size_of(photo: Photo) -> tuple[int, int]:
    """Width and height in pixels."""
    return photo.size if isinstance(photo, Image.Image) else (photo.shape[2], photo.shape[1])


def scale_photo(photo: Photo, size: tuple[int, int]) -> Photo:
    """A photo scaled to a width and height (Lanczos)."""
    if size_of(photo) == size:
        return photo
    if isinstance(photo, Image.Image):
        return photo.resize(size, Image.Resampling.LANCZOS)
    return resize_array(photo, size)


def to_array(photo: Photo) -> np.ndarray:
    """A photo as an array of float32."""
    return image_to_array(photo) if isinstance(photo, Image.Image) else photo


def to_raster(photo: Photo) -> Raster:
    """A photo whose rows are read one strip after the other."""
    return Raster.of_image(photo) if isinstance(photo, Image.Image) else Raster.of_array(photo)


def like(picture: Photo, photo: Photo) -> Photo:
    """A picture as an image or an array, as its photo is."""
    if isinstance(photo, Image.Image):
        return picture if isinstance(picture, Image.Image) else array_to_image(picture)
    return to_array(picture)
