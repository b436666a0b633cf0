"""Reading picture files of every format that Pillow reads, and of HEIF where pillow-heif is installed."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageFile

from nst_lightning.errors import UserError, require
from nst_lightning.images.deep import lower_bytes
from nst_lightning.images.exif import tidy_exif
from nst_lightning.images.formats import open_picture
from nst_lightning.images.limits import check_pixels, raised_limits
from nst_lightning.images.paths import PictureError
from nst_lightning.images.picture import Picture
from nst_lightning.images.pixels import lay_on_white, samples_to_array


def read_picture(path: str | Path, *, bits: Literal[8, 16] = 8) -> Picture:
    """Read a picture file of any format, mode and orientation.

    Args:
        path: the file.
        bits: 8 makes `rgb` an image. 16 makes it a float32 array, which is exact for RGB, RGBA and gray PNG and TIFF
            files with 16 bits per channel; for all other files it has the values of the 8-bit image.

    A `Notice` says so if the file has more than one frame or page; the first is read.

    Raises:
        PictureError: the file is missing, damaged or not a picture; the message is one line that names the file.
        UserError: `bits` is neither 8 nor 16.
    """
    require("bits", bits, bits in (8, 16), "8 or 16")
    with _open(path) as image:
        picture = Picture(to_rgb(image), _alpha(image), _rgb_profile(image), _exif(image, path), _dpi(image))
    return picture if bits == 8 else _deepen(picture, path)


def read_rgb(path: str | Path, *, short_side: int | None = None) -> Image.Image:
    """Read the pixels of a picture file as an upright RGB image, with transparent parts on white.

    Args:
        path: the file.
        short_side: if given, large JPEGs are decoded at a reduced size whose short side is still at least this many
            pixels, several times faster; the caller resizes.

    Raises:
        PictureError: as for `read_picture`.
    """
    with _open(path) as image:
        if short_side is not None:
            scale = short_side / min(image.size)
            image.draft("RGB", (int(image.width * scale), int(image.height * scale)))
        alpha = _alpha(image)
        rgb = to_rgb(image)
        return rgb if alpha is None else lay_on_white(rgb, alpha)


def to_rgb(image: Image.Image) -> Image.Image:
    """An image of any mode as RGB, rotated as its EXIF orientation says. Transparency is dropped.

    16-bit gray is scaled to 8 bits, floats are taken to be in [0, 1] unless one is larger, and CMYK is converted with
    its color profile.
    """
    return _turn_upright(_convert(image), image)


@contextlib.contextmanager
def _open(path: str | Path) -> Iterator[ImageFile.ImageFile]:
    try:
        with raised_limits(), open_picture(path) as image:
            check_pixels(image.size)
            yield image
    except PictureError:
        raise
    except FileNotFoundError:
        raise PictureError(f"{path}: no such file") from None
    except UserError as error:
        raise PictureError(f"{path}: {error}") from None
    except Exception as error:  # decoders raise exceptions of any kind for damaged files
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


def _turn_upright(pixels: Image.Image, source: Image.Image) -> Image.Image:
    """Turn pixels as the EXIF orientation of their source says, and drop it, so that nobody turns them again."""
    orientation = _tag(source, "Orientation")
    turned = pixels.transpose(_TURNS[orientation]) if orientation in _TURNS else pixels
    turned.info = {}
    return turned


def _tag(image: Image.Image, name: str) -> int:
    """The value of a tag of the EXIF data's main directory, 0 if there is none."""
    try:
        return image.getexif().get(ExifTags.Base[name]) or 0
    except Exception:  # of any kind, as in `_open`; the picture is still readable
        return 0


def _convert(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit gray; Pillow's own conversion would clip it to white
        return _gray(np.asarray(image) / 257)
    if image.mode == "F":
        values = np.asarray(image)
        return _gray(values * 255 if values.max() <= 1 else values)
    profile = image.info.get("icc_profile")
    if image.mode == "CMYK" and profile:
        with contextlib.suppress(ImageCms.PyCMSError, OSError):
            source = ImageCms.ImageCmsProfile(BytesIO(profile))
            converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
            return converted or image.convert("RGB")
    if image.mode in ("LA", "PA", "La", "RGBa") or image.has_transparency_data:
        image = image.convert("RGBA")
    return image.convert("RGB")


def _gray(values: np.ndarray) -> Image.Image:
    return Image.fromarray((values.clip(0, 255) + 0.5).astype(np.uint8)).convert("RGB")


def _alpha(image: Image.Image) -> Image.Image | None:
    if not image.has_transparency_data:
        return None
    return _turn_upright(image.convert("RGBA").getchannel("A"), image)


def _rgb_profile(image: Image.Image) -> bytes | None:
    """The color profile, unless it describes CMYK or gray values, which are gone after the conversion to RGB."""
    return image.info.get("icc_profile") if image.mode in ("RGB", "RGBA", "P", "PA", "RGBX") else None


def _exif(image: Image.Image, path: str | Path) -> bytes | None:
    """EXIF data of an image, which must be loaded already, since they may follow the pixels in a PNG."""
    data = Path(path).read_bytes() if image.format == "TIFF" else image.info.get("exif")
    return tidy_exif(data) if data else None


def _dpi(image: Image.Image) -> tuple[float, float] | None:
    """The resolution across and down in pixels per inch, if the file states a plausible one.

    It is rounded to hundredths, since PNG counts pixels per meter.
    """
    if image.format in ("JPEG", "MPO", "TIFF") and not (image.info.get("jfif_unit") or _tag(image, "ResolutionUnit")):
        return None  # without a unit, Pillow guesses
    try:
        across, down = (round(float(value), 2) for value in image.info["dpi"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    across, down = (down, across) if _tag(image, "Orientation") in (5, 6, 7, 8) else (across, down)
    return (across, down) if 1 <= across <= 65_535 and 1 <= down <= 65_535 else None


def _deepen(picture: Picture, path: str | Path) -> Picture:
    """The picture with pixels and alpha in the full precision of its file."""
    samples = _read_samples(path)
    if samples is None:
        return replace(picture, rgb=picture.array)
    rgb = samples_to_array(samples[..., :3])
    alpha = Image.fromarray(samples[..., 3]) if samples.shape[-1] == 4 else picture.alpha
    return replace(picture, rgb=np.repeat(rgb, 3 // len(rgb), axis=0), alpha=alpha)


def _read_samples(path: str | Path) -> np.ndarray | None:
    """The upright 16-bit samples of a file, shape (H, W, 1, 3 or 4), or None if its samples have another depth."""
    with _open(path) as image:
        if image.mode.startswith("I"):
            gray = np.asarray(image).clip(0, 65535).astype(np.uint16)
            return np.asarray(_turn_upright(Image.fromarray(gray), image))[..., None]
        lower = lower_bytes(image)
        if lower is None:
            return None
        high = np.asarray(_turn_upright(image.copy(), image)).astype(np.uint16)
    with _open(path) as image:
        image.tile = lower
        return high << 8 | np.asarray(_turn_upright(image.copy(), image))
