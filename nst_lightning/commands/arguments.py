"""Values on the command line: YAML as in recipes, except that text arrives as it was typed."""

import json
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
    """A value of an option that may be repeated, as a list of one text; JSON lists and numbers stay as they are."""
    try:
        known = isinstance(json.loads(value), list | int | float) and value not in ("true", "false")
    except ValueError:
        known = False
    return value if known else json.dumps([value])
