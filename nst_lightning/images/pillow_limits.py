"""Pillow's limits of what it reads, which also refuse large but real pictures, raised while files are being read."""

import contextlib
import os
import threading
from collections.abc import Iterator

from PIL import Image, PngImagePlugin

from nst_lightning.errors import UserError

MAX_MEGAPIXELS = 500
"""The most pixels of a photo, in millions, unless the environment variable `NST_MAX_MEGAPIXELS` allows more."""
_VARIABLE = "NST_MAX_MEGAPIXELS"
_RAISED = {
    (Image, "MAX_IMAGE_PIXELS"): None,  # `check_pixels` has a limit of its own, which can be raised
    (PngImagePlugin, "MAX_TEXT_CHUNK"): 2**30,  # bytes of one text or color profile; Pillow's limit is 1 MB
    (PngImagePlugin, "MAX_TEXT_MEMORY"): 2**30,  # bytes of all texts of a file
}
_lock = threading.Lock()
_readers = 0
_usual: dict[str, int | None] = {}


@contextlib.contextmanager
def raised_limits() -> Iterator[None]:
    """Raise Pillow's limits, which are global, until the last thread has left this context.

    Raises:
        UserError: a PNG has longer texts, or a larger color profile, than the raised limits allow.
    """
    global _readers
    with _lock:
        if _readers == 0:
            _usual.update({name: getattr(module, name) for module, name in _RAISED})
            for (module, name), limit in _RAISED.items():
                setattr(module, name, limit)
        _readers += 1
    try:
        yield
    except ValueError as error:
        if "MAX_TEXT" not in str(error):
            raise
        raise UserError("has more than 1 GB of text or color profile; save it again without metadata") from error
    finally:
        with _lock:
            _readers -= 1
            if _readers == 0:
                for module, name in _RAISED:
                    setattr(module, name, _usual[name])


def check_pixels(size: tuple[int, int]) -> None:
    """Refuse a picture that is too large to be meant, before there are pixels: a small file may claim any size.

    Args:
        size: width and height in pixels.

    Raises:
        UserError: there are more pixels than allowed, or `NST_MAX_MEGAPIXELS` isn't a number.
    """
    given = os.environ.get(_VARIABLE) or MAX_MEGAPIXELS
    try:
        limit = float(given)
    except ValueError:
        raise UserError(f"{_VARIABLE} must be a number, got {given!r}") from None
    megapixels = size[0] * size[1] / 1e6
    if not megapixels <= limit:
        raise UserError(
            f"{size[0]}x{size[1]} are {megapixels:.6g} megapixels, and at most {limit:.4g} are allowed; "
            f"to raise the limit, set the environment variable {_VARIABLE}"
        )
