"""What an ONNX file is made for: precision, kind of input, sizes, and version of ONNX."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from nst_lightning.errors import require, require_at_least
from nst_lightning.networks.layers import MINIMUM_SIZE

OPSETS = range(17, 21)


@dataclass(frozen=True)
class Variant:
    """Options of an ONNX file. The defaults make the plain file: any number of photos of any size, in float32.

    Args:
        precision: `float16` stores and computes in half precision, which halves the file's size. What `io` says stays.
        io: `uint8-nhwc` takes and returns RGB bytes, as cameras and canvases have them, of shape (N, H, W, 3), in place
            of numbers from 0 to 1, of shape (N, 3, H, W).
        fixed_size: height and width in pixels of all photos, such as 512x768, for devices that need fixed shapes; the
            batch size is fixed, too.
        batch: number of photos in each batch. By default any, or 1 in a file of a fixed size.
        opset: version of ONNX's operators, from 17, for older runtimes, to 20.

    Raises:
        UserError: an argument is out of range.
    """

    precision: Literal["float32", "float16"] = "float32"
    io: Literal["float32-nchw", "uint8-nhwc"] = "float32-nchw"
    fixed_size: str | None = None
    batch: int | None = None
    opset: int = OPSETS[-1]

    def __post_init__(self) -> None:
        good = self.lengths is None or min(self.lengths) >= MINIMUM_SIZE
        require("fixed_size", self.fixed_size, good, f"HEIGHTxWIDTH, both >= {MINIMUM_SIZE}, such as 512x768")
        require_at_least(1, batch=self.batch)
        require("opset", self.opset, self.opset in OPSETS, f"from {OPSETS[0]} to {OPSETS[-1]}")

    @property
    def lengths(self) -> tuple[int, int] | None:
        """The fixed height and width, if they are fixed."""
        if self.fixed_size is None:
            return None
        found = re.fullmatch(r"(\d+)x(\d+)", self.fixed_size)
        return (int(found[1]), int(found[2])) if found else (0, 0)

    @property
    def fixed_batch(self) -> int | None:
        """The batch size, if it is fixed."""
        return 1 if self.batch is None and self.fixed_size else self.batch


def blend_and_strength(bake: Mapping[str, float]) -> tuple[dict[str, float], float]:
    """The weights of styles, whose sum is 1, and the strength, which is the sum of the weights that are given.

    Raises:
        UserError: a weight is negative, or the sum is not a strength.

    >>> blend_and_strength({"ink": 0.5, "wood": 0.25})
    ({'ink': 0.6666666666666666, 'wood': 0.3333333333333333}, 0.75)
    """
    for name, weight in bake.items():
        require(f"bake: the weight of {name}", weight, weight >= 0, ">= 0")
    strength = round(sum(bake.values()), 6)
    require("bake", dict(bake), 0 < strength <= 1, "weights whose sum, the strength, is above 0 and at most 1")
    return {name: weight / sum(bake.values()) for name, weight in bake.items() if weight}, strength
