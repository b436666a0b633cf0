"""What happened so far in an optimization: the losses, and the last state that can be gone on from."""

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
from nst_lightning.optimization.minimize import State
from nst_lightning.optimization.plan import Level
from nst_lightning.optimization.results import Optimized, Progress
from nst_lightning.optimization.scene import Scene


class Stopped(Exception):  # noqa: N818 - no error
    """The end of an optimization that its caller has seen enough of."""


class Journal:
    """Keeps losses and states, and reports progress.

    Args:
        levels: as planned.
        scene: draws pictures.
        progress: called after every iteration; true ends the optimization.
        fingerprint: a checksum of what the states are of.
        options: the settings that they are of, by their names.
    """

    def __init__(
        self,
        levels: Sequence[Level],
        scene: Scene,
        *,
        progress: Callable[[Progress], bool | None] | None,
        fingerprint: int,
        options: Mapping[str, Any],
    ) -> None:
        self.levels, self.scene, self.progress = list(levels), scene, progress
        self.fingerprint, self.options = fingerprint, dict(options)
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
        """Since the start, those before an interruption included."""
        return self._before + time.perf_counter() - self._start

    def keep(self, state: State) -> None:
        """Remember a state of the current level that can be gone on from."""
        self.state, self._state_level, self._state_entries = state, self.level, len(self.history)

    def report(self, iteration: int, losses: dict[str, float], pixels: Tensor) -> None:
        """Write an iteration down, and report it.

        Raises:
            UserError: the very first loss isn't finite.
            Stopped: progress says so.
        """
        if not math.isfinite(losses["loss"]) and not self.history:
            raise UserError("the loss is not a finite number; the encoder's weights or the pictures have such values")
        level, seconds = self.current, self.seconds()
        self.history.append({"level": self.level, "iteration": iteration, "seconds": seconds, **losses})
        if self.progress is None:
            return
        done = sum(each.work for each in self.levels[: self.level - 1]) + level.work * iteration / level.iterations
        share = done / sum(each.work for each in self.levels)
        counts = (self.level, len(self.levels), iteration, level.iterations)
        if self.progress(Progress(*counts, losses, seconds, share, functools.partial(self._draw, pixels))):
            raise Stopped

    def result(self) -> Optimized:
        """The picture so far, and the state as tensors and plain values; after the first `keep`."""
        assert self.state is not None
        state = {
            "fingerprint": self.fingerprint,
            "options": self.options,
            "level": self._state_level,
            "tiles": [level.tile for level in self.levels],
            "histories": [level.history for level in self.levels],
            "minimization": {field.name: getattr(self.state, field.name) for field in fields(State)},
            "history": self.history[: self._state_entries],
            "seconds": self.seconds(),
        }
        return Optimized(self.scene.render(self.state.picture()), self.history, self.seconds(), state)

    def resume(self, state: dict[str, Any]) -> State:
        """Go on from such a state.

        Raises:
            UserError: it was made of other pictures, weights or options, or by another version.
        """
        try:
            return self._resume(state)
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(f"state: made by another version, or damaged ({error})") from error

    def _resume(self, state: dict[str, Any]) -> State:
        if state["fingerprint"] != self.fingerprint:
            raise UserError("state: made of other pictures or with another encoder; resume with the same")
        different = [name for name, value in self.options.items() if state["options"].get(name) != value]
        if different:
            raise UserError(f"state: made with other options: {', '.join(different)}; resume with the same")
        level, margin = self.levels[state["level"] - 1], self.scene.margin
        height, width = state["minimization"]["pixels"].shape[-2:]
        if (width, height) != level.padded(margin):
            found = f"{width - 2 * margin}x{height - 2 * margin}"
            raise UserError(f"state: of a picture of {found}, not {level.width}x{level.height}")
        before = zip(self.levels, state["tiles"], state["histories"], strict=True)
        self.levels = [
            # the same rounding as before, unless there is less memory now
            replace(
                level, tile=min(filter(None, (level.tile, tile)), default=None), history=min(level.history, history)
            )
            for level, tile, history in before
        ]
        self.level, self.history, self._before = state["level"], list(state["history"]), state["seconds"]
        return State(**_move(state["minimization"], self.scene.device))

    def _draw(self, pixels: Tensor) -> Image.Image:
        return array_to_image(self.scene.render(pixels.clamp(0, 1)))


def _move(value: Any, device: torch.device | str) -> Any:
    """Tensors inside of dicts, lists and tuples on a device."""
    if isinstance(value, dict):
        return {key: _move(item, device) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_move(item, device) for item in value)
    return value.to(device) if hasattr(value, "to") else value
