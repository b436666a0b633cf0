"""What checkpoints and ONNX files say of a network: who painted what, and how it was trained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from nst_lightning.errors import UserError, suggest_names
from nst_lightning.networks import StyledNetwork
from nst_lightning.networks.checkpoint import per_style_text


@dataclass(frozen=True)
class Metadata:
    """Whose the painting is, and whose the model.

    Args:
        title: of the painting; by default its file's name.
        painter: of the painting.
        credits: painter, title and year of several styles, by the styles' names.
        license: of the model; by default that of the checkpoint in `init_from`.
    """

    title: str | None = None
    painter: str | None = None
    credits: dict[str, str] | None = None
    license: str | None = None

    def credits_of(self, run: Sequence[str], known: Sequence[str]) -> dict[str, str]:
        """Credits by styles' names; those of the run have painter and title, unless they have credits of their own.

        Args:
            run: styles that the run trains.
            known: all styles of the network.

        Raises:
            UserError: there are credits for a style that the network doesn't have.
        """
        for name in self.credits or {}:
            if name not in known:
                raise UserError.about(
                    "metadata.credits", f"there is no {name!r}; {suggest_names(name, known, 'styles')}"
                )
        painting = ", ".join(filter(None, (self.painter, self.title)))
        return (dict.fromkeys(run, painting) if painting else {}) | dict(self.credits or {})


@dataclass(frozen=True)
class Record:
    """What is said of a network in training.

    Args:
        title: of the run's painting, or the names of its styles.
        painter: of a network of one style; others have credits.
        settings: of the run, such as `encoder`, `size`, `weights` and `license`.
        per_style: what is said of each style, by the names of `networks.checkpoint.PER_STYLE`.
    """

    title: str
    painter: str
    settings: dict[str, str]
    per_style: dict[str, dict[str, Any]]

    def with_earlier(self, per_style: Mapping[str, Mapping[str, Any]]) -> "Record":
        """Add what a checkpoint says of styles; what this record says of the same ones counts."""
        return replace(self, per_style={key: dict(per_style[key]) | given for key, given in self.per_style.items()})

    def text(self, network: nn.Module) -> dict[str, str]:
        """The metadata of a network: names and values."""
        if not isinstance(network, StyledNetwork):
            return {"painter": self.painter, **self.settings, "style": self.title}
        styles = ", ".join(network.styles)
        return {**self.settings, "style": styles, **per_style_text(self.per_style, network.styles)}
