"""What a run's network begins from: the weights of a checkpoint, or the average of several."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from nst_lightning.errors import UserError, require
from nst_lightning.images import expand_path
from nst_lightning.networks import MultiStyleNet, load_network
from nst_lightning.networks.checkpoint import check_state


def start_paths(init_from: list[str] | str | None) -> list[Path]:
    """The checkpoints of `model.init_from`, or bundled ones' names: none, one, or several to be averaged."""
    return [expand_path(path) for path in ([init_from] if isinstance(init_from, str) else init_from or [])]


def start_from(paths: Sequence[Path], network: nn.Module, *, unchanged: bool) -> dict[str, str]:
    """Copy the weights of a checkpoint, or the average of several; returns what the first says of itself.

    Args:
        paths: the checkpoints, or the names of bundled ones.
        network: where to; weights that fit may be meant for other dilations.
        unchanged: whether the network must be the checkpoints' in these as well.

    Raises:
        UserError: a checkpoint can't be read, holds another network, or other styles than the first.
    """
    sources, said = zip(*(load_network(path) for path in paths))
    for path, source in zip(paths, sources):
        if not isinstance(network, type(source)):
            found, wanted = type(source).__name__, type(network).__name__
            raise UserError(f"init_from: {path} holds a {found}, but network is a {wanted}")
        if isinstance(source, MultiStyleNet) and source.styles != sources[0].styles:
            raise UserError(
                f"init_from: {path} has the styles {', '.join(source.styles)}; "
                f"to be averaged with {paths[0]} it must have {', '.join(sources[0].styles)}"
            )
    if isinstance(network, MultiStyleNet):
        _take_styles(sources[0], network)
    for source in sources:
        for name, value in source.init_args.items():
            own = network.init_args[name]
            good = not unchanged or own == value
            require(f"network: {name}", own, good, f"{value} with only_new_styles, as in init_from")
        check_state(source.state_dict(), network, "init_from")
    states = [source.state_dict() for source in sources]
    network.load_state_dict({key: torch.stack([state[key] for state in states]).mean(0) for key in states[0]})
    return said[0]


def _take_styles(source: MultiStyleNet, network: MultiStyleNet) -> None:
    if network.styles not in ([], source.styles):
        raise UserError(
            f"network: styles must be left out with init_from, whose styles come by themselves "
            f"({', '.join(source.styles)}), got {network.styles}"
        )
    network.replace_styles(source.styles)


def freeze_all_but_styles(network: nn.Module, starts: Sequence[Path]) -> None:
    """The rows of styles that aren't trained have no gradient, and optimizers leave them alone.

    Raises:
        UserError: the network has one style, or starts from nothing.
    """
    if not isinstance(network, MultiStyleNet) or not starts:
        raise UserError("only_new_styles needs a MultiStyleNet, and init_from, a checkpoint of one")
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name.endswith(".table"))
