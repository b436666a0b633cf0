"""The search for the style weight with which a picture has a given content."""

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from nst_lightning.errors import Notice, UserError
from nst_lightning.losses import ObjectiveOptions, check_content_target
from nst_lightning.optimization.plan import Level

LEAST_WEIGHT, MOST_WEIGHT = 0.1, 1000.0
CHECKS = (0.25, 0.5, 0.75, 1.0)
"""The shares of a level after which content is measured."""
EXPONENT = 2.0
"""By which power of target/content the weight changes: content grows as about the square root of the style weight."""
SETTLING = 0.25
"""Content falls while details return, and does so with the square of the iterations that are left: by this share of
its own, with all of a level's."""
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

    Content is what the content loss compares, at the size that is being painted: with the same style weight, it is
    about the same at the end of each level. Refined levels keep the weight, since their few iterations don't settle.

    Args:
        target: the content to reach, from 0.1 to 0.9.
        levels: the planned levels.
        weight: the style weight to begin with.
    """

    def __init__(self, target: float, levels: Sequence[Level], *, weight: float) -> None:
        self.target, self.levels = target, list(levels)
        self.found = Found(weight)
        self._settled = max(level.iterations for level in self.levels)
        self._last = max(number for number in range(1, len(self.levels) + 1) if self.checks(number))

    def checks(self, number: int) -> list[int]:
        """The iterations of a level, by its number from 1, after which to call `adapt`; none if it is refined."""
        iterations = self.levels[number - 1].iterations
        return sorted({max(1, round(share * iterations)) for share in CHECKS if iterations == self._settled})

    def has_checked(self, number: int, iteration: int) -> bool:
        """Whether `adapt` has been called for an iteration of a level, or a later one."""
        return (self.found.level, self.found.iteration) >= (number, iteration)

    def adapt(self, content: float, number: int, iteration: int) -> None:
        """Change the weight so that content comes nearer to the target, until the end of the last level that settles.

        Args:
            content: the content of the picture that is optimized.
            number: number of the level, from 1.
            iteration: number of iterations in the level so far.
        """
        self.found = replace(self.found, content=content, level=number, iteration=iteration)
        left = max(0.0, 1 - iteration / self.levels[number - 1].iterations)
        if not left and number == self._last:
            return
        expected = content * (1 - SETTLING * left**2)
        step = 1.0 if abs(expected - self.target) < NEAR else (self.target / max(expected, 1e-6)) ** EXPONENT
        weight = self.found.weight * min(max(step, 1 / LARGEST_STEP), LARGEST_STEP)
        self.found = replace(self.found, weight=min(max(weight, LEAST_WEIGHT), MOST_WEIGHT))

    def end(self) -> None:
        """Say so if the finished picture misses the target."""
        content = self.found.content
        if content is None or abs(content - self.target) <= TOLERANCE:
            return
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


def check_target(target: float, objective: ObjectiveOptions) -> None:
    """Refuse a content target that is out of range, or that has no style or no relative content to balance.

    Raises:
        UserError: it is one of these.
    """
    check_content_target(target)
    for name in ("style_weight", "content_weight"):
        if not getattr(objective, name):
            raise UserError.about("content_target", f"needs a {name} > 0")
    if objective.normalization != "relative":
        raise UserError.about("content_target", f"needs the relative normalization, got {objective.normalization}")
