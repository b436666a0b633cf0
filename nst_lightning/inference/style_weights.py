"""Conversion of style names and blends to the weights that a network of several styles takes."""

import math
from collections.abc import Mapping, Sequence

from nst_lightning.errors import UserError, require, suggest_names
from nst_lightning.system import normalize_name


def style_weights(style: str | Mapping[str, float] | None, styles: Sequence[str]) -> list[float]:
    """Weights of all styles, whose sum is 1.

    Args:
        style: a name, names with weights (`great_wave:2,starry_night:1` or a mapping), or None for the first style.
        styles: the names of all styles.

    Raises:
        UserError: a name is unknown, a weight is not a number >= 0, or all weights are 0.

    >>> style_weights("ink:3,wood", ["glass", "ink", "wood"])
    [0.0, 0.75, 0.25]
    """
    style = {styles[0]: 1.0} if style is None else style
    styles = [normalize_name(name) for name in styles]
    parsed = parse_blend(style) if isinstance(style, str) else style.items()
    given = [(normalize_name(name), weight) for name, weight in parsed]
    for name, weight in given:
        if name not in styles:
            raise UserError(f"style: there is no {name!r}; {suggest_names(name, styles, 'styles')}")
        require(f"style: the weight of {name}", weight, 0 <= weight < math.inf, ">= 0")
    largest = max((weight for _, weight in given), default=0)
    if not largest:
        raise UserError(f"style must have a weight > 0, got {style!r}")
    total = sum(weight / largest for _, weight in given)  # a sum of the weights themselves could overflow
    return [sum(weight / largest for name, weight in given if name == known) / total for known in styles]


def parse_blend(text: str, argument: str = "style") -> list[tuple[str, float]]:
    """Names with their weights, from a text such as `great_wave:2,starry_night`; a name alone has the weight 1.

    Args:
        text: the text.
        argument: the argument that errors name.

    Raises:
        UserError: a weight is not a number.
    """
    given = []
    for part in text.split(","):
        name, colon, weight = part.strip().partition(":")
        try:
            given.append((name, float(weight) if colon else 1.0))
        except ValueError:
            raise UserError(f"{argument} must be a name, or NAME:WEIGHT, got {part.strip()!r}") from None
    return given
