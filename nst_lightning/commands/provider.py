"""The option `--provider`: what networks run on."""

import warnings

from nst_lightning.errors import Notice, renaming
from nst_lightning.inference import Stylizer
from nst_lightning.inference.providers import CPU


def open_stylizer(model: str, provider: str | None, *, threads: int = 0, max_memory: float | None = None) -> Stylizer:
    """Load a network, and give a `Notice` of what it runs on if this isn't the CPU.

    Raises:
        UserError: see `Stylizer`.
    """
    with renaming(providers="provider"):
        stylizer = Stylizer(model, threads=threads, providers=provider, max_memory=max_memory)
    first, *others = stylizer.providers
    if first != CPU:
        warnings.warn(f"the network runs on {', '.join([first, *others])}", Notice, stacklevel=2)
    return stylizer
