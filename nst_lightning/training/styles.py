"""The styles that a run trains: one, or many in a `MultiStyleNet`, drawn anew for each batch."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from nst_lightning.errors import UserError
from nst_lightning.images import expand_path
from nst_lightning.networks import MultiStyleNet

_ANYWHERE = 1 << 15
"""More than the noise of a `MultiStyleNet` has rows or columns before it comes again."""


class Draw(NamedTuple):
    """What a batch of N photos should become.

    Args:
        paintings: which of the run's paintings each picture should resemble, shape (N,).
        shares: of the style weight for each picture, shape (N,).
        controls: the network's inputs besides the photos.
    """

    paintings: Tensor
    shares: Tensor
    controls: dict[str, Tensor]


class Styles:
    """The run's paintings and their places in the network, which learns those names that it doesn't know.

    Args:
        network: the transfer network.
        files: the paintings, by the names of their styles; one, unless the network is a `MultiStyleNet`.
        shares: of the style weight for single styles, by their names; by default 1.
        frequencies: how often single styles are drawn, by their names; by default 1.

    Raises:
        UserError: a share or frequency is out of range, or of a style that isn't one of the run's.
    """

    def __init__(
        self,
        network: nn.Module,
        files: Mapping[str, str],
        shares: Mapping[str, float] = {},
        frequencies: Mapping[str, float] = {},
    ) -> None:
        for argument, numbers, allowed in (
            ("style_shares", shares, ">= 0"),
            ("style_frequencies", frequencies, "> 0"),
        ):
            for name, number in numbers.items():
                good = 0 < number < math.inf or (number == 0 and argument == "style_shares")
                if name not in files or not good:
                    raise UserError(
                        f"{argument} must be {allowed} for some of the run's styles, {', '.join(files)}; "
                        f"got {number} for {name}"
                    )
        self.files, self._network = dict(files), None
        self._shares = torch.tensor([shares.get(name, 1.0) for name in files])
        frequency = np.array([frequencies.get(name, 1.0) for name in files])
        self._chances = frequency / frequency.sum()
        if isinstance(network, MultiStyleNet):
            network.add_styles([name for name in files if name not in network.styles])
            self._network = network

    @property
    def known(self) -> list[str]:
        """All styles that the network knows, those that the run doesn't train included."""
        return list(self.files) if self._network is None else self._network.styles

    def follow(self, styles: Sequence[str]) -> None:
        """Let the network have a checkpoint's styles, whose numbers are about to be loaded.

        Raises:
            UserError: one of the run's is not among them.
        """
        missing = [name for name in self.files if name not in styles]
        if missing:
            raise UserError(f"ckpt_path: the checkpoint has no style {missing[0]!r}; it has {', '.join(styles)}")
        if list(styles) != self.known:
            self._network.replace_styles(styles)

    def one(self, painting: int, count: int) -> Draw:
        """`count` pictures in the style of one of the run's paintings, at full strength."""
        chosen = torch.full((count,), painting)
        return Draw(chosen, self._shares[chosen], {} if self._network is None else {"style": self._weights(chosen)})

    def draw(self, count: int, *, partial: float, seed: Sequence[int]) -> Draw:
        """`count` pictures in different styles while there are any left, some of them at a random strength.

        A picture of strength s should have s^2 of the style weight (Babaeizadeh & Ghiasi 2018 draw the weight itself).

        Args:
            count: pictures in the batch.
            partial: share of pictures whose strength is drawn from 0 to 1; the others have 1.
            seed: of this batch: the same always gives the same draw.
        """
        if self._network is None:
            return self.one(0, count)
        random = np.random.default_rng(seed)
        each = len(self.files)
        orders = [random.choice(each, each, replace=False, p=self._chances) for _ in range(-(-count // each))]
        chosen = torch.from_numpy(np.concatenate(orders)[:count])
        strength = torch.from_numpy(np.where(random.random(count) < partial, random.random(count), 1)).float()
        shares = strength.square() * self._shares[chosen]
        start = torch.from_numpy(random.integers(_ANYWHERE, size=2))
        return Draw(chosen, shares, {"style": self._weights(chosen), "strength": strength, "noise_from": start})

    def _weights(self, chosen: Tensor) -> Tensor:
        places = torch.tensor([self.known.index(name) for name in self.files])
        return torch.eye(len(self.known))[places[chosen]]


def style_files(
    network: nn.Module, style: str | None, styles: Mapping[str, str] | Sequence[str] | None
) -> dict[str, str]:
    """Names and files of the paintings that `model.style` or `model.styles` give.

    Raises:
        UserError: not one of the two is given, there are several for a network of one style, or two of one name.
    """
    if (style is None) == (not styles):
        raise UserError("model.style: give either a painting, or several as model.styles (and `--model.style null`)")
    if not styles:
        return {_name(style): style}
    if not isinstance(network, MultiStyleNet):
        raise UserError(f"model.styles: {type(network).__name__} has one style; give it as model.style")
    if isinstance(styles, Mapping):
        return dict(styles)
    named = {_name(file): file for file in styles}
    if len(named) < len(styles):
        raise UserError(f"model.styles: {list(styles)} would give two styles one name; give their names, as name: file")
    return named


def _name(file: str) -> str:
    """A style's name, from its painting's file: without the characters that blends of styles are written with."""
    return expand_path(file).stem.translate(str.maketrans(",:", "__")).strip()
