"""Reading picture files of every format that Pillow reads, and of HEIF where pillow-heif is installed."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import ExifTags, Image, ImageChops, ImageFile

from nst_lightning.errors import Notice, UserError, require
from nst_lightning.images.deep import lower_bytes
from nst_lightning.images.exif import tidy_exif
from nst_lightning.images.formats import check_planes, identify_picture, list_frames, open_picture
from nst_lightning.images.gray import gray_values, is_deep_gray
from nst_lightning.images.paths import PictureError
from nst_lightning.images.picture import Animation, Frame, Picture
from nst_lightning.images.pillow_limits import check_pixels, raised_limits
from nst_lightning.images.pixels import array_to_samples, lay_on_white, samples_to_array
from nst_lightning.images.srgb import convert_array, convert_image, find_profile
from nst_lightning.images.transparency import fill_hidden, scale_transparent_color, transparency_of


def read_picture(path: str | Path, *, bits: Literal[8, 16] = 8) -> Picture:
    """Read a picture file of any format, mode and orientation.

    A `Notice` says so if the file has more than one frame or page; the first is read.

    Args:
        path: the file.
        bits: 8 makes `rgb` an image. 16 makes it a float32 array, which is exact for RGB, RGBA and gray PNG and TIFF
            files with 16 bits per channel. For all other files, such as gray PNG with alpha and TIFF with associated
            alpha, and for color profiles of tables, such as a scanner's, it has the values of the 8-bit image.

    Raises:
        PictureError: the file is missing, damaged or not a picture; the message is one line that names the file.
        UserError: `bits` is neither 8 nor 16.
    """
    require("bits", bits, bits in (8, 16), "8 or 16")
    with _open(path) as image:
        turn = _stored_turn(image)
        picture = replace(to_picture(image), exif=_exif(image, path), dpi=_dpi(image, turn))
    return picture if bits == 8 else _deepen(picture, path)


@contextlib.contextmanager
def open_animation(path: str | Path) -> Iterator[Animation]:
    """Read the frames or pages of a file, within this context and one by one; there is one for other pictures.

    Raises:
        PictureError: as for `read_picture`, also while frames are read.
    """
    numbers = list_frames(path)
    with _naming(path), raised_limits():
        opened = open_picture(path, frames="all")
    with opened as image:
        yield Animation(_read_frames(image, numbers, path), len(numbers), _count_plays(image))


def _read_frames(image: ImageFile.ImageFile, numbers: Sequence[int], path: str | Path) -> Iterator[Frame]:
    for number in numbers:
        with _naming(path), raised_limits():
            image.seek(number)
            check_pixels(image.size)
            if image.format == "TIFF" and number != numbers[0]:
                check_planes(image, path)
            turn = _stored_turn(image)
            image.load()
            milliseconds = float(image.info.get("duration", 0))
            picture = to_picture(image)
        if number == numbers[0]:
            exif, dpi = _exif(image, path), _dpi(image, turn)
        yield Frame(replace(picture, exif=exif, dpi=dpi), milliseconds)


def _count_plays(image: Image.Image) -> int:
    """How often an animation is shown; 0 for ever."""
    stated = image.info.get("loop")
    if image.format == "GIF":  # which states repetitions, or nothing
        return 1 if stated is None else stated and stated + 1
    return stated or 0


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
        return flatten(image)


def read_size(path: str | Path) -> tuple[int, int] | None:
    """The width and height of a picture as it lies in its file, whose pixels are not read; None if it can't be read."""
    try:
        with raised_limits(), identify_picture(path) as image:
            return image.size
    except Exception:  # of any kind, as in `_open`
        return None


def read_mask(path: str | Path) -> Image.Image:
    """Read a mask, see `to_mask`.

    Raises:
        PictureError: as for `read_picture`.
    """
    with _open(path) as image:
        return to_mask(image)


def to_picture(image: Image.Image) -> Picture:
    """An image of any mode as a picture in sRGB, rotated as its EXIF orientation says, without EXIF data.

    Colors are converted from the color space that the image names, see `images/srgb.py`. Pixels with alpha 0 have the
    colors of their visible neighbors. How gray values other than 8-bit ones are scaled says `gray_values`.
    """
    rgb, alpha = _convert(image), transparency_of(image)
    if alpha is None:
        return Picture(_turn_upright(rgb, image))
    return Picture(_turn_upright(fill_hidden(rgb, alpha), image), _turn_upright(alpha, image))


def to_rgb(image: Image.Image) -> Image.Image:
    """The pixels of `to_picture`: transparency is dropped. What is one already is returned itself, without a copy."""
    plain = type(image) is Image.Image and image.mode == "RGB" and not image.info
    return image if plain else to_picture(image).image


def flatten(image: Image.Image) -> Image.Image:
    """An image of any mode as an upright RGB image in sRGB, with transparent parts on white."""
    rgb, alpha = _convert(image), transparency_of(image)
    return _turn_upright(rgb if alpha is None else lay_on_white(rgb, alpha), image)


def to_mask(image: Image.Image) -> Image.Image:
    """An image of any mode as a mask, of mode L, which is white where the image is white and opaque."""
    picture = to_picture(image)
    gray = picture.image.convert("L")
    return gray if picture.alpha is None else ImageChops.multiply(gray, picture.alpha)


