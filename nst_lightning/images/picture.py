"""A picture with all that should survive reading and writing, and several of them in one file."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from nst_lightning.errors import UserError
from nst_lightning.images.pixels import array_to_image, image_to_array


@dataclass(frozen=True)
class Picture:
    """A picture file in memory: upright RGB pixels, and all that should survive reading and writing.

    Args:
        rgb: the pixels in sRGB, rotated as the EXIF orientation says: an image of mode RGB, or, if 8 bits per channel
            are too few, a float array of shape (3, H, W) in [0, 1].
        alpha: the transparency as an image of the same size, mode L or I;16, or None if the file had none.
        exif: EXIF data without orientation and thumbnail, or None if the file had none.
        dpi: the resolution in pixels per inch, across and down, or None if the file didn't state it.
    """

    rgb: Image.Image | np.ndarray
    alpha: Image.Image | None = None
    exif: bytes | None = None
    dpi: tuple[float, float] | None = None

    @property
    def image(self) -> Image.Image:
        """The pixels as an RGB image with 8 bits per channel."""
        return array_to_image(self.rgb) if isinstance(self.rgb, np.ndarray) else self.rgb

    @property
    def array(self) -> np.ndarray:
        """The pixels as a float32 array of shape (3, H, W) in [0, 1]."""
        return self.rgb if isinstance(self.rgb, np.ndarray) else image_to_array(self.rgb)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        if isinstance(self.rgb, np.ndarray):
            return self.rgb.shape[2], self.rgb.shape[1]
        return self.rgb.size

    def with_pixels(self, rgb: Image.Image | np.ndarray) -> "Picture":
        """The picture with other pixels, such as painted ones; its alpha is scaled to their size."""
        opaque = replace(self, rgb=rgb, alpha=None)
        if self.alpha is None:
            return opaque
        return replace(opaque, alpha=self.alpha.resize(opaque.size, Image.Resampling.BICUBIC))

    def __post_init__(self) -> None:
        if isinstance(self.rgb, np.ndarray) and (self.rgb.ndim != 3 or len(self.rgb) != 3):
            raise UserError(f"rgb must be an image or an array of shape (3, H, W), got shape {self.rgb.shape}")


@dataclass(frozen=True)
class Frame:
    """A frame of an animation, or a page.

    Args:
        picture: its pixels and transparency, and the metadata of the whole file.
        milliseconds: how long it is shown.
    """

    picture: Picture
    milliseconds: float = 0.0


@dataclass(frozen=True)
class Animation:
    """Frames, which are read or painted as they are asked for.

    Args:
        frames: the frames. They have one size, except pages.
        count: their number.
        plays: how often they are shown; 0 for ever.
    """

    frames: Iterator[Frame]
    count: int
    plays: int = 0
