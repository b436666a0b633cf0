"""Picture files: reads every format that Pillow reads; writes JPEG, PNG, WebP and TIFF, never half a file."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageFile, UnidentifiedImageError

from nst_lightning.errors import UserError, require
from nst_lightning.images.deep import encode_png, encode_tiff, lower_bytes
from nst_lightning.images.exif import tidy_exif
from nst_lightning.images.paths import PictureError, atomic_path, path_beside
from nst_lightning.images.pixels import array_to_image, array_to_samples, image_to_array, samples_to_array

WRITABLE = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF"}
"""File name endings that `write_picture` accepts, and the formats they stand for."""
LARGEST = {"JPEG": 65500, "WEBP": 16383}
"""The largest width and height in pixels, for formats that have a limit."""


@dataclass(frozen=True)
class Picture:
    """A picture file in memory: upright RGB pixels, and all that should survive reading and writing.

    Args:
        rgb: the pixels, rotated as the EXIF orientation says: an image of mode RGB, or, if 8 bits per channel are
            too few, a float array of shape (3, H, W) in [0, 1].
        alpha: the transparency as an image of the same size, mode L or I;16, or None if the file had none.
        icc_profile: the color profile that the RGB values refer to, or None for sRGB.
        exif: EXIF data without orientation and thumbnail, or None if the file had none.
    """

    rgb: Image.Image | np.ndarray
    alpha: Image.Image | None = None
    icc_profile: bytes | None = None
    exif: bytes | None = None

    @property
    def image(self) -> Image.Image:
        """The pixels as an RGB image with 8 bits per channel."""
        return array_to_image(self.rgb) if isinstance(self.rgb, np.ndarray) else self.rgb

    @property
    def array(self) -> np.ndarray:
        """The pixels as a float32 array of shape (3, H, W) in [0, 1]."""
        return self.rgb if isinstance(self.rgb, np.ndarray) else image_to_array(self.rgb)

    def __post_init__(self) -> None:
        if isinstance(self.rgb, np.ndarray) and (self.rgb.ndim != 3 or len(self.rgb) != 3):
            raise UserError(f"rgb must be an image or an array of shape (3, H, W), got shape {self.rgb.shape}")


def read_picture(path: str | Path, *, bits: Literal[8, 16] = 8) -> Picture:
    """Read a picture file of any format, mode and orientation.

    Args:
        path: the file.
        bits: 8 makes `rgb` an image. 16 makes it a float32 array, which is exact for RGB, RGBA and gray PNG and TIFF
            files with 16 bits per channel; for all other files it has the values of the 8-bit image.

    Raises:
        PictureError: the file is missing, damaged or not a picture; the message is one line that names the file.
        UserError: `bits` is neither 8 nor 16.
    """
    require("bits", bits, bits in (8, 16), "8 or 16")
    with _open(path) as image:
        picture = Picture(to_rgb(image), _alpha(image), _rgb_profile(image), _exif(image, path))
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
        return rgb if alpha is None else _on_white(rgb, alpha)


def to_rgb(image: Image.Image) -> Image.Image:
    """An image of any mode as RGB, rotated as its EXIF orientation says. Transparency is dropped.

    16-bit gray is scaled to 8 bits, floats are taken to be in [0, 1] unless one is larger, and CMYK is converted with
    its color profile.
    """
    return _turn_upright(_convert(image), image)


def write_picture(
    path: str | Path,
    picture: Picture | Image.Image | np.ndarray,
    *,
    quality: int = 95,
    bits: Literal[8, 16] = 8,
) -> None:
    """Write a picture in the format of the file's ending, under a temporary name that is renamed when it is complete.

    Args:
        path: the file to write; its folder is created if it is missing. JPEG has no transparency: transparent parts
            become white.
        picture: the picture, with its alpha, color profile and EXIF data, or just its pixels.
        quality: quality of JPEG and WebP files, 1 to 100.
        bits: bits per channel; 16 for PNG and TIFF only.

    Raises:
        PictureError: as for `writable_format`.
        OSError: the folder is not writable, or the disk is full.
    """
    file_format = writable_format(path, bits=bits)
    picture = picture if isinstance(picture, Picture) else Picture(picture)
    with atomic_path(path) as temporary:
        if bits == 16 or file_format == "TIFF":  # Pillow's LZW and Deflate encoders of TIFF fail on EXIF data
            encode = encode_png if file_format == "PNG" else encode_tiff
            samples = _samples(picture) if bits == 16 else np.asarray(_image(picture))
            temporary.write_bytes(encode(samples, picture.icc_profile, picture.exif))
        else:
            image = _image(picture, opaque=file_format == "JPEG")
            options = {} if file_format == "PNG" else {"quality": quality}
            extras = {"icc_profile": picture.icc_profile, "exif": picture.exif or b""}
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


@contextlib.contextmanager
def _open(path: str | Path) -> Iterator[ImageFile.ImageFile]:
    try:
        with Image.open(path) as image:
            yield image
    except FileNotFoundError:
        raise PictureError(f"{path}: no such file") from None
    except UnidentifiedImageError:
        raise PictureError(f"{path}: not a picture that can be read") from None
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
    try:
        orientation = source.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # of any kind, as in `_open`; the picture is still readable
        orientation = None
    turned = pixels.transpose(_TURNS[orientation]) if orientation in _TURNS else pixels
    turned.info = {}
    return turned


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
    return _on_white(rgb, alpha) if opaque else _with_alpha(rgb, alpha)


def _on_white(rgb: Image.Image, alpha: Image.Image) -> Image.Image:
    return Image.composite(rgb, Image.new("RGB", rgb.size, "white"), alpha)


def _with_alpha(rgb: Image.Image, alpha: Image.Image) -> Image.Image:
    rgba = rgb.copy()
    rgba.putalpha(alpha)
    return rgba
