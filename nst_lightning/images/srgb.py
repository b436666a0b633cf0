"""Conversion of pictures to sRGB from the color space that their file names.

That is, in this order: an ICC profile, PNG's chunks sRGB, gAMA and cHRM, and Adobe RGB in EXIF data. Anything else is
taken to be sRGB, and so is a profile that is damaged or makes no sense, as in browsers.
"""

import functools
from io import BytesIO

import numpy as np
from PIL import ExifTags, Image, ImageCms

from nst_lightning.images.profiles import (
    ADOBE_RGB,
    SRGB,
    SRGB_CHROMATICITIES,
    SRGB_CURVE,
    build_profile,
    convert_exactly,
)

_MODES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab ": "LAB"}
"""The modes of images to which profiles of these color spaces apply."""
_SAME = 2  # of 255: by how much the many variants of sRGB's profile differ from each other
_LEAST_CONTRAST = 128  # of 255: less between black and white makes no sense
_EXPONENTS = (0.2, 5.0)
_GAMMA_OF_SRGB = 0.45455  # which writers of PNG state beside the chunk sRGB, and many without it


def find_profile(image: Image.Image) -> bytes | None:
    """The ICC profile of the colors of an image, which must be loaded; None for sRGB."""
    info = image.info
    if profile := info.get("icc_profile"):
        return profile
    if "srgb" in info:
        return None
    if "gamma" in info or "chromaticity" in info:
        return _describe(info.get("gamma"), info.get("chromaticity"))
    return ADOBE_RGB if _is_adobe_rgb(image) else None


def convert_image(pixels: Image.Image, profile: bytes | None) -> Image.Image:
    """An image of mode L, RGB, CMYK or LAB as sRGB; colors outside of sRGB are clipped.

    Args:
        pixels: the image.
        profile: the ICC profile that it refers to; None, or one for another kind of colors, stands for sRGB.
    """
    transform = _transform_for(pixels.mode, profile)
    if transform is None:
        return pixels.convert("RGB")
    if transform.input_mode != pixels.mode:
        pixels = pixels.convert("RGB")
    converted = ImageCms.applyTransform(pixels, transform)
    assert converted is not None  # it is None only in place
    return converted


def convert_array(values: np.ndarray, profile: bytes | None) -> np.ndarray | None:
    """The same for a float32 array of shape (1, H, W), gray, or (3, H, W), in [0, 1], without rounding to 8 bits.

    Returns:
        An array of shape (3, H, W); None for a profile of tables, by which only images can be converted.
    """
    transform = _transform_for("L" if len(values) == 1 else "RGB", profile)
    if transform is None or transform.input_mode == "RGB":
        values = np.repeat(values, 3 // len(values), axis=0)
    return values if transform is None or profile is None else convert_exactly(values, profile)


def _transform_for(mode: str, profile: bytes | None) -> ImageCms.ImageCmsTransform | None:
    """The conversion of images of a mode; None if they are sRGB. Gray may refer to a profile for RGB, too."""
    transform = _build_transform(profile) if profile else None
    allowed = (mode, "RGB") if mode == "L" else (mode,)
    return transform if transform is not None and transform.input_mode in allowed else None


@functools.lru_cache(maxsize=8)
def _build_transform(profile: bytes) -> ImageCms.ImageCmsTransform | None:
    """The conversion from a profile's colors to sRGB; None for a profile that has no effect, or makes no sense."""
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        mode = _MODES[source.profile.xcolor_space]
        target = ImageCms.ImageCmsProfile(BytesIO(SRGB))
        intent = ImageCms.Intent.PERCEPTUAL if mode == "CMYK" else ImageCms.Intent.RELATIVE_COLORIMETRIC
        exact = ImageCms.Flags.NOOPTIMIZE if mode == "L" else ImageCms.Flags.NONE  # for gray, not slower either
        transform = ImageCms.buildTransform(source, target, mode, "RGB", intent, exact)
    except (ImageCms.PyCMSError, OSError, KeyError, ValueError):
        return None
    return None if mode in ("L", "RGB") and not _has_use(transform) else transform


def _has_use(transform: ImageCms.ImageCmsTransform) -> bool:
    """Whether a conversion changes colors at all, and doesn't ruin them."""
    colors = np.repeat(np.arange(256), 3).reshape(256, 3)
    if transform.input_mode == "RGB":
        colors = np.concatenate([colors, np.mgrid[0:256:51, 0:256:51, 0:256:51].reshape(3, -1).T])
    image = Image.fromarray(colors[None].astype(np.uint8)).convert(transform.input_mode)
    found = np.asarray(ImageCms.applyTransform(image, transform)).astype(int)[0]
    contrast, change = (found[255] - found[0]).min(), np.abs(found - colors).max()
    return bool(contrast >= _LEAST_CONTRAST and change > _SAME)


@functools.lru_cache(maxsize=8)
def _describe(gamma: float | None, chromaticities: tuple[float, ...] | None) -> bytes | None:
    """The profile that PNG's chunks gAMA and cHRM describe; None for sRGB, and if they make no sense."""
    primaries = chromaticities or SRGB_CHROMATICITIES
    near = np.allclose(primaries, SRGB_CHROMATICITIES, atol=0.001)
    if near and (gamma is None or abs(gamma - _GAMMA_OF_SRGB) < 0.001):
        return None
    least, most = _EXPONENTS
    if gamma is not None and not 1 / most <= gamma <= 1 / least:
        return None
    try:
        return build_profile("PNG", primaries, SRGB_CURVE if gamma is None else [1 / gamma])
    except ValueError:
        return None


def _is_adobe_rgb(image: Image.Image) -> bool:
    """Whether EXIF data name Adobe RGB: in the way of DCF, or by a number that some cameras write."""
    try:
        exif = image.getexif()
        space = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.ColorSpace)
        index = exif.get_ifd(ExifTags.IFD.Interop).get(ExifTags.Interop.InteropIndex) if space == 0xFFFF else None
    except Exception:  # of any kind, for damaged data; the picture is still readable
        return False
    return space == 2 or index == "R03"
