"""The photos that an ONNX file takes: of any size or a fixed one, as numbers or as bytes."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnxruntime

from nst_lightning.errors import UserError

MINIMUM_SIZE = 32
"""The smallest width and height of a photo, in pixels, that networks accept."""
BYTES = "tensor(uint8)"
_MULTIPLES = {str(number) for number in range(1, MINIMUM_SIZE + 1)}


@dataclass(frozen=True)
class InputShape:
    """The batch size, and the height and width in pixels, of a file's input; None where the file takes any.

    Args:
        batch: number of photos that the file takes at once.
        height: height of the photos.
        width: width of the photos.
        multiple: what heights and widths that are not fixed must be multiples of.
        in_bytes: whether the file takes and returns bytes of shape (N, H, W, 3), in place of numbers from 0 to 1, of
            shape (N, 3, H, W).
    """

    batch: int | None = None
    height: int | None = None
    width: int | None = None
    multiple: int = 1
    in_bytes: bool = False

    @classmethod
    def of(cls, photo: onnxruntime.NodeArg, metadata: Mapping[str, str] | None = None) -> "InputShape":
        """The shape of a file's first input; names and None stand for any length.

        Args:
            photo: the input, of four dimensions.
            metadata: the file's, whose `size_multiple` is `multiple`.
        """
        lengths = [length if isinstance(length, int) and length > 0 else None for length in photo.shape]
        in_bytes = photo.type == BYTES
        batch, height, width = (lengths[i] for i in ((0, 1, 2) if in_bytes else (0, 2, 3)))
        stated = (metadata or {}).get("size_multiple", "")
        multiple = int(stated) if stated in _MULTIPLES else 1
        return cls(batch, height, width, multiple, in_bytes)

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

    def fit_whole(self, size: tuple[int, int]) -> tuple[int, int]:
        """What `fit` returns.

        Raises:
            UserError: a side would be smaller than 32 pixels.
        """
        width, height = self.fit(size)
        if min(width, height) < MINIMUM_SIZE:
            raise UserError(
                f"a photo of {size[0]}x{size[1]} is too small: {width}x{height} after it is scaled down for "
                f"the network's file, which has a fixed {self}; at least {MINIMUM_SIZE}x{MINIMUM_SIZE} pixels"
            )
        return width, height

    def fill(self, photos: np.ndarray) -> np.ndarray:
        """A batch of photos, shape (N, 3, H, W), which their reflections enlarge to the right and the bottom.

        Unlike an empty area, they leave the statistics in the network's normalizations as they are. The last photo is
        repeated if the file takes more.

        Args:
            photos: RGB in [0, 1], not larger or more than the file allows, and of at least 32x32 pixels.

        Returns:
            What the file takes, of its shape.
        """
        lengths = zip((self.height, self.width), photos.shape[2:])
        bottom, right = (-own % self.multiple if fixed is None else fixed - own for fixed, own in lengths)
        missing = (self.batch or len(photos)) - len(photos)
        filled = np.pad(photos, ((0, 0), (0, 0), (0, bottom), (0, right)), "reflect") if bottom or right else photos
        filled = np.pad(filled, ((0, missing), (0, 0), (0, 0), (0, 0)), "edge") if missing else filled
        return (255 * filled).round().astype(np.uint8).transpose(0, 2, 3, 1) if self.in_bytes else filled

    def cut(self, pictures: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """The reverse of `fill`: the pictures that the file returned, without what was added.

        Args:
            pictures: the file's output.
            shape: the shape of the photos.

        Returns:
            RGB in [0, 1], float32 of this shape.
        """
        count, _, height, width = shape
        values = pictures.transpose(0, 3, 1, 2) / np.float32(255) if self.in_bytes else pictures
        return values[:count, :, :height, :width]
