"""The shape of the photos that an ONNX file takes: any, or one that was fixed after the export."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from nst_lightning.errors import UserError

MINIMUM_SIZE = 32
"""The smallest width and height of a photo, in pixels, that networks accept."""


@dataclass(frozen=True)
class InputShape:
    """The batch size, and the height and width in pixels, of a file's input; None where the file takes any.

    Args:
        batch: number of photos that the file takes at once.
        height: height of the photos.
        width: width of the photos.
    """

    batch: int | None = None
    height: int | None = None
    width: int | None = None

    @classmethod
    def of(cls, shape: Sequence[int | str | None]) -> "InputShape":
        """The shape of a node of four dimensions; names and None stand for any length."""
        batch, _, height, width = (length if isinstance(length, int) and length > 0 else None for length in shape)
        return cls(batch, height, width)

    def __str__(self) -> str:
        return " and ".join(f"{name} {getattr(self, name)}" for name in ("width", "height") if getattr(self, name))

    def fit(self, size: tuple[int, int]) -> tuple[int, int]:
        """The width and height of a photo of a size, (width, height), after it is scaled down if it is too large.

        >>> InputShape(height=256, width=384).fit((1200, 600))
        (384, 192)
        """
        limits = [limit or length for limit, length in zip((self.width, self.height), size)]
        scale = min(1.0, *(limit / length for limit, length in zip(limits, size)))
        width, height = (min(limit, max(1, round(length * scale))) for limit, length in zip(limits, size))
        return width, height

    def check(self, size: tuple[int, int], argument: str) -> None:
        """Refuse the size, (width, height), that an argument gives to a photo, if it is too large for the file.

        Raises:
            UserError: the photo is too large.
        """
        if self.fit(size) != tuple(size):
            problem = f"a photo of {size[0]}x{size[1]} does not fit into the network's file, which has a fixed {self}"
            raise UserError.about(argument, problem)

    def fill(self, photo: np.ndarray) -> np.ndarray:
        """A batch of the photo, shape (3, H, W), which its reflections enlarge to the right and the bottom.

        Unlike an empty area, they leave the statistics in the network's normalizations as they are.

        Args:
            photo: RGB in [0, 1], not larger than the file allows, and of at least 32x32 pixels.

        Returns:
            RGB in [0, 1], of the file's shape.
        """
        height, width = photo.shape[1:]
        bottom, right = (self.height or height) - height, (self.width or width) - width
        filled = np.pad(photo, ((0, 0), (0, bottom), (0, right)), mode="reflect") if bottom or right else photo
        return filled[None] if self.batch in (None, 1) else np.repeat(filled[None], self.batch, axis=0)


def scale_into(image: Image.Image, shape: InputShape) -> Image.Image:
    """Scale an image down (Lanczos) if it is too large for a file; see `InputShape.fit`.

    Raises:
        UserError: a side would be smaller than 32 pixels.
    """
    size = shape.fit(image.size)
    if min(size) < MINIMUM_SIZE:
        raise UserError(
            f"a photo of {image.width}x{image.height} is too small: {size[0]}x{size[1]} after it is scaled down for "
            f"the network's file, which has a fixed {shape}; at least {MINIMUM_SIZE}x{MINIMUM_SIZE} pixels"
        )
    return image if size == image.size else image.resize(size, Image.Resampling.LANCZOS)
