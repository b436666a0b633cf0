"""The progress and result of an optimization, and the exceptions that end it early."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from nst_lightning.errors import WorkError
from nst_lightning.images import array_to_image


@dataclass(frozen=True)
class Progress:
    """The progress of an optimization.

    Args:
        level: number of the current level, from 1.
        levels: number of levels.
        iteration: number of the iteration in the level, from 1.
        iterations: number of iterations in the level.
        losses: the losses `loss`, `content`, `style`, `variation`, and `grid` if it has a weight.
        seconds: seconds since the start, including those before an interruption.
        share: share of the work that is done, from 0 to 1.
        draw: function that returns the picture so far.
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
    """The result of an optimization.

    Args:
        pixels: the picture, RGB in [0, 1], float32 array of shape (3, H, W).
        history: losses of each iteration, with its level and the seconds since the start.
        seconds: seconds that the optimization took.
        style_weight: the style weight at the end, which a content target may have changed.
        content: the content loss when it was last measured for a content target, see `optimize_picture`.
        state: the state from which `optimize_picture` can resume: tensors and plain values, for torch.save and
            torch.load(weights_only=True).
    """

    pixels: np.ndarray
    history: list[dict[str, float]]
    seconds: float
    style_weight: float
    content: float | None
    state: dict[str, Any]

    @property
    def picture(self) -> Image.Image:
        """The pixels as an image."""
        return array_to_image(self.pixels)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during an optimization.

    Args:
        result: the picture so far, and the state to resume from.
    """

    def __init__(self, result: Optimized) -> None:
        super().__init__()
        self.result = result


class OptimizationError(WorkError):
    """An optimization that can't go on, for lack of memory or because a file can't be written.

    Args:
        reason: the exception that ended the optimization.
        result: the picture so far, and the state to resume from.
    """

    def __init__(self, reason: Exception, result: Optimized) -> None:
        super().__init__(str(reason) or type(reason).__name__)
        self.result = result


class UnexpectedError(RuntimeError):
    """An optimization that can't go on for a reason nobody foresaw, probably a bug; its cause has the traceback.

    Args:
        reason: the exception that ended the optimization.
        result: the picture so far, and the state to resume from.
    """

    def __init__(self, reason: Exception, result: Optimized) -> None:
        super().__init__(f"{type(reason).__name__}: {reason}")
        self.result = result
