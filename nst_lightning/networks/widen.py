"""Larger networks that begin where smaller ones ended, as the same function."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nst_lightning.errors import require
from nst_lightning.networks.johnson import JohnsonNet
from nst_lightning.networks.multi_style import MultiStyleNet, Styled

_WIDTHS = ("width", "widths", "block_width")
_FREE = ("styles", "blocks")  # the number of blocks is that of the dilations


@torch.no_grad()
def copy_into_larger(source: nn.Module, network: JohnsonNet | MultiStyleNet) -> None:
    """Make a network with more channels or more residual blocks the same function as a smaller one of its class.

    The new channels keep the weights that they were built with, but the old channels have zeros for them, which
    training changes first. Unlike copies of old channels (Net2Net, Chen et al. 2016), no two are alike. New blocks end
    with a scale of zero, so they change nothing at first (as in Goyal et al. 2017).

    Args:
        source: the smaller network.
        network: the larger one, just built, with the same styles; it is changed.

    Raises:
        UserError: an argument of `network` must be larger or another; the message names it.
    """
    smaller: dict[str, Any] = source.init_args  # type: ignore[assignment]
    larger: dict[str, Any] = network.init_args
    _check_arguments(smaller, larger)
    places = _find_places(smaller["dilations"], larger["dilations"])
    for i, block in enumerate(network.blocks):
        if i not in places:
            block.start_as_identity()  # type: ignore[operator]
    kept = nn.ModuleList(network.blocks[i] for i in places)
    for name, part in source.named_children():
        counterpart = kept if name == "blocks" else network.get_submodule(name)
        for old, new in zip(part.modules(), counterpart.modules(), strict=True):
            _copy_channels(old, new)


def _check_arguments(smaller: dict[str, Any], larger: dict[str, Any]) -> None:
    for name, given in smaller.items():
        own = larger[name]
        if name in _WIDTHS:
            good, allowed = all(a <= b for a, b in zip(_as_list(given), _as_list(own))), f"at least {given}"
        elif name == "dilations":
            good, allowed = len(_find_places(given, own)) == len(given), f"{given}, with or without others in between"
        else:
            good, allowed = given == own or name in _FREE, repr(given)
        require(name, own, good, f"{allowed}, to begin as the smaller network")


def _as_list(widths: int | list[int]) -> list[int]:
    return [widths] if isinstance(widths, int) else widths


def _find_places(smaller: Sequence[int], larger: Sequence[int]) -> list[int]:
    """Where the dilations of a smaller network are first found, in order, among those of a larger one."""
    places: list[int] = []
    for i, dilation in enumerate(larger):
        if len(places) < len(smaller) and dilation == smaller[len(places)]:
            places.append(i)
    return places


def _copy_channels(old: nn.Module, new: nn.Module) -> None:
    """Copy the parameters and buffers of a module itself into the first channels of a larger one."""
    for given, larger in zip(_by_channel(old), _by_channel(new)):
        larger[: len(given)] = 0  # for the new inputs
        larger[tuple(slice(length) for length in given.shape)] = given
    for given, buffer in zip(old.buffers(recurse=False), new.buffers(recurse=False)):
        buffer.copy_(given)


def _by_channel(module: nn.Module) -> Iterable[Tensor]:
    """The parameters of a module itself, with the channels of its output first."""
    return module.by_channel() if isinstance(module, Styled) else module.parameters(recurse=False)
