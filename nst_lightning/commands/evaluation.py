"""What the commands `evaluate ...` share: choosing photos and sizes, loading the judge, and rows of figures."""

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

from nst_lightning.encoders import VGG16
from nst_lightning.errors import naming, require_at_least
from nst_lightning.metrics import (
    FIGURES,
    JUDGE_FIGURES,
    JUDGE_LAYERS,
    LEAST_SHORT_SIDE,
    SCALES,
    EvaluatorGroup,
    list_short_sides,
)

Item = TypeVar("Item")
_TITLES = {f"style_at_{factor}": f"at 1/{factor}" if factor > 1 else "at 1" for factor in SCALES}
_WIDTHS = {name: max(8, len(name) + 1) for name in (*FIGURES, *JUDGE_FIGURES) if name not in _TITLES}


def format_header(*, judged: bool) -> str:
    """The header of the columns that `format_rows` fills, with those of a judge if there is one."""
    names = FIGURES + JUDGE_FIGURES if judged else FIGURES
    titles = {name: _TITLES.get(name, name.replace("_", " ")) for name in names}
    return f"{'size':>5}" + "".join(f"{title:>{_WIDTHS.get(name, 8)}}" for name, title in titles.items())


def format_rows(group: EvaluatorGroup, figures: Tensor) -> list[str]:
    """A line for each size, with the short side in pixels and the medians over pictures.

    Args:
        group: the group that has measured, or one with the same sizes.
        figures: the figures of pictures, see `EvaluatorGroup.measure`.
    """
    rows = zip(group.short_sides, figures.quantile(0.5, dim=0).tolist())
    return [f"{short_side:5}" + _format_figures(dict(zip(group.figures, row))) for short_side, row in rows]


def _format_figures(figures: dict[str, float]) -> str:
    return "".join(f"{value:{_WIDTHS.get(name, 8)}.3f}" for name, value in figures.items())


def choose_short_sides(short_side: Sequence[int] | None, painted: int) -> tuple[int, ...]:
    """The short sides at which pictures are compared, in pixels, from small to large.

    Args:
        short_side: those that the user asks for, each at least 128; without, 256 and `painted` if that is larger.
        painted: short side that was painted.

    Raises:
        UserError: one of them is too small.
    """
    for each in short_side or ():
        require_at_least(LEAST_SHORT_SIDE, short_side=each)
    return tuple(sorted({*short_side})) if short_side else list_short_sides(painted)


def load_judge(judge: str | None, device: torch.device | str = "cpu") -> VGG16 | None:
    """The second encoder, from weights of VGG-16, on a device; None for none.

    Raises:
        UserError: the weights can't be loaded, or they lack a layer that it compares.
    """
    if judge is None:
        return None
    with naming("judge"):
        encoder = VGG16(judge)
        encoder.require(JUDGE_LAYERS.names)
    return encoder.to(device)


def choose_evenly(items: Sequence[Item], count: int | None) -> list[Item]:
    """Choose `count` of the items, evenly spread; None chooses all of them."""
    count = len(items) if count is None else min(count, len(items))
    return [items[i * len(items) // count] for i in range(count)]
