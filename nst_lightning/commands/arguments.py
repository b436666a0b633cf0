"""Values on the command line: YAML as in recipes, except that text arrives as it was typed."""

import json
import math
import re
from typing import Any

import yaml
from jsonargparse import get_loader, set_loader

TYPED = "yaml_as_typed"
"""The mode of parsers whose values are read by `load_value`."""


def load_value(text: str, path: Any = None) -> Any:
    """Load a recipe, or a value on the command line: the latter is a list or mapping only in brackets or braces.

    To YAML, `#1` is a comment, `~` and `&x` are nothing, and `Hokusai: The Wave` is a mapping; on the command line, all
    of them are text. `null` alone still means none.

    Args:
        text: what to load.
        path: path of the recipe; None for a value on the command line.
    """
    loaded = get_loader("yaml")(text)
    typed = path is None and "\n" not in text and not text.lstrip().startswith(("[", "{"))
    return text if typed and (loaded is None or isinstance(loaded, dict | list)) else loaded


set_loader(TYPED, load_value, exceptions=(yaml.YAMLError,))


def quote_repeatable(value: str) -> str:
    """A value of an option that may be repeated, as a list of one text. Lists in brackets and numbers stay as they are.

    >>> quote_repeatable("#1"), quote_repeatable("[ink, wood]"), quote_repeatable("0.5")
    ('["#1"]', '[ink, wood]', '0.5')
    """
    return value if value.lstrip().startswith("[") or _is_number(value) else json.dumps([value])


def explain(problem: str) -> str:
    """What jsonargparse says of a value that should be a number or null, in plain words; other texts as they are."""
    pattern = (
        r"""Parser key "([\w.]+)": .*Subtypes: \[<class '(float|int)'>, <class 'NoneType'>\] .*Given value: (.*)"""
    )
    found = re.search(pattern, " ".join(problem.split()))
    if not found:
        return problem
    argument, kind, value = found.groups()
    return f"{argument} must be {'a number' if kind == 'float' else 'an integer'} or null, got {value}"


def _is_number(value: str) -> bool:
    try:
        return math.isfinite(float(value))
    except ValueError:
        return False
