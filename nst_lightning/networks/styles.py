"""The interface that networks of several styles have in common."""

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor, nn


@runtime_checkable
class StyledNetwork(Protocol):
    """A transfer network with several styles, known by name. A network without this interface has a single style."""

    styles: list[str]

    @property
    def controls(self) -> dict[str, Tensor]:
        """The inputs besides the photos, `style` among them, with their default values."""

    def add_styles(self, names: Sequence[str]) -> None:
        """Add styles, before the existing ones."""

    def keep_styles(self, names: Sequence[str]) -> None:
        """Keep only these styles, in this order."""

    def replace_styles(self, names: Sequence[str]) -> None:
        """Have exactly these styles, in this order, with per-style parameters that are still to be loaded."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """All parameters, as `nn.Module.parameters` returns them."""

    def per_style_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters that belong to single styles."""


def styles_of(network: nn.Module) -> list[str]:
    """The names of a network's styles; none for a network of one style."""
    return network.styles if isinstance(network, StyledNetwork) else []


def controls_of(network: nn.Module) -> dict[str, Tensor]:
    """The inputs of a network besides the photos, with their default values."""
    return network.controls if isinstance(network, StyledNetwork) else {}