@contextlib.contextmanager
def _open(path: str | Path) -> Iterator[ImageFile.ImageFile]:
    with _naming(path), raised_limits(), open_picture(path) as image:
        check_pixels(image.size)
        yield image


@contextlib.contextmanager
def _naming(path: str | Path) -> Iterator[None]:
    """Let errors that come of reading a file name it, in one line."""
    try:
        yield
    except (PictureError, Notice):  # a notice is raised where warnings are errors
        raise
    except FileNotFoundError:
        raise PictureError(f"{path}: no such file") from None
    except UserError as error:
        raise PictureError(f"{path}: {error}") from None
    except MemoryError as error:
        raise PictureError(f"{path}: can't be read (there is not enough memory)") from error
    except Exception as error:  # decoders raise exceptions of any kind for damaged files
        problem = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise PictureError(f"{path}: can't be read ({problem})") from error


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
    """The pixels in sRGB, as they lie in the file."""
    scale_transparent_color(image)
    pixels = _decode(image)
    return convert_image(pixels, find_profile(image))  # EXIF data may follow the pixels in a PNG


def _decode(image: Image.Image) -> Image.Image:
    """The pixels without transparency in their own color space: an image of mode L, RGB, CMYK or LAB."""
    if is_deep_gray(image):
        return Image.fromarray((gray_values(image) * 255 + 0.5).astype(np.uint8))
    if image.mode in ("L", "CMYK", "LAB"):
        image.load()
        return image
    if image.mode in ("1", "LA", "La"):
        return image.convert("LA" if image.mode == "La" else image.mode).convert("L")
    if image.mode in ("PA", "RGBa") or image.has_transparency_data:
        image = image.convert("RGBA")
    return image.convert("RGB")


def _stored_turn(image: Image.Image) -> int | None:
    """The orientation that a TIFF states, which Pillow drops as it turns the picture."""
    turn: int | None = getattr(image, "tag_v2", {}).get(ExifTags.Base.Orientation)
    return turn


def _exif(image: Image.Image, path: str | Path) -> bytes | None:
    """EXIF data of an image, which must be loaded already, since they may follow the pixels in a PNG."""
    data = Path(path).read_bytes() if image.format == "TIFF" else image.info.get("exif")
    return tidy_exif(data) if data else None


def _dpi(image: Image.Image, turn: int | None) -> tuple[float, float] | None:
    """The resolution across and down in pixels per inch, if the file states a plausible one.

    It is rounded to hundredths, since PNG counts pixels per meter. `turn` is the orientation that a TIFF had.
    """
    guessed = image.format in ("JPEG", "MPO", "TIFF") and not image.info.get("jfif_unit")  # half of it, maybe
    try:
        stated = (None if guessed else image.info.get("dpi")) or _exif_dpi(image)
        across, down = (round(float(value), 2) for value in stated)
    except Exception:  # of any kind, as in `_tag`
        return None
    across, down = (down, across) if (turn or _tag(image, "Orientation")) in (5, 6, 7, 8) else (across, down)
    return (across, down) if 1 <= across <= 65_535 and 1 <= down <= 65_535 else None


def _exif_dpi(image: Image.Image) -> tuple[float, float]:
    """The resolution that EXIF data, or a TIFF's tags, state in full; a TIFF may leave out the inch as its unit.

    Raises:
        KeyError: a part is missing, or there is no unit.
    """
    exif = image.getexif()
    unit = exif.get(ExifTags.Base.ResolutionUnit, 2 if image.format == "TIFF" else None)
    scale = {2: 1.0, 3: 2.54}[unit]
    return float(exif[ExifTags.Base.XResolution]) * scale, float(exif[ExifTags.Base.YResolution]) * scale


def _deepen(picture: Picture, path: str | Path) -> Picture:
    """The picture with pixels and alpha in the full precision of its file."""
    values, profile = _read_values(path)
    rgb = None if values is None else convert_array(values[:3], profile)
    if values is None or rgb is None:
        return replace(picture, rgb=picture.array)
    alpha = Image.fromarray(array_to_samples(values[3:])[..., 0]) if len(values) == 4 else picture.alpha
    if alpha is not None:
        rgb = np.where(np.asarray(alpha) == 0, picture.array, rgb)  # whose hidden pixels are filled
    return replace(picture, rgb=rgb, alpha=alpha)


def _read_values(path: str | Path) -> tuple[np.ndarray | None, bytes | None]:
    """The upright values of a 16-bit file, float32 of shape (1, 3 or 4, H, W), and the profile of its colors.

    The values are None if the file has another depth.
    """
    with _open(path) as image:
        if is_deep_gray(image):
            gray = _turn_upright(Image.fromarray(gray_values(image)), image)
            return np.asarray(gray)[None], find_profile(image)
        lower = lower_bytes(image)
        if lower is None:
            return None, None
        high = np.asarray(_turn_upright(image.copy(), image)).astype(np.uint16)
        profile = find_profile(image)
    with _open(path) as image:
        image.tile = lower
        return samples_to_array(high << 8 | np.asarray(_turn_upright(image.copy(), image))), profile
