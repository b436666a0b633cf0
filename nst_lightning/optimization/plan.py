"""The plan of an optimization: sizes, iterations and tiles. Impossible requests are refused before any work is done."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from nst_lightning.encoders import Encoder
from nst_lightning.errors import UserError
from nst_lightning.losses import ObjectiveOptions, content_layers, layers_of_pairs, minimum_size, style_pairs
from nst_lightning.optimization.device import device_of, used_memory
from nst_lightning.optimization.memory import (
    GB,
    border_of_tiles,
    bytes_of_copies,
    bytes_of_loss,
    bytes_of_statistics,
    estimate_bytes,
    seconds_per_pixel,
    tile_side,
)
from nst_lightning.optimization.options import MinimizerOptions, PyramidOptions

FIRST_SIDE = 96
"""The smallest long side of the first level in pixels, unless `levels` is given."""
WARM_LEVELS = 2
"""Number of levels when starting from a painted picture: smaller levels would forget it."""
NETWORK_SIDE = 260
"""The smallest long side, in pixels, of a network's picture to start from: smaller ones would lose its strokes."""
GOOD_TILE = 512
"""Side in pixels of tiles that are large enough. To get them, L-BFGS remembers fewer steps, down to `LEAST_HISTORY`,
since small tiles are mostly borders."""
LEAST_HISTORY = 1


@dataclass(frozen=True)
class Level:
    """One size of the pyramid.

    Args:
        width: width of the picture in pixels.
        height: height of the picture in pixels.
        iterations: number of evaluations of loss and gradient.
        history: number of past steps that L-BFGS remembers.
        tile: side of the tiles in pixels, or None if the level needs no tiles.
        refines: whether the level only refines a large picture, see `PyramidOptions.refine_above`.
    """

    width: int
    height: int
    iterations: int
    history: int
    tile: int | None = None
    refines: bool = False

    @property
    def work(self) -> int:
        """Number of pixels evaluated; a picture in tiles counts two and a half times, borders included."""
        return round(self.width * self.height * self.iterations * (1.0 if self.tile is None else 2.5))

    def padded(self, margin: int) -> tuple[int, int]:
        """Width and height, margins included."""
        return self.width + 2 * margin, self.height + 2 * margin


def plan_levels(
    size: tuple[int, int],
    encoder: Encoder,
    *,
    pyramid: PyramidOptions = PyramidOptions(),  # noqa: B008 - frozen
    objective: ObjectiveOptions = ObjectiveOptions(),
    minimizer: MinimizerOptions = MinimizerOptions(),  # noqa: B008
    masks: int = 0,
    warm: bool = False,
    max_memory: float | None = None,
) -> list[Level]:
    """Plan the levels, from small to large. Levels too small for the deepest layer, or for the margin, are left out.

    Args:
        size: width and height of the photo.
        encoder: the encoder whose features are compared.
        pyramid: the sizes and iterations.
        objective: what the losses compare.
        minimizer: the optimizer, which takes memory, too.
        masks: number of masks.
        warm: whether the first level starts from a painted picture.
        max_memory: memory for the whole process in bytes; None sets no limit.

    Raises:
        UserError: even the largest level is too small, or it does not fit into the memory.
    """
    needed, layer = least_side(encoder, objective)
    levels = _levels(size, needed, pyramid, history=minimizer.history, warm=warm)
    if not levels:
        scale = pyramid.long_side / max(size) if pyramid.long_side else 1.0
        name = f"a photo of {size[0]}x{size[1]}" + (f" at long_side {pyramid.long_side}" if pyramid.long_side else "")
        raise UserError(
            f"{name} is too small for {layer}: its short side must be >= {needed}, got {round(min(size) * scale)}; "
            f"a long_side of {math.ceil(needed * max(size) / min(size))} would do"
        )
    least = min(levels[0].width, levels[0].height)
    if pyramid.margin >= least:
        raise UserError(f"margin must be less than the short side of the smallest level, {least}, got {pyramid.margin}")
    if max_memory is None:
        return levels
    loss, border = bytes_of_loss(encoder, objective, masks=masks), border_of_tiles(encoder, objective)
    statistics = bytes_of_statistics(encoder, objective, masks=masks, painting_scale=pyramid.painting_scale)
    used = used_memory(device_of(encoder))

    def tile_with(level: Level, history: int) -> int | None:
        return tile_side(
            level.padded(pyramid.margin),
            copies=statistics + bytes_of_copies(minimizer.optimizer, history, painting_scale=pyramid.painting_scale),
            loss=loss,
            border=border,
            margin=pyramid.margin,
            used=used,
            limit=max_memory,
        )

    # the largest level first, since error messages should be about it
    return [_fit(level, tile_with) for level in reversed(levels)][::-1]


