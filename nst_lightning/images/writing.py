"""Writing picture files: JPEG, PNG, WebP and TIFF, never half a file."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from PIL import Image

from nst_lightning.errors import require
from nst_lightning.images.deep import encode_png, encode_tiff
from nst_lightning.images.exif import remove_location, set_resolution
from nst_lightning.images.paths import PictureError, atomic_path, try_to_write
from nst_lightning.images.picture import Picture
from nst_lightning.images.pixels import array_to_samples, lay_on_white
from nst_lightning.images.profiles import SRGB
from nst_lightning.images.reading import to_picture

Metadata = Literal["keep", "no-location", "none"]

WRITABLE = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), "JPEG"),
    ".png": "PNG",
    ".webp": "WEBP",
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
}
"""File name endings that `write_picture` accepts, and the formats they stand for."""
LARGEST = {"JPEG": 65500, "WEBP": 16383}
"""The largest width and height in pixels, for formats that have a limit."""
FULL_CHROMA = 90
"""The quality from which JPEG files keep colors at full size; below, they are halved, which saves a third."""


@dataclass(frozen=True)
class WritingOptions:
    """How pictures are written.

    Args:
        bits: bits per channel; 16 for .png and .tif only.
        quality: quality of JPEG and WebP files, from 1 to 100. From 90 on, JPEG files keep colors at full size; 100
            makes WebP files lossless.
        metadata: `keep` copies the photo's EXIF data and resolution, `no-location` all but the place and the maker's
            notes; `none` leaves only transparency and sRGB's profile.
    """

    bits: Literal[8, 16] = 8
    quality: int = 95
    metadata: Metadata = "keep"

    def __post_init__(self) -> None:
        require("quality", self.quality, 1 <= self.quality <= 100, "from 1 to 100")
        require("metadata", self.metadata, self.metadata in get_args(Metadata), " or ".join(get_args(Metadata)))


def write_picture(
    path: str | Path, picture: Picture | Image.Image | np.ndarray, options: WritingOptions = WritingOptions()
) -> None:
    """Write a picture in the format of the file's ending, under a temporary name that is renamed when it is complete.

    The file has sRGB's color profile.

    Args:
        path: the file to write; its folder is created if it is missing. JPEG has no transparency: transparent parts
            become white.
        picture: the picture, with its alpha, EXIF data and resolution, or just its pixels: an image, or a float array
            in sRGB of shape (3, H, W) in [0, 1].
        options: bits per channel, quality and metadata.

    Raises:
        PictureError: as for `writable_format`.
        OSError: the folder is not writable, or the disk is full.
    """
    if isinstance(picture, Image.Image):
        picture = to_picture(picture)
    elif isinstance(picture, np.ndarray):
        picture = Picture(picture)
    picture = limit_metadata(picture, options.metadata)
    file_format = writable_format(path, bits=options.bits, size=picture.size)
    with atomic_path(path) as temporary:
        # Pillow's PNG encoder has no 16-bit RGB, and its LZW and Deflate encoders of TIFF fail on EXIF data
        if options.bits == 16 or file_format == "TIFF":
            samples = _samples(picture) if options.bits == 16 else np.asarray(to_image(picture))
            temporary.write_bytes(encode(file_format, samples, picture))
        else:
            image = to_image(picture, opaque=file_format == "JPEG")
            image.save(temporary, format=file_format, **save_options(file_format, picture, options.quality))


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
        try_to_write(Path(path))
    except OSError as error:
        raise PictureError(f"{path}: can't be written: {error.strerror}") from error
    return Path(path)


def limit_metadata(picture: Picture, metadata: Metadata) -> Picture:
    """The picture with only the metadata to be written."""
    if metadata == "none":
        return replace(picture, exif=None, dpi=None)
    if metadata == "no-location" and picture.exif:
        return replace(picture, exif=remove_location(picture.exif))
    return picture


def encode(file_format: str, samples: np.ndarray, picture: Picture) -> bytes:
    """The bytes of a PNG with 16 bits per channel, or of a TIFF."""
    if file_format == "PNG":
        return encode_png(samples, SRGB, picture.exif, picture.dpi)
    return encode_tiff(samples, SRGB, _exif_with_resolution(picture))


def save_options(file_format: str, picture: Picture, quality: int) -> dict[str, Any]:
    """The options of Pillow's `save`."""
    options: dict[str, Any] = {"icc_profile": SRGB, "exif": picture.exif or b""}
    if file_format == "WEBP":  # has no resolution of its own
        return options | {"exif": _exif_with_resolution(picture) or b"", "quality": quality, "lossless": quality == 100}
    if picture.dpi:
        options["dpi"] = picture.dpi
    if file_format == "JPEG":
        options |= {"quality": quality, "subsampling": "4:4:4" if quality >= FULL_CHROMA else "4:2:0"}
    return options


def _exif_with_resolution(picture: Picture) -> bytes | None:
    return set_resolution(picture.exif, picture.dpi) if picture.dpi else picture.exif


def _samples(picture: Picture) -> np.ndarray:
    """The picture as uint16 samples of shape (H, W, 3), or (H, W, 4) with alpha."""
    if picture.alpha is None:
        return array_to_samples(picture.array)
    alpha = np.asarray(picture.alpha, dtype=np.float32) / (255 if picture.alpha.mode == "L" else 65535)
    return array_to_samples(np.concatenate([picture.array, alpha[None]]))


def to_image(picture: Picture, *, opaque: bool = False) -> Image.Image:
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
