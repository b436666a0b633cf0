"""Command lines that do again what a command has done, with the arguments that its function was called with."""

import inspect
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

from nst_lightning.system import shell_line


def command_line(
    function: Callable[..., None],
    arguments: Mapping[str, Any],
    *,
    positional: Sequence[str],
    leave_out: Collection[str] = (),
) -> str:
    """The command of a function, without arguments that have their default values.

    Args:
        function: the command's function, which has its name.
        arguments: the function's arguments by name.
        positional: what comes before the options.
        leave_out: names of arguments to leave out.
    """
    words = ["python", "-m", "nst_lightning", function.__name__, *positional]
    values = _flatten(arguments)
    defaults = _flatten({name: parameter.default for name, parameter in inspect.signature(function).parameters.items()})
    for name, value in values.items():
        if name in leave_out or value == defaults[name]:
            continue
        for item in value if isinstance(value, list) else [value]:
            text = item if isinstance(item, str) else json.dumps(item)
            words += [f"--{name.replace('_', '-')}", text]
    return shell_line(words)


def _flatten(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of the command line: groups are replaced by their fields."""
    flat: dict[str, Any] = {}
    for name, value in arguments.items():
        flat |= asdict(value) if is_dataclass(value) and not isinstance(value, type) else {name: value}
    return flat
