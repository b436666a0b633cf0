"""Network classes of one's own that a command line names."""

import pkgutil
import sys
from pathlib import Path

from torch import nn

from nst_lightning.errors import UserError


def import_network(name: str) -> type[nn.Module]:
    """Import the class that `my_module.UNet` stands for, from the current folder too.

    Raises:
        UserError: there is no such class, or its module can't be imported.
    """
    search_here()
    try:
        found = pkgutil.resolve_name(name)
    except Exception as error:  # a module of somebody else's may raise anything
        raise UserError.about("network", f"{name} can't be imported ({type(error).__name__}: {error})") from error
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise UserError(
            f"network must be a class, a torch.nn.Module such as my_module.UNet, got {name}", argument="network"
        )
    return found


def search_here() -> None:
    """Let modules in the current folder be imported, as `python -m nst_lightning` does, by the script as well."""
    here = str(Path.cwd())
    if not {"", here} & set(sys.path):
        sys.path.append(here)
