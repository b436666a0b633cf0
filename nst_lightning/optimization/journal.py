"""The journal of an optimization: its losses so far, and the last state from which it can be resumed."""

import functools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from nst_lightning.errors import UserError
from nst_lightning.images import array_to_image
from nst_lightning.optimization.balance import ContentBalance
from nst_lightning.optimization.minimize import State
from nst_lightning.optimization.plan import Level
from nst_lightning.optimization.results import Optimized, Progress
from nst_lightning.optimization.scene import Scene


class Stopped(Exception):  # noqa: N818 - no error
    """Raised when `progress` returns true, to end an optimization early."""


class Journal:
    """Keeps losses and states, and reports progress.

    Args:
        levels: the planned levels.
        scene: the scene, which renders pictures.
        progress: function that is called after every iteration; if it returns true, the optimization ends.
        fingerprint: checksum of pictures and weights, to recognize states of others.
        options: the options of the optimization by their names, to recognize states with others.
        balance: what adapts the style weight, if there is a content target.
    """

    def __init__(
        self,
        levels: Sequence[Level],
        scene: Scene,
        *,
        progress: Callable[[Progress], bool | None] | None,
        fingerprint: int,
        options: Mapping[str, Any],
        balance: ContentBalance | None = None,
    ) -> None:
        self.levels, self.scene, self.progress = list(levels), scene, progress
        self.fingerprint, self.options = fingerprint, dict(options)
        self.balance, self._balance_state = balance, None if balance is None else balance.state()
        self.level = 1
        self.history: list[dict[str, float]] = []
        self.state: State | None = None
        self._state_level, self._state_entries = 1, 0
        self._before, self._start = 0.0, time.perf_counter()

    @property
    def current(self) -> Level:
        """The level under way."""
        return self.levels[self.level - 1]

    def seconds(self) -> float:
        """The seconds since the start, including those before an interruption."""
        return self._before + time.perf_counter() - self._start

    def keep(self, state: State) -> None:
        """Keep a state of the current level, from which the optimization can be resumed."""
        self.state, self._state_level, self._state_entries = state, self.level, len(self.history)
        self._balance_state = None if self.balance is None else self.balance.state()

    def report(self, iteration: int, losses: dict[str, float], pixels: Tensor) -> None:
        """Record an iteration, and call `progress`.

        Raises:
            UserError: the very first loss isn't finite.
            Stopped: `progress` returned true.
        """
        if not math.isfinite(losses["loss"]) and not self.history:
            raise UserError("the loss is not finite: the encoder's weights, or the pictures, have values that are not")
        level, seconds = self.current, self.seconds()
        self.history.append({"level": self.level, "iteration": iteration, "seconds": seconds, **losses})
        if self.progress is None:
            return
        done = sum(each.work for each in self.levels[: self.level - 1]) + level.work * iteration / level.iterations
        share = done / sum(each.work for each in self.levels)
        counts = (self.level, len(self.levels), iteration, level.iterations)
        if self.progress(Progress(*counts, losses, seconds, share, functools.partial(self._draw, pixels))):
            raise Stopped

    @property
    def style_weight(self) -> float:
        """The style weight at present."""
        return float(self.options["style_weight"] if self.balance is None else self.balance.found.weight)

    def result(self) -> Optimized:
        """The picture so far, and the state as tensors and plain values; needs a state from `keep`."""
        assert self.state is not None
        state = {
            "fingerprint": self.fingerprint,
            "options": self.options,
            "level": self._state_level,
            "tiles": [level.tile for level in self.levels],
            "histories": [level.history for level in self.levels],
            "balance": self._balance_state,
            "minimization": {field.name: getattr(self.state, field.name) for field in fields(State)},
            "history": self.history[: self._state_entries],
            "seconds": self.seconds(),
        }
        pixels = self.scene.render(self.state.picture())
        content = None if self.balance is None else self.balance.found.content
        return Optimized(pixels, self.history, self.seconds(), self.style_weight, content, state)

    def resume(self, state: dict[str, Any]) -> State:
        """Resume from the state in a result.

        Raises:
            UserError: the state was made from other pictures, weights or options, or by another version.
        """
        try:
            return self._resume(state)
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(f"state: made by another version, or damaged ({error})") from error

    def _resume(self, state: dict[str, Any]) -> State:
        if state["fingerprint"] != self.fingerprint:
            raise UserError("state: made from other pictures or with another encoder; resume with the same")
        different = [name for name, value in self.options.items() if state["options"].get(name) != value]
        if different:
            raise UserError(f"state: made with other options: {', '.join(different)}; resume with the same")
        level, margin = self.levels[state["level"] - 1], self.scene.margin
        height, width = state["minimization"]["pixels"].shape[-2:]
        if (width, height) != level.padded(margin):
            found = f"{width - 2 * margin}x{height - 2 * margin}"
            raise UserError(f"state: made for a picture of {found}, not {level.width}x{level.height}")
        before = zip(self.levels, state["tiles"], state["histories"], strict=True)
        self.levels = [
            # the same tiles give the same rounding, unless there is less memory now
            replace(
                level, tile=min(filter(None, (level.tile, tile)), default=None), history=min(level.history, history)
            )
            for level, tile, history in before
        ]
        if self.balance is not None:
            self.balance.restore(state["balance"])
        self.level, self.history, self._before = state["level"], list(state["history"]), state["seconds"]
        return State(**_move(state["minimization"], self.scene.device))

    def _draw(self, pixels: Tensor) -> Image.Image:
        return array_to_image(self.scene.render(pixels.clamp(0, 1)))


def _move(value: Any, device: torch.device | str) -> Any:
    """Move tensors inside dicts, lists and tuples to a device."""
    if isinstance(value, dict):
        return {key: _move(item, device) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_move(item, device) for item in value)
    return value.to(device) if hasattr(value, "to") else value
