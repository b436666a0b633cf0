"""What modules need to be loaded from a checkpoint in Python: arguments that checkpoints leave out."""

import inspect
from collections.abc import Mapping
from typing import Any

from nst_lightning.errors import UserError


def require_arguments(cls: type, given: Mapping[str, Any], hint: str) -> None:
    """Refuse to load a module without all arguments that its constructor needs.

    Args:
        cls: the module's class.
        given: the arguments of `load_from_checkpoint`.
        hint: what to use instead.

    Raises:
        UserError: an argument is missing.
    """
    parameters = inspect.signature(cls).parameters.values()
    missing = [each.name for each in parameters if each.default is each.empty and each.name not in given]
    if missing:
        raise UserError(
            f"{cls.__name__}.load_from_checkpoint needs {', '.join(missing)}, which checkpoints leave out; {hint}",
            argument=missing[0],
        )
