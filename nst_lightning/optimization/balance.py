"""The search for the style weight with which a picture has a given content."""

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nst_lightning.encoders import CompactEncoder
from nst_lightning.errors import Notice, UserError
from nst_lightning.losses import ObjectiveOptions
from nst_lightning.metrics import CONTENT_LAYER, SHORT_SIDE, ContentGauge, resize_pictures
from nst_lightning.metrics.content import LEAST_TARGET, check_content_target
from nst_lightning.optimization.plan import Level
from nst_lightning.optimization.scene import Scene

LEAST_WEIGHT, MOST_WEIGHT = 0.1, 1000.0
CHECKS = (0.5, 1.0)
"""The shares of a level after which the weight is adapted."""
MORE_CHECKS = (0.2, 0.4, 0.6, 0.8)
"""Those of the last level, and of levels larger than the size of comparison, where strokes become finer and content at
that size changes most."""
EXPONENT, LARGE_EXPONENT = 2.0, 2.5
"""By which power of target/content the weight changes: content grows as about the square root of the style weight, and
more slowly at levels larger than the size of comparison."""
FALL = 1.0
"""By which power of the number of pixels the weight falls from level to level, beyond the size of comparison."""
LARGEST_STEP = 4.0
NEAR = 0.01
"""How near to the target a content leaves the weight as it is, so that L-BFGS keeps its memory."""
TOLERANCE = 0.03
"""How near to the target a content counts as reached."""


@dataclass
class Found:
    """What the search has found so far.

    Args:
        weight: the style weight.
        content: the content that was measured last, if any.
        level: number of the level in which it was measured, from 1; 0 for none.
        iteration: number of iterations in the level after which it was measured.
    """

    weight: float
    content: float | None = None
    level: int = 0
    iteration: int = 0


class ContentBalance:
    """Adapts the style weight while a picture grows, so that its content reaches a target.

    Content is measured on the picture as it would be written, by the compact encoder at a short side of 256 pixels, as
    `Evaluator` does. Levels before the last one that are smaller are compared at their own size, with a target that
    leaves room for the blur of a small last level. With masks, only places where a style goes count.

    Args:
        target: the content to reach.
        photo: RGB in [0, 1], float32 array of shape (3, H, W).
        scene: the scene, which renders pictures.
        levels: the planned levels.
        weight: the style weight to begin with.
    """

    def __init__(
        self, target: float, photo: np.ndarray, scene: Scene, *, levels: Sequence[Level], weight: float
    ) -> None:
        self.target, self.scene, self.levels = target, scene, list(levels)
        self.photo = resize_pictures(torch.from_numpy(photo)[None], SHORT_SIDE).to(scene.device)
        self.encoder = CompactEncoder().to(scene.device)
        self.found = Found(weight)
        self._gauges: dict[int, ContentGauge] = {}
        self._blur = self._measure_blur()

    def enter(self, number: int) -> None:
        """Lower the weight at the start of a level that is larger than the size of comparison, unless it is the first.

        Its strokes are finer than those of the level before, and with the same weight content would rise: by half at
        each level.

        Args:
            number: number of the level, from 1.
        """
        level = self.levels[number - 1]
        if number > 1 and min(level.width, level.height) > SHORT_SIDE and not self.has_checked(number, 0):
            before = self.levels[number - 2]
            ratio = (before.width * before.height) / (level.width * level.height)
            weight = max(LEAST_WEIGHT, self.found.weight * ratio**FALL)
            self.found = replace(self.found, weight=weight, level=number, iteration=0)

    def checks(self, number: int) -> list[int]:
        """The iterations of a level after which to call `adapt`."""
        level, last = self.levels[number - 1], number == len(self.levels)
        shares = MORE_CHECKS if last or min(level.width, level.height) > SHORT_SIDE else CHECKS
        return sorted({max(1, round(share * level.iterations)) for share in shares})

    def has_checked(self, number: int, iteration: int) -> bool:
        """Whether `adapt` has been called for an iteration of a level, or a later one."""
        return (self.found.level, self.found.iteration) >= (number, iteration)

    def adapt(self, pixels: Tensor, number: int, iteration: int) -> None:
        """Measure the picture that is optimized, and change the weight so that its content comes nearer to the target.

        Within a level, content at the level's own size falls as details return; what it would fall to counts.

        Args:
            pixels: the picture, with margins.
            number: number of the level, from 1.
            iteration: number of iterations in the level so far.
        """
        level, content = self.levels[number - 1], self._measure(pixels, number)
        own_size, last = min(level.width, level.height) <= SHORT_SIDE, number == len(self.levels)
        blur = self._blur if own_size and not last else 0.0
        target = max(LEAST_TARGET / 2, (self.target - blur) / (1 - blur))
        exponent = EXPONENT if own_size else LARGE_EXPONENT
        left = max(0.0, 1 - iteration / level.iterations)
        expected = content * (1 - (0.3 if own_size and not last else 0.1) * left**2)
        step = 1.0 if abs(expected - target) < NEAR else (target / max(expected, 1e-6)) ** exponent
        weight = self.found.weight * min(max(step, 1 / LARGEST_STEP), LARGEST_STEP)
        self.found = Found(min(max(weight, LEAST_WEIGHT), MOST_WEIGHT), content, number, iteration)

    def end(self, pixels: Tensor) -> None:
        """Measure the finished picture, and say so if it misses the target."""
        number = len(self.levels)
        content = self._measure(pixels, number)
        self.found = Found(self.found.weight, content, number, self.levels[-1].iterations)
        if abs(content - self.target) > TOLERANCE:
            at_limit = self.found.weight in (LEAST_WEIGHT, MOST_WEIGHT)
            missed = "is out of reach" if at_limit else "is missed, and more iterations may reach it"
            found = f"content is {content:.2f} at a style weight of {self.found.weight:.4g}"
            warnings.warn(f"content_target {self.target:g} {missed}: {found}", Notice, stacklevel=2)

    def state(self) -> dict[str, Any]:
        """What has been found, as plain values."""
        return asdict(self.found)

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from the result of `state`."""
        self.found = Found(**state)

    def _measure(self, pixels: Tensor, number: int) -> float:
        """The content of the picture at a level, given its pixels with margins."""
        return self._gauge(number)(torch.from_numpy(self.scene.render(pixels))[None].to(self.scene.device))

    def _measure_blur(self) -> float:
        """The content of the photo itself at the last level's size; enlarged to 256 pixels, it is blurred."""
        last = self.levels[-1]
        small = resize_pictures(self.photo, min(SHORT_SIDE, last.width, last.height))
        return self._gauge(len(self.levels))(small)

    def _gauge(self, number: int) -> ContentGauge:
        """The gauge of a level."""
        short_side = SHORT_SIDE
        if number < len(self.levels):
            level = self.levels[number - 1]
            least = self.encoder.minimum_size(CONTENT_LAYER)
            short_side = max(least, min(SHORT_SIDE, level.width, level.height))
        if short_side not in self._gauges:
            height, width = self.photo.shape[-2:]
            mask = self.scene.mask_at(width, height)
            self._gauges[short_side] = ContentGauge(self.encoder, self.photo, short_side=short_side, mask=mask)
        return self._gauges[short_side]


def check_target(target: float, objective: ObjectiveOptions) -> None:
    """Refuse a content target that is out of range, or that has no style or no content to balance.

    Raises:
        UserError: it is one of these.
    """
    check_content_target(target)
    for name in ("style_weight", "content_weight"):
        if not getattr(objective, name):
            raise UserError.about("content_target", f"needs a {name} > 0")
