"""Functions that the commands `evaluate ...` share: choosing some of the pictures, and formatting figures."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

from nst_lightning.metrics import FIGURES, SCALES

Item = TypeVar("Item")
_TITLES = {f"style_at_{factor}": f"at 1/{factor}" if factor > 1 else "at 1" for factor in SCALES}


def format_header() -> str:
    """The header of the columns that `format_figures` fills."""
    return "".join(f"{_TITLES.get(name, name):>9}" for name in FIGURES)


def format_figures(figures: Iterable[float]) -> str:
    """Format the figures of a picture, or medians of figures, in the order of `metrics.FIGURES`."""
    return "".join(f"{figure:9.3f}" for figure in figures)


def choose_evenly(items: Sequence[Item], count: int | None) -> list[Item]:
    """Choose `count` of the items, evenly spread; None chooses all of them."""
    count = len(items) if count is None else min(count, len(items))
    return [items[i * len(items) // count] for i in range(count)]
