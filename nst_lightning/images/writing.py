"""Writing picture files: JPEG, PNG, WebP and TIFF, never half a file."""

from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from nst_lightning.images.deep import encode_png, encode_tiff
from nst_lightning.images.paths import PictureError, atomic_path, path_beside
from nst_lightning.images.picture import Picture
from nst_lightning.images.pixels import array_to_samples, lay_on_white
from nst_lightning.images.profiles import SRGB
from nst_lightning.images.reading import to_picture

WRITABLE = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF"}
"""File name endings that `write_picture` accepts, and the formats they stand for."""
LARGEST = {"JPEG": 65500, "WEBP": 16383}
"""The largest width and height in pixels, for formats that have a limit."""


def write_picture(
    path: str | Path,
    picture: Picture | Image.Image | np.ndarray,
    *,
    quality: int = 95,
    bits: Literal[8, 16] = 8,
) -> None:
    """Write a picture in the format of the file's ending, under a temporary name that is renamed when it is complete.

    The file has sRGB's color profile.

    Args:
        path: the file to write; its folder is created if it is missing. JPEG has no transparency: transparent parts
            become white.
        picture: the picture, with its alpha and EXIF data, or just its pixels: an image, or a float array in sRGB of
            shape (3, H, W) in [0, 1].
        quality: quality of JPEG and WebP files, 1 to 100.
        bits: bits per channel; 16 for PNG and TIFF only.

    Raises:
        PictureError: as for `writable_format`.
        OSError: the folder is not writable, or the disk is full.
    """
    file_format = writable_format(path, bits=bits)
    if isinstance(picture, Image.Image):
        picture = to_picture(picture)
    elif isinstance(picture, np.ndarray):
        picture = Picture(picture)
    with atomic_path(path) as temporary:
        if bits == 16 or file_format == "TIFF":  # Pillow's LZW and Deflate encoders of TIFF fail on EXIF data
            encode = encode_png if file_format == "PNG" else encode_tiff
            samples = _samples(picture) if bits == 16 else np.asarray(_image(picture))
            temporary.write_bytes(encode(samples, SRGB, picture.exif))
        else:
            image = _image(picture, opaque=file_format == "JPEG")
            options = {} if file_format == "PNG" else {"quality": quality}
            extras = {"icc_profile": SRGB, "exif": picture.exif or b""}
            image.save(temporary, format=file_format, **extras, **options)


def writable_format(path: str | Path, *, bits: int = 8, size: tuple[int, int] = (1, 1)) -> str:
    """Pillow's name for the format that a file's ending stands for.

    Args:
        path: the file to write.
        bits: bits per channel.
        size: width and height of the picture.

    Raises:
        PictureError: the ending is not in `WRITABLE`, or its format doesn't support so many bits or pixels.
    """
    file_format = WRITABLE.get(Path(path).suffix.lower())
    if file_format is None:
        raise PictureError(f"{path}: can't write this kind of file; endings allowed: {', '.join(WRITABLE)}")
    if bits not in ((8, 16) if file_format in ("PNG", "TIFF") else (8,)):
        raise PictureError(f"{path}: bits must be 8, or 16 for a .png, .tif or .tiff file, got {bits}")
    largest = LARGEST.get(file_format, max(size))
    if max(size) > largest:
        found = f"{size[0]}x{size[1]}"
        raise PictureError(f"{path}: the sides of a {file_format} must be <= {largest} pixels, got {found}")
    return file_format


def check_writable(path: str | Path, *, bits: int = 8) -> Path:
    """Check that a picture can be written to a path, and return the path.

    Raises:
        PictureError: the path is a folder, nothing can be written there, or the format is wrong (`writable_format`).
    """
    writable_format(path, bits=bits)
    try:
        if Path(path).is_dir():
            raise PictureError(f"{path}: is a folder, not a file")
        with path_beside(path) as temporary:
            temporary.touch()
    except OSError as error:
        raise PictureError(f"{path}: can't be written: {error.strerror}") from error
    return Path(path)


def _samples(picture: Picture) -> np.ndarray:
    """The picture as uint16 samples of shape (H, W, 3), or (H, W, 4) with alpha."""
    if picture.alpha is None:
        return array_to_samples(picture.array)
    alpha = np.asarray(picture.alpha, dtype=np.float32) / (255 if picture.alpha.mode == "L" else 65535)
    return array_to_samples(np.concatenate([picture.array, alpha[None]]))


def _image(picture: Picture, *, opaque: bool = False) -> Image.Image:
    """The picture as an 8-bit image of mode RGB, or RGBA if it has alpha and `opaque` is false."""
    rgb, alpha = picture.image, picture.alpha
    if alpha is None:
        return rgb
    if alpha.mode != "L":
        alpha = Image.fromarray((np.asarray(alpha) / 257 + 0.5).astype(np.uint8))
    return lay_on_white(rgb, alpha) if opaque else _with_alpha(rgb, alpha)


def _with_alpha(rgb: Image.Image, alpha: Image.Image) -> Image.Image:
    rgba = rgb.copy()
    rgba.putalpha(alpha)
    return rgba
