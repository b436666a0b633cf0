"""What an optimization says while it goes on, what it returns, and how it ends before its time."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from nst_lightning.errors import WorkError
from nst_lightning.images import array_to_image


@dataclass(frozen=True)
class Progress:
    """Where an optimization is.

    Args:
        level: from 1.
        levels: how many there are.
        iteration: of the level, from 1.
        iterations: of the level.
        losses: `loss`, `content`, `style`, `variation`, and `grid` if it has a weight.
        seconds: since the start, those before an interruption included.
        share: of the work that is done, from 0 to 1.
        draw: gives the picture as it is.
    """

    level: int
    levels: int
    iteration: int
    iterations: int
    losses: dict[str, float]
    seconds: float
    share: float
    draw: Callable[[], Image.Image]


@dataclass(frozen=True)
class Optimized:
    """What an optimization made.

    Args:
        pixels: RGB in [0, 1], float32 of shape (3, H, W).
        history: losses of each iteration, and the level and seconds at which it was.
        seconds: how long it took.
        state: where it is, for `optimize_picture` to go on from: tensors and plain values, which torch.save and
            torch.load(weights_only=True) keep.
    """

    pixels: np.ndarray
    history: list[dict[str, float]]
    seconds: float
    state: dict[str, Any]

    @property
    def picture(self) -> Image.Image:
        """The pixels as image."""
        return array_to_image(self.pixels)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during an optimization.

    Args:
        result: the picture so far, and the state to go on from.
    """

    def __init__(self, result: Optimized) -> None:
        super().__init__()
        self.result = result


class OptimizationError(WorkError):
    """An optimization that can't go on, such as for lack of memory.

    Args:
        reason: why.
        result: the picture so far, and the state to go on from.
    """

    def __init__(self, reason: Exception, result: Optimized) -> None:
        super().__init__(str(reason) or type(reason).__name__)
        self.result = result
