"""The start of a run: from the weights of a checkpoint, or from the average of several."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nst_lightning.errors import UserError, naming, prefixing, require
from nst_lightning.images import expand_path
from nst_lightning.networks import (
    JohnsonNet,
    MultiStyleNet,
    StyledNetwork,
    copy_into_larger,
    load_network,
    styles_of,
)
from nst_lightning.networks.checkpoint import CLASSES, check_state


def start_paths(init_from: list[str] | str | None) -> list[Path]:
    """The checkpoints to start from, as files or names of bundled ones: none, one, or several to be averaged."""
    with naming("init_from"):
        return [expand_path(path) for path in ([init_from] if isinstance(init_from, str) else init_from or [])]


def load_start(paths: Sequence[Path], network: nn.Module, *, same_arguments: bool) -> dict[str, str]:
    """Copy the styles and weights of a checkpoint into a network, or the average weights of several checkpoints.

    A `JohnsonNet` or `MultiStyleNet` with more channels or blocks than a checkpoint's begins as the same function, see
    `copy_into_larger`.

    Args:
        paths: the checkpoints, as files or names of bundled ones.
        network: the network to change.
        same_arguments: whether the network must have the checkpoint's constructor arguments. Weights alone may also fit
            other arguments, such as other dilations.

    Returns:
        The metadata of the first checkpoint.

    Raises:
        UserError: a checkpoint can't be read, holds a different network, or doesn't have the styles of the first.
    """
    with naming("init_from"):
        sources, metadata = zip(*(_load(path, network) for path in paths))
    for path, source in zip(paths, sources):
        _check_kind(path, source, network)
        if styles_of(source) != styles_of(sources[0]):
            raise UserError.about(
                "init_from",
                f"{path} has the styles {', '.join(styles_of(source))}; "
                f"to be averaged with {paths[0]} it must have {', '.join(styles_of(sources[0]))}",
            )
        if _shapes(source) != _shapes(sources[0]):
            problem = f"{path} holds a network of another size than {paths[0]}; only equal ones can be averaged"
            raise UserError.about("init_from", problem)
    if isinstance(network, StyledNetwork):
        _copy_styles(sources[0], network)
    for source in sources:
        if same_arguments:
            _check_arguments(source, network)
    states = [source.state_dict() for source in sources]
    average = {key: torch.stack([state[key] for state in states]).mean(0) for key in states[0]}
    _load_weights(average, sources[0], network)
    return metadata[0]


def _load_weights(state: Mapping[str, Tensor], source: nn.Module, network: nn.Module) -> None:
    """Load the state of a network like `source`; a larger network of this package begins as the same function."""
    if isinstance(network, JohnsonNet | MultiStyleNet) and _shapes(source) != _shapes(network):
        source.load_state_dict(state)
        with prefixing("network.init_args."):
            copy_into_larger(source, network)
    else:
        check_state(state, network, "init_from")
        network.load_state_dict(state)


def _shapes(network: nn.Module) -> dict[str, torch.Size]:
    return {key: value.shape for key, value in network.state_dict().items()}


def freeze_shared_parameters(network: StyledNetwork) -> None:
    """Make only per-style parameters trainable; those of styles that aren't drawn have gradients of zero."""
    per_style = {id(parameter) for parameter in network.per_style_parameters()}
    for parameter in network.parameters():
        parameter.requires_grad_(id(parameter) in per_style)


def _load(path: Path, network: nn.Module) -> tuple[nn.Module, dict[str, str]]:
    """The network of a checkpoint; one of a class outside this package is a copy of the run's, with other weights."""
    try:
        return load_network(path, None if type(network) in CLASSES.values() else copy.deepcopy(network))
    except UserError as error:
        if error.argument != "network":
            raise
        raise UserError.about("init_from", f"{error}, a {type(network).__name__}") from error


def _check_kind(path: Path, source: nn.Module, network: nn.Module) -> None:
    if not isinstance(network, type(source)):
        found, wanted = type(source).__name__, type(network).__name__
        raise UserError.about("init_from", f"{path} holds a {found}, but network is a {wanted}")


def _check_arguments(source: nn.Module, network: nn.Module) -> None:
    given: dict[str, Any] = getattr(network, "init_args", {})
    for name, value in getattr(source, "init_args", {}).items():
        actual = given[name]
        require(f"network.init_args.{name}", actual, actual == value, f"{value} with freeze_shared, as in init_from")


def _copy_styles(source: StyledNetwork, network: StyledNetwork) -> None:
    if network.styles not in ([], source.styles):
        raise UserError(
            f"network.init_args.styles must be left out with init_from, which has styles of its own "
            f"({', '.join(source.styles)}), got {network.styles}",
            argument="network.init_args.styles",
        )
    network.replace_styles(source.styles)
