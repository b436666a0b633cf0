"""The metadata of a network in checkpoints and ONNX files: who painted what, and how the network was trained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from nst_lightning.errors import UserError, suggest_names
from nst_lightning.networks import styles_of
from nst_lightning.networks.checkpoint import per_style_text
from nst_lightning.system import normalize_keys


@dataclass(frozen=True)
class Metadata:
    """Authors and license of the paintings and of the trained model.

    Args:
        title: title of the painting; by default the file's name.
        painter: painter of the painting.
        credits: painter, title and year for each of several styles, by the styles' names.
        license: license of the trained model; by default the license in the checkpoint that `init_from` names.
    """

    title: str | None = None
    painter: str | None = None
    credits: dict[str, str] | None = None
    license: str | None = None

    def credits_of(self, run: Sequence[str], known: Sequence[str]) -> dict[str, str]:
        """Credits by the names of styles. Styles of the run without `credits` have painter and title instead.

        Args:
            run: styles that the run trains.
            known: all styles of the network.

        Raises:
            UserError: a style in `credits` is not one of the network's.
        """
        credits = normalize_keys(self.credits or {})
        for name in credits:
            if name not in known:
                raise UserError.about(
                    "metadata.credits", f"there is no {name!r}; {suggest_names(name, known, 'styles')}"
                )
        painting = ", ".join(filter(None, (self.painter, self.title)))
        return (dict.fromkeys(run, painting) if painting else {}) | credits


@dataclass(frozen=True)
class Record:
    """The metadata of a network in training.

    Args:
        title: title of the run's painting, or the names of its styles.
        painter: painter of the painting, for a network of one style; networks of several styles have credits.
        settings: settings of the run, such as `encoder`, `size`, `weights` and `license`.
        per_style: values for each style, by the keys in `networks.checkpoint.PER_STYLE`.
    """

    title: str
    painter: str
    settings: dict[str, str]
    per_style: dict[str, dict[str, Any]]

    def with_earlier(self, per_style: Mapping[str, Mapping[str, Any]]) -> "Record":
        """Add the per-style metadata of a checkpoint; for styles in both, this record counts."""
        return replace(self, per_style={key: dict(per_style[key]) | given for key, given in self.per_style.items()})

    def weighed(self, factors: Mapping[str, float]) -> "Record":
        """The record with style weights multiplied by factors, by the names of styles."""
        weights = self.per_style["style_weights"]
        changed = {name: round(weights[name] * factor, 6) for name, factor in factors.items()}
        return replace(self, per_style={**self.per_style, "style_weights": weights | changed})

    def text(self, network: nn.Module) -> dict[str, str]:
        """The metadata of a network as names and texts."""
        styles = styles_of(network)
        if not styles:
            (weight,) = self.per_style["style_weights"].values()
            return {"painter": self.painter, **self.settings, "style": self.title, "style_weight": str(weight)}
        return {**self.settings, "style": ", ".join(styles), **per_style_text(self.per_style, styles)}
