"""Pictures of which rows are read one strip after the other, for those that are too large for arrays of floats."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from nst_lightning.images import image_to_array

STRIP_PIXELS = 2**20
"""The pixels of a strip, few enough for the processor's caches."""
_LANCZOS = 3  # radius of the filter, in pixels of the smaller of both pictures

Element = type[np.float32 | np.uint8 | np.uint16]
"""The type of an array's values: floats in [0, 1], or whole numbers up to the largest of their type."""
ReadRows = Callable[[int, int], np.ndarray]
"""Returns the rows of a picture from one up to another, as RGB in [0, 1], float32 of shape (3, rows, W)."""


@dataclass(frozen=True)
class Raster:
    """A picture.

    Args:
        size: width and height in pixels.
        read: function that returns rows.
        row_pixels: pixels of any picture that are read at once for each row; by default its own.
    """

    size: tuple[int, int]
    read: ReadRows
    row_pixels: float = 0

    @classmethod
    def of_image(cls, image: Image.Image) -> "Raster":
        """An image of mode RGB."""
        return cls(image.size, lambda start, stop: image_to_array(image.crop((0, start, image.width, stop))))

    @classmethod
    def of_array(cls, array: np.ndarray) -> "Raster":
        """An array of shape (3, H, W): floats in [0, 1], or whole numbers up to the largest of their type."""
        if array.dtype == np.float32:
            return cls(array.shape[:0:-1], lambda start, stop: array[:, start:stop].copy())
        white = np.iinfo(array.dtype).max
        return cls(array.shape[:0:-1], lambda start, stop: np.divide(array[:, start:stop], white, dtype=np.float32))

    def resized(self, size: tuple[int, int]) -> "Raster":
        """The picture scaled to a width and height (Lanczos), which is computed again for each strip."""
        if size == self.size:
            return self
        scale = self.size[1] / size[1]
        margin = _LANCZOS * max(1.0, scale) + 1

        def read(start: int, stop: int) -> np.ndarray:
            first = max(0, math.floor(start * scale - margin))
            last = min(self.size[1], math.ceil(stop * scale + margin))
            box = (0, start * scale - first, self.size[0], min(stop * scale, self.size[1]) - first)
            channels = [Image.fromarray(channel) for channel in self.read(first, last)]
            scaled = [channel.resize((size[0], stop - start), Image.Resampling.LANCZOS, box) for channel in channels]
            return np.stack([np.asarray(channel) for channel in scaled]).clip(0, 1)

        return Raster(size, read, scale * max(self.row_pixels, self.size[0]))

    def filled(self, multiple: int) -> "Raster":
        """The picture, enlarged by its reflections to a multiple in width and height, as `InputShape.fill` does it."""
        width, height = self.size
        right, bottom = -width % multiple, -height % multiple
        if not (right or bottom):
            return self

        def read(start: int, stop: int) -> np.ndarray:
            below = max(0, stop - height)
            first = min(start, height - 1 - below)  # all that the reflection shows
            rows = self.read(first, stop - below)
            return np.pad(rows, ((0, 0), (0, below), (0, right)), mode="reflect")[:, start - first :]

        return Raster((width + right, height + bottom), read, self.row_pixels)

    def strips(self) -> Iterator[tuple[int, np.ndarray]]:
        """All rows, in strips: the number of the first row of each, and its rows."""
        height, rows = self.size[1], max(1, int(STRIP_PIXELS / max(self.row_pixels, self.size[0])))
        for start in range(0, height, rows):
            yield start, self.read(start, min(start + rows, height))

    def stored(self, element: Element) -> np.ndarray:
        """The whole picture, as an array that `of_array` takes."""
        return store(self.size, self.strips(), element)


def store(size: tuple[int, int], strips: Iterator[tuple[int, np.ndarray]], element: Element) -> np.ndarray:
    """An array of shape (3, H, W) with the strips of a picture, as `Raster.of_array` takes it."""
    stored = None
    for start, rows in strips:
        if stored is None:  # not before there is a strip, while memory may be needed for what makes it
            stored = np.empty((3, size[1], size[0]), element)
        stored[:, start : start + rows.shape[1]] = convert(rows, element)
    assert stored is not None
    return stored


def convert(rows: np.ndarray, element: Element) -> np.ndarray:
    """Floats in [0, 1], outside of which they are clipped, as values of a type."""
    if issubclass(element, np.float32):
        return rows
    return rows.clip(0, 1) * np.iinfo(element).max + np.float32(0.5)
