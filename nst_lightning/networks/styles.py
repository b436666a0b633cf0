"""What networks of several styles have in common, whatever they are inside."""

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor, nn


@runtime_checkable
class StyledNetwork(Protocol):
    """A transfer network that knows its styles by name; any other module that takes photos alone has one style."""

    styles: list[str]

    @property
    def controls(self) -> dict[str, Tensor]:
        """The inputs besides the photos, `style` among them, with their default values."""

    def add_styles(self, names: Sequence[str]) -> None:
        """Make room for further styles, which come before those that are there."""

    def keep_styles(self, names: Sequence[str]) -> None:
        """Keep only these styles, in this order."""

    def replace_styles(self, names: Sequence[str]) -> None:
        """Have exactly these styles, in this order, with parameters that are still to be loaded."""

    def per_style_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters of which each style has its own."""


def controls_of(network: nn.Module) -> dict[str, Tensor]:
    """The inputs of a network besides the photos, with their default values."""
    return network.controls if isinstance(network, StyledNetwork) else {}
