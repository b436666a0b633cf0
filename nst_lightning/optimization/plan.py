"""What an optimization is going to do: sizes, iterations, tiles; known, and refused, before any work is done."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from nst_lightning.encoders import Encoder
from nst_lightning.errors import UserError
from nst_lightning.optimization.device import device_of, used_memory
from nst_lightning.optimization.memory import GB, bytes_per_pixel, estimate_bytes, seconds_per_pixel, tile_side
from nst_lightning.optimization.options import OptimizeOptions
from nst_lightning.optimization.single_scale import content_shares, style_shares

FIRST_SIDE = 96
"""Pixels that the long side of the first level has at least, unless `levels` says how many there are."""

GOOD_TILE = 512
"""Pixels of a side; L-BFGS forgets steps, down to `LEAST_HISTORY`, for such tiles: small ones are mostly borders."""
LEAST_HISTORY = 1


@dataclass(frozen=True)
class Level:
    """One size of the pyramid.

    Args:
        width: in pixels.
        height: in pixels.
        iterations: how many evaluations of loss and gradient it gets.
        history: past steps that L-BFGS remembers.
        tile: side of its tiles in pixels, or None if it needs none.
    """

    width: int
    height: int
    iterations: int
    history: int
    tile: int | None = None

    @property
    def work(self) -> int:
        """Pixels evaluated; tiles are evaluated twice and a half, borders included."""
        return round(self.width * self.height * self.iterations * (1.0 if self.tile is None else 2.5))


def plan(
    size: tuple[int, int],
    encoder: Encoder,
    options: OptimizeOptions,
    *,
    masks: int = 0,
    warm: bool = False,
    max_memory: float | None = None,
) -> list[Level]:
    """The levels, from small to large; those too small for the deepest layer, or the margin, are left out.

    Args:
        size: width and height of the photo.
        encoder: whose features are compared.
        options: how.
        masks: how many there are.
        warm: whether the first level begins from a picture that is painted already.
        max_memory: in bytes, for the whole process; None sets no limit.

    Raises:
        UserError: even the largest is too small, or it does not fit into the memory.
    """
    layers = layers_of(encoder, options)
    needed = smallest(encoder, layers)
    scale = options.size / max(size) if options.size else 1.0
    levels: list[Level] = []
    for shrunk in _factors(max(size) * scale, options):
        width, height = (max(1, round(side * scale / shrunk)) for side in size)
        last = shrunk == 1
        if min(width, height) >= needed and (last or min(width, height) > options.margin):
            refines = (levels or warm) and max(width, height) > options.refine_above  # something that there is already
            iterations = options.refine_iterations if refines else options.iterations
            levels.append(Level(width, height, iterations, min(options.history, iterations)))
    if not levels:
        shown = f"a photo of {size[0]}x{size[1]}" + (f" at size {options.size}" if options.size else "")
        raise UserError(
            f"{shown} is too small for {', '.join(layers)}: its short side is {min(width, height)}, and must"
            f" be {needed} or more; size {math.ceil(needed * max(size) / min(size))} would do"
        )
    least = min(levels[0].width, levels[0].height)
    if options.margin >= least:
        raise UserError(f"margin must be less than the short side of the smallest level, {least}, got {options.margin}")
    if max_memory is None:
        return levels
    per_pixel, sides = bytes_per_pixel(encoder, options, masks=masks), [_size(level, options) for level in levels]
    limits = {"used": used_memory(device_of(encoder)), "limit": max_memory}
    fitted = [  # the largest first: it is what a message is about
        _fitted(
            level, lambda history, side=side: tile_side(side, per_pixel, layers, options, history=history, **limits)
        )
        for level, side in zip(reversed(levels), reversed(sides))
    ]
    return fitted[::-1]


def _fitted(level: Level, tile_with: Callable[[int], int | None]) -> Level:
    """The level with its tiles, and with less history where they would be small: they cost more."""
    history = level.history
    while True:
        last = history <= LEAST_HISTORY
        try:
            tile = tile_with(history)
            if last or tile is None or tile >= GOOD_TILE:
                return replace(level, history=history, tile=tile)
        except UserError:
            if last:
                raise
        history -= 1


def estimate_cost(levels: Sequence[Level], encoder: Encoder, options: OptimizeOptions, *, masks: int = 0) -> str:
    """A line about what is going to be done, and the time and memory that it will take."""
    layers, last = layers_of(encoder, options), levels[-1]
    width, height = _size(last, options)
    per_pixel = bytes_per_pixel(encoder, options, masks=masks)
    needed = estimate_bytes(width * height, last.tile, per_pixel, layers, options, last.history)
    needed += used_memory(device_of(encoder))
    seconds = seconds_per_pixel(encoder, options, masks=masks) * sum(level.work for level in levels)
    seconds *= sum(1 / factor**2 for factor in options.scales)
    sizes = " ".join(f"{level.width}x{level.height}" for level in levels)
    tiles = f", in tiles of {last.tile} pixels" if last.tile else ""
    time = f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
    return f"{sizes}{tiles}: about {time}, {needed / GB:.1f} GB"


def layers_of(encoder: Encoder, options: OptimizeOptions) -> list[str]:
    """All layers whose features are needed."""
    content = content_shares(encoder, options) if options.content_weight else {}
    style = style_shares(encoder, options) if options.style_weight else {}
    return list(dict.fromkeys([*content, *(layer for pair in style for layer in pair)]))


def smallest(encoder: Encoder, layers: Sequence[str]) -> int:
    """The shortest side that pictures may have."""
    return max(encoder.minimum_size(layer) for layer in layers)


def _factors(long_side: float, options: OptimizeOptions) -> list[float]:
    """By how much each level is smaller than the last one."""
    count = options.levels or 1
    while options.levels is None and long_side / options.factor**count >= FIRST_SIDE - 0.5:
        count += 1
    return [options.factor**level for level in reversed(range(count))]


def _size(level: Level, options: OptimizeOptions) -> tuple[int, int]:
    """Width and height, margins included."""
    return level.width + 2 * options.margin, level.height + 2 * options.margin
