"""Gray values that aren't 8-bit: what their file says about them, and what to assume where it says nothing."""

from typing import Any

import numpy as np
from PIL import Image

_PHOTOMETRIC, _BITS, _FORMAT, _LEAST, _MOST = 262, 258, 339, 340, 341  # TIFF's tags
_WHITE_IS_ZERO, _SIGNED = 0, 2
_WHITES = (1.0, 255.0, 65535.0)
"""The values that usually stand for white."""
_DARKEST = 1 / 4  # of white: a picture whose bright parts are darker than this has another white


def is_deep_gray(image: Image.Image) -> bool:
    """Whether an image's gray values are other than those from 0 to 255 that Pillow converts itself."""
    eight = image.mode == "L" and _tag(image, _BITS, 1) == 8  # as a TIFF states it
    return image.mode[0] in "IF" or (eight and _range_of(image) != (0, 255))


def gray_values(image: Image.Image) -> np.ndarray:
    """The gray values of such an image as a float32 array of shape (H, W), from 0, black, to 1, white.

    Values outside of the range are clipped, and NaN is black. TIFF's tags say the range (BitsPerSample, SampleFormat,
    SMinSampleValue, SMaxSampleValue; in color pictures, the last two are ignored), and whether 0 is white
    (PhotometricInterpretation); MinSampleValue and MaxSampleValue must not affect how a picture looks. The range of
    floats and of integers with 32 bits starts at 0, unless tags say more; `find_white` says where it ends. Negative
    values are black, since 0 is black in signed files as in unsigned ones; files with another use for them, such as
    elevations, must state their smallest value.
    """
    values = np.asarray(image)
    white_is_zero = _tag(image, _PHOTOMETRIC, 1) == _WHITE_IS_ZERO
    if image.mode == "L" and _tag(image, _FORMAT, 1) == _SIGNED:
        values = values.view(np.int8)
    elif image.mode == "L" and white_is_zero:
        values = 255 - values  # which Pillow has inverted
    elif image.mode == "I" and _tag(image, _BITS, 0) == 32 and _tag(image, _FORMAT, 1) != _SIGNED:
        values = values.view(np.uint32)  # Pillow takes them for signed ones
    values = values.astype(np.float32)
    black, white = _range_of(image) or (0.0, find_white(values))
    scaled = ((values - black) / (white - black)).clip(0, 1)
    if white_is_zero:
        scaled = 1 - scaled
    return np.nan_to_num(scaled, nan=0.0)


def find_white(values: np.ndarray) -> float:
    """The value that stands for white where nothing says it: 1, 255 or 65535, whichever fits the bright values.

    Bright is the 99th percentile of the positive, finite values: a few larger ones don't matter. It fits a white if it
    is above a quarter of it. If it is above 1 but fits neither 255 nor 65535, as in photos of a high dynamic range,
    it is itself taken for white.

    >>> find_white(np.array([0.0, 0.2, 0.9])), find_white(np.array([3, 200])), find_white(np.array([0, 20.0]))
    (1.0, 255.0, 20.0)
    """
    positive = values[np.isfinite(values) & (values > 0)]
    bright = float(np.percentile(positive, 99)) if positive.size else 0.0
    if bright <= 1:
        return 1.0
    return next((white for white in _WHITES if white * _DARKEST < bright <= white), bright)


def _range_of(image: Image.Image) -> tuple[float, float] | None:
    """The values of black and white that a file states, or that its type of values implies."""
    bits = _tag(image, _BITS, 16)
    signed = _tag(image, _FORMAT, 1) == _SIGNED
    black, white = _tag(image, _LEAST, 0.0), _tag(image, _MOST, None)
    if white is not None and np.isfinite([black, white]).all() and black < white:
        return black, white
    if image.mode == "F" or bits > 16 or (image.mode == "I" and image.format not in ("TIFF", "PPM")):
        return None
    return 0.0, 2.0 ** (bits - signed) - 1  # Pillow scales PGM files to 16 bits


def _tag(image: Image.Image, number: int, default: Any) -> Any:
    """The first value of a tag of a TIFF file; the default if it isn't a number."""
    value = getattr(image, "tag_v2", {}).get(number, default)
    first = value[0] if isinstance(value, tuple | bytes) and value else value
    try:
        return first if isinstance(first, int) else float(first)
    except (TypeError, ValueError):
        return default
