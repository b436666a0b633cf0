"""Picture files: every format Pillow reads goes in, JPEG, PNG, WebP and TIFF come out, never half-written."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

WRITABLE = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF"}
"""File name endings that `write_picture` accepts, and the formats they stand for."""


class PictureError(ValueError):
    """A picture file is missing, unreadable or can't be written in the format asked for."""


@dataclass(frozen=True)
class Picture:
    """A picture file in memory: upright RGB pixels, and what must survive a round trip.

    Args:
        rgb: the pixels, mode RGB, rotated as the EXIF orientation says.
        alpha: the transparency as mode L image of the same size, or None if the file had none.
        icc_profile: the colour profile that the RGB values refer to, or None for sRGB.
    """

    rgb: Image.Image
    alpha: Image.Image | None = None
    icc_profile: bytes | None = None


def expand_path(path: str | Path) -> Path:
    """The path with `~` and `$VARIABLES` expanded; a variable that isn't set is a ValueError that names it."""
    expanded = os.path.expandvars(Path(path).expanduser())
    if "$" in expanded:
        missing = expanded.split("$", 1)[1].split("/", 1)[0].strip("{}")
        raise ValueError(f"{path}: the environment variable {missing} is not set")
    return Path(expanded)


def read_picture(path: str | Path) -> Picture:
    """Read a picture file of any format, mode and orientation.

    Raises:
        PictureError: the file is missing, damaged or no picture; the message is one line that names it.
    """
    with _opened(path) as image:
        return Picture(to_rgb(image), _alpha(image), _rgb_profile(image))


def read_rgb(path: str | Path, *, short_side: int | None = None) -> Image.Image:
    """Read the pixels of a picture file: upright, RGB, transparency on white.

    Args:
        path: the file.
        short_side: if given, large JPEGs are decoded at a reduced size whose short side is still at least this many
            pixels, several times faster; the caller resizes.

    Raises:
        PictureError: as for `read_picture`.
    """
    with _opened(path) as image:
        if short_side is not None:
            scale = short_side / min(image.size)
            image.draft("RGB", (int(image.width * scale), int(image.height * scale)))
        alpha = _alpha(image)
        rgb = to_rgb(image)
        return rgb if alpha is None else _on_white(rgb, alpha)


def to_rgb(image: Image.Image) -> Image.Image:
    """An image of any mode as RGB, rotated as its EXIF orientation says. Transparency is dropped.

    16-bit grey is scaled to 8 bits, floats are taken to lie in [0, 1] if none is larger, and CMYK goes by its profile.
    """
    return _upright(_converted(image), image)


def write_picture(path: str | Path, picture: Picture | Image.Image, *, quality: int = 95) -> None:
    """Write a picture in the format that the file's ending names, beside its place first and then renamed into it.

    Args:
        path: where to; the folder is made if it is missing. JPEG has no transparency: it is laid on white.
        picture: the picture, with its alpha and colour profile, or just an RGB image.
        quality: of JPEG and WebP, 1 to 100.

    Raises:
        PictureError: the ending is none of `WRITABLE`.
        OSError: the folder can't be written or is full.
    """
    path = Path(path)
    if path.suffix.lower() not in WRITABLE:
        raise PictureError(f"{path}: can't write this kind of file; endings allowed: {', '.join(WRITABLE)}")
    picture = picture if isinstance(picture, Picture) else Picture(picture)
    file_format = WRITABLE[path.suffix.lower()]
    image = picture.rgb
    if picture.alpha is not None:
        image = _on_white(image, picture.alpha) if file_format == "JPEG" else _with_alpha(image, picture.alpha)
    options = {"quality": quality} if file_format in ("JPEG", "WEBP") else {}
    if file_format == "TIFF":
        options["compression"] = "tiff_lzw"
    with atomic_path(path) as temporary:
        image.save(temporary, format=file_format, icc_profile=picture.icc_profile, **options)


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary file name beside `path`; renamed to `path` when the block ends well, removed when it doesn't."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.stem}-", dir=path.parent) as folder:
        temporary = Path(folder) / path.name
        yield temporary
        temporary.replace(path)


def list_pictures(folder: str | Path) -> list[Path]:
    """All files below a folder, sorted, whose ending is one that Pillow reads; hidden files are left out.

    Raises:
        PictureError: the folder is missing, is a file, or has no picture in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise PictureError(f"{folder}: {'is a file, not a folder' if folder.exists() else 'no such folder'}")
    readable = {ending for ending, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in readable
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    )
    if not found:
        raise PictureError(f"{folder}: no pictures in this folder or below it")
    return found


@contextlib.contextmanager
def _opened(path: str | Path) -> Iterator[Image.Image]:
    try:
        with Image.open(path) as image:
            yield image
    except FileNotFoundError:
        raise PictureError(f"{path}: no such file") from None
    except UnidentifiedImageError:
        raise PictureError(f"{path}: not a picture that can be read") from None
    except Exception as error:  # decoders of damaged files raise whatever they stumble over
        raise PictureError(f"{path}: can't be read ({error or type(error).__name__})") from error


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _upright(pixels: Image.Image, source: Image.Image) -> Image.Image:
    """Pixels of a source image turned by its EXIF orientation, once: what says so isn't passed on."""
    try:
        orientation = source.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # as above; damaged EXIF data don't cost the picture
        orientation = None
    turned = pixels.transpose(_TURNS[orientation]) if orientation in _TURNS else pixels
    turned.info = {}
    return turned


def _converted(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey; Pillow's own conversion would clip it to white
        return _grey(np.asarray(image) / 257)
    if image.mode == "F":
        values = np.asarray(image)
        return _grey(values * 255 if values.max() <= 1 else values)
    profile = image.info.get("icc_profile")
    if image.mode == "CMYK" and profile:
        with contextlib.suppress(ImageCms.PyCMSError, OSError):
            source = ImageCms.ImageCmsProfile(BytesIO(profile))
            return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    if image.mode in ("LA", "PA", "La", "RGBa") or image.has_transparency_data:
        image = image.convert("RGBA")
    return image.convert("RGB")


def _grey(values: np.ndarray) -> Image.Image:
    return Image.fromarray((values.clip(0, 255) + 0.5).astype(np.uint8)).convert("RGB")


def _alpha(image: Image.Image) -> Image.Image | None:
    if not image.has_transparency_data:
        return None
    return _upright(image.convert("RGBA").getchannel("A"), image)


def _rgb_profile(image: Image.Image) -> bytes | None:
    """The colour profile, unless it describes the CMYK or grey values that the conversion left behind."""
    return image.info.get("icc_profile") if image.mode in ("RGB", "RGBA", "P", "PA", "RGBX") else None


def _on_white(rgb: Image.Image, alpha: Image.Image) -> Image.Image:
    return Image.composite(rgb, Image.new("RGB", rgb.size, "white"), alpha)


def _with_alpha(rgb: Image.Image, alpha: Image.Image) -> Image.Image:
    rgba = rgb.copy()
    rgba.putalpha(alpha)
    return rgba