def estimate_cost(
    levels: Sequence[Level],
    encoder: Encoder,
    *,
    pyramid: PyramidOptions = PyramidOptions(),  # noqa: B008
    objective: ObjectiveOptions = ObjectiveOptions(),
    minimizer: MinimizerOptions = MinimizerOptions(),  # noqa: B008
    masks: int = 0,
) -> str:
    """One line with the sizes of the levels, and the time and memory that they will take; see `plan_levels`."""
    last = levels[-1]
    width, height = last.padded(pyramid.margin)
    needed = estimate_bytes(
        width * height,
        tile=last.tile,
        copies=bytes_of_statistics(encoder, objective, masks=masks, painting_scale=pyramid.painting_scale)
        + bytes_of_copies(minimizer.optimizer, last.history, painting_scale=pyramid.painting_scale),
        loss=bytes_of_loss(encoder, objective, masks=masks),
        border=border_of_tiles(encoder, objective),
    )
    needed += used_memory(device_of(encoder))
    seconds = seconds_per_pixel(encoder, objective, masks=masks) * sum(level.work for level in levels)
    seconds *= sum(1 / factor**2 for factor in {objective.content_scale, *objective.style_scales})
    sizes = " ".join(f"{level.width}x{level.height}" for level in levels)
    tiles = f", in tiles of {last.tile} pixels" if last.tile else ""
    time = f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
    return f"{sizes}{tiles}: about {time}, {needed / GB:.1f} GB"


def least_side(encoder: Encoder, options: ObjectiveOptions) -> tuple[int, str]:
    """The smallest side, in pixels, with which pictures can be optimized, and the layer that needs it."""
    content = content_layers(encoder, options) if options.content_weight else []
    style = layers_of_pairs(style_pairs(encoder, options)) if options.style_weight else []
    needs = [
        *([minimum_size(encoder, content, options.content_scale)] if content else []),
        *([minimum_size(encoder, style, min(options.style_scales))] if style else []),
    ]
    return max(needs)


def shorten_for_warm_start(pyramid: PyramidOptions, size: tuple[int, int], *, network: bool) -> PyramidOptions:
    """Keep the levels of a pyramid that are useful after a painted picture, unless `levels` is given.

    Args:
        pyramid: the pyramid for a start from the photo.
        size: width and height of the photo.
        network: whether a transfer network paints the picture, at the size of the first level; then the first level has
            a long side of 260 pixels or more.
    """
    if pyramid.levels is not None:
        return pyramid
    if not network:
        return replace(pyramid, levels=WARM_LEVELS)
    larger = math.log((pyramid.long_side or max(size)) / NETWORK_SIDE, pyramid.factor)
    return replace(pyramid, levels=1 + max(0, int(larger)))


def _levels(size: tuple[int, int], needed: int, pyramid: PyramidOptions, *, history: int, warm: bool) -> list[Level]:
    """The levels whose short sides are long enough, without tiles."""
    scale = pyramid.long_side / max(size) if pyramid.long_side else 1.0
    levels: list[Level] = []
    for factor in _factors(max(size) * scale, pyramid):
        width, height = (max(1, round(side * scale / factor)) for side in size)
        short = min(width, height)
        if short >= needed and (factor == 1 or short > pyramid.margin):
            exists = bool(levels) or warm
            refines = exists and max(width, height) > pyramid.refine_above
            iterations = pyramid.refine_iterations if refines else pyramid.iterations
            levels.append(Level(width, height, iterations, min(history, iterations), refines=refines))
    return levels


def _factors(long_side: float, pyramid: PyramidOptions) -> list[float]:
    """The factors by which each level is smaller than the last one."""
    count = pyramid.levels or 1
    while pyramid.levels is None and long_side / pyramid.factor**count >= FIRST_SIDE - 0.5:
        count += 1
    return [pyramid.factor**level for level in reversed(range(count))]


def _fit(level: Level, tile_with: Callable[[Level, int], int | None]) -> Level:
    """Choose the tiles of a level, and shorten its history where tiles would be small, which would cost more time."""
    history = level.history
    while True:
        last = history <= LEAST_HISTORY
        try:
            tile = tile_with(level, history)
            if last or tile is None or tile >= GOOD_TILE:
                return replace(level, history=history, tile=tile)
        except UserError:
            if last:
                raise
        history -= 1
