"""The photos that an ONNX file takes: of any size or a fixed one, as numbers or as bytes."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnxruntime
from PIL import Image

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

    def fill(self, photo: np.ndarray) -> np.ndarray:
        """A batch of the photo, shape (3, H, W), which its reflections enlarge to the right and the bottom.

        Unlike an empty area, they leave the statistics in the network's normalizations as they are.

        Args:
            photo: RGB in [0, 1], not larger than the file allows, and of at least 32x32 pixels.

        Returns:
            What the file takes, of its shape.
        """
        lengths = zip((self.height, self.width), photo.shape[1:])
        bottom, right = (-own % self.multiple if fixed is None else fixed - own for fixed, own in lengths)
        filled = np.pad(photo, ((0, 0), (0, bottom), (0, right)), mode="reflect") if bottom or right else photo
        if self.in_bytes:
            filled = (255 * filled).round().astype(np.uint8).transpose(1, 2, 0)
        return filled[None] if self.batch in (None, 1) else np.repeat(filled[None], self.batch, axis=0)

    def cut(self, pictures: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """The reverse of `fill`: the first picture of a batch that the file returned, without what was added.

        Args:
            pictures: the file's output.
            size: height and width of the picture.

        Returns:
            RGB in [0, 1], float32 of shape (3, H, W).
        """
        picture = pictures[0].transpose(2, 0, 1) / np.float32(255) if self.in_bytes else pictures[0]
        return picture[:, : size[0], : size[1]]


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
