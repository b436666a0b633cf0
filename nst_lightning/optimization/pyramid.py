"""One picture, optimized from small to large (Gatys et al. 2016, at several sizes in turn)."""

import functools
import math
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nst_lightning.encoders import Encoder
from nst_lightning.errors import UserError, WorkError
from nst_lightning.images import array_to_image, image_to_array, to_rgb
from nst_lightning.optimization.minimize import State, minimize
from nst_lightning.optimization.objective import Objective
from nst_lightning.optimization.options import OptimizeOptions
from nst_lightning.optimization.plan import Level, layers_of, plan, smallest
from nst_lightning.optimization.scene import Scene


@dataclass(frozen=True)
class Progress:
    """Where an optimization is.

    Args:
        level: from 1.
        levels: how many there are.
        iteration: of the level, from 1.
        iterations: of the level.
        losses: `loss`, `content`, `style`, `variation`.
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


def optimize_picture(
    photo: Image.Image | np.ndarray,
    styles: Sequence[Image.Image],
    encoder: Encoder,
    *,
    options: OptimizeOptions | None = None,
    shares: Sequence[float] | None = None,
    masks: Sequence[Image.Image] | None = None,
    init: Image.Image | None = None,
    max_memory: float | None = None,
    levels: Sequence[Level] | None = None,
    device: torch.device | str = "cpu",
    progress: Callable[[Progress], None] | None = None,
    state: dict[str, Any] | None = None,
) -> Optimized:
    """Paint a photo in the style of paintings.

    Args:
        photo: RGB, or where 8 bits a channel are too few, a float array of shape (3, H, W) in [0, 1].
        styles: paintings, RGB.
        encoder: whose features are compared.
        options: how; by default what looks best.
        shares: weight of each painting in a blend; by default all the same.
        masks: where each painting's style goes, in their order: white for its style, black for none, gray between.
            Where all are black the photo stays.
        init: a picture to start from, such as a transfer network's, in place of `options.start`.
        max_memory: in bytes, for the whole process; pictures that need more are worked on in tiles, with the same
            result, and where those would be small, L-BFGS remembers fewer steps. None sets no limit.
        levels: as `plan` made them of the same arguments; by default it is asked.
        device: where to compute, such as `cuda`.
        progress: called after every iteration.
        state: of an interrupted call with the same arguments; it goes on exactly from there.

    Raises:
        UserError: the photo is too small for the deepest layer or too large for the memory, masks don't fit the photo,
            or an option doesn't fit.
        Interrupted: Ctrl-C; it has the picture so far, and a state to go on from.
        OptimizationError: the memory does not suffice, or `progress` raised a RuntimeError or OSError; it has the same.
        FloatingPointError: the loss isn't finite from the start.
    """
    options = options or OptimizeOptions()
    encoder = encoder.to(device)
    photo, styles = _pixels(photo), [to_rgb(style) for style in styles]
    init = None if init is None else to_rgb(init)
    if levels is None:
        count = len(masks or ())
        size = photo.shape[2], photo.shape[1]
        levels = plan(size, encoder, options, masks=count, warm=init is not None, max_memory=max_memory)
    size = levels[-1].width, levels[-1].height
    scene = Scene(photo, styles, size, options, shares=shares, masks=masks, init=init, device=device)
    made_of = _fingerprint(encoder, shares, photo, *styles, *(masks or ()))
    del photo  # the scene has it as large as it will be
    journal = _Journal(levels, scene, progress, device, made_of)
    found = None if state is None else journal.resume(state, options)
    levels = journal.levels
    try:
        while journal.level <= len(levels):
            found = _level(found, scene, encoder, options, journal).ended()
            journal.keep(found)
            journal.level += 1
        return journal.result(options)
    except KeyboardInterrupt:
        if journal.kept is None:
            raise
        raise Interrupted(journal.result(options)) from None
    except (RuntimeError, OSError, MemoryError) as error:
        if journal.kept is None:
            raise
        raise OptimizationError(error, journal.result(options)) from error


def _pixels(photo: Image.Image | np.ndarray) -> np.ndarray:
    if not isinstance(photo, np.ndarray):
        return image_to_array(to_rgb(photo))
    if photo.ndim != 3 or len(photo) != 3:
        raise UserError(f"photo must be an image or an array of shape (3, H, W), got shape {photo.shape}")
    return photo.astype(np.float32, copy=False)


def _fingerprint(encoder: Encoder, shares: Sequence[float] | None, *pictures: Image.Image | np.ndarray) -> int:
    """A checksum of weights and pictures: another one means that a state is of something else."""
    settings = repr((shares, [getattr(module, "pooling", None) for module in encoder.modules()])).encode()
    weights = [tensor.cpu().numpy() for tensor in encoder.state_dict().values()]
    arrays = [np.ascontiguousarray(part) for part in (*weights, *pictures)]
    return functools.reduce(lambda found, array: zlib.crc32(array, found), arrays, zlib.crc32(settings))


def _level(found: State | None, scene: Scene, encoder: Encoder, options: OptimizeOptions, journal: "_Journal") -> State:
    """The state at the end of the journal's level; from the last level's, or from one amid this level."""
    level = journal.levels[journal.level - 1]
    objective = _objective(level, scene, encoder, options)
    if found is None:
        found = State(scene.first(objective.photo))
    elif journal.entered != journal.level:
        found = found.next_level(*objective.photo.shape[-2:], options.margin)
    journal.entered = journal.level
    journal.keep(found)
    settings = replace(options, history=level.history)
    return minimize(objective, found, settings, level.iterations, journal.report, journal.keep)


def _objective(level: Level, scene: Scene, encoder: Encoder, options: OptimizeOptions) -> Objective:
    least = smallest(encoder, layers_of(encoder, options))
    regions = scene.regions(level.width, level.height, least)
    shown = scene.shown(level.width, level.height)
    return Objective(encoder, shown, regions, options, least=least, tile=level.tile)


class _Journal:
    """What happened so far: the losses, for the record; the last state that can be gone on from."""

    def __init__(
        self,
        levels: Sequence[Level],
        scene: Scene,
        progress: Callable[[Progress], None] | None,
        device: torch.device | str,
        made_of: int,
    ) -> None:
        self.levels, self.scene, self.progress, self.device = levels, scene, progress, device
        self.made_of = made_of
        self.level, self.entered, self.history, self.kept = 1, 1, [], None
        self._before, self._start = 0.0, time.perf_counter()

    def seconds(self) -> float:
        return self._before + time.perf_counter() - self._start

    def keep(self, state: State) -> None:
        self.kept, self._kept_level, self._kept_entries = state, self.level, len(self.history)

    def report(self, iteration: int, losses: dict[str, float], picture: Tensor) -> None:
        if not math.isfinite(losses["loss"]) and not self.history:
            raise WorkError("the loss is not a finite number: weights or pictures have others in them")
        level, seconds = self.levels[self.level - 1], self.seconds()
        self.history.append({"level": self.level, "iteration": iteration, "seconds": seconds, **losses})
        if self.progress is None:
            return
        done = sum(each.work for each in self.levels[: self.level - 1]) + level.work * iteration / level.iterations
        share = done / sum(each.work for each in self.levels)
        counts = (self.level, len(self.levels), iteration, level.iterations)
        draw = functools.partial(self._draw, picture)
        self.progress(Progress(*counts, losses, seconds, share, draw))

    def _draw(self, picture: Tensor) -> Image.Image:
        return array_to_image(self.scene.finish(picture.clamp(0, 1)))

    def result(self, options: OptimizeOptions) -> Optimized:
        """The picture so far, and the state as tensors and plain values."""
        kept = {field.name: getattr(self.kept, field.name) for field in fields(State)}
        history = self.history[: self._kept_entries]
        state = {
            "made_of": self.made_of,
            "options": asdict(options),
            "level": self._kept_level,
            "tiles": [level.tile for level in self.levels],
            "histories": [level.history for level in self.levels],
            "minimization": kept,
            "history": history,
            "seconds": self.seconds(),
        }
        return Optimized(self.scene.finish(self.kept.picture()), self.history, self.seconds(), state)

    def resume(self, state: dict[str, Any], options: OptimizeOptions) -> State:
        """Go on from such a state.

        Raises:
            UserError: it was made of other pictures, weights or options, or by another version.
        """
        try:
            return self._resume(state, options)
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(f"state: made by another version, or damaged ({error})") from error

    def _resume(self, state: dict[str, Any], options: OptimizeOptions) -> State:
        if state["made_of"] != self.made_of:
            raise UserError("state: made of other pictures or with another encoder; resume with the same")
        different = [name for name, value in asdict(options).items() if state["options"].get(name) != value]
        if different:
            raise UserError(f"state: made with other options: {', '.join(different)}; resume with the same")
        level, margin = self.levels[state["level"] - 1], 2 * options.margin
        height, width = state["minimization"]["pixels"].shape[-2:]
        if (width, height) != (level.width + margin, level.height + margin):
            found = f"{width - margin}x{height - margin}"
            raise UserError(f"state: of a picture of {found}, not {level.width}x{level.height}")
        self.level = self.entered = state["level"]
        before = zip(self.levels, state["tiles"], state["histories"], strict=True)
        self.levels = [
            # the same rounding as before, unless there is less memory now
            replace(
                level, tile=min(filter(None, (level.tile, tile)), default=None), history=min(level.history, history)
            )
            for level, tile, history in before
        ]
        self.history, self._before = list(state["history"]), state["seconds"]
        return State(**_moved(state["minimization"], self.device))


def _moved(value: Any, device: torch.device | str) -> Any:
    """Tensors inside of dicts, lists and tuples on a device."""
    if isinstance(value, dict):
        return {key: _moved(item, device) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_moved(item, device) for item in value)
    return value.to(device) if hasattr(value, "to") else value
