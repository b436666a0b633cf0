"""The styles that a run trains, which are drawn at random for each batch."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from nst_lightning.errors import UserError, require
from nst_lightning.networks import StyledNetwork
from nst_lightning.system import normalize_name

_NOISE_POSITIONS = 1 << 15
"""More rows or columns than the noise of a `MultiStyleNet` has before it repeats."""


class Targets(NamedTuple):
    """The styles that the pictures of a batch of N photos should have.

    Args:
        paintings: number of the painting that each picture should resemble, shape (N,).
        style_factors: factor of the style weight for each picture, shape (N,).
        controls: the network's inputs besides the photos.
    """

    paintings: Tensor
    style_factors: Tensor
    controls: dict[str, Tensor]


class StyleSampler:
    """Draws styles and strengths for batches.

    Args:
        network: the transfer network, which has the run's styles, or a single style without a name.
        names: names of the run's styles, in the order of its paintings.
        weight_factors: factors of the style weight for single styles, by their names; by default 1.
        frequencies: how often single styles are drawn, by their names; by default 1.
        partial_strength: share of the pictures whose strength is drawn between 0 and 1; the others have strength 1.

    Raises:
        UserError: a number is out of range, or given for a style that isn't one of the run's.
    """

    def __init__(
        self,
        network: nn.Module,
        names: Sequence[str],
        *,
        weight_factors: Mapping[str, float] = {},
        frequencies: Mapping[str, float] = {},
        partial_strength: float = 0.5,
    ) -> None:
        _check("style_weight_factors", weight_factors, names, zero=True)
        _check("style_frequencies", frequencies, names, zero=False)
        require("partial_strength", partial_strength, 0 <= partial_strength <= 1, "from 0 to 1")
        self.names, self.partial_strength = list(names), partial_strength
        self._network = network if isinstance(network, StyledNetwork) else None
        self._factors = torch.tensor([weight_factors.get(name, 1.0) for name in names])
        chances = np.array([frequencies.get(name, 1.0) for name in names])
        self._chances = chances / chances.sum()

    def adopt(self, styles: Sequence[str]) -> bool:
        """Give the network the styles of a checkpoint, whose per-style parameters are about to be loaded.

        Returns:
            Whether the network had other styles, so that its parameters have been replaced.

        Raises:
            UserError: one of the run's styles is not among them.
        """
        if self._network is None:
            return False
        styles = [normalize_name(name) for name in styles]
        if styles == self._network.styles:
            return False
        missing = [name for name in self.names if name not in styles]
        if missing:
            raise UserError.about(
                "ckpt_path", f"the checkpoint has no style {missing[0]!r}; it has {', '.join(styles)}"
            )
        self._network.replace_styles(styles)
        return True

    def fixed(self, painting: int, count: int) -> Targets:
        """Targets for `count` pictures in the style of one of the run's paintings, at full strength."""
        chosen = torch.full((count,), painting)
        return Targets(chosen, self._factors[chosen], {} if self._network is None else {"style": self._rows(chosen)})

    def sample(self, count: int, *, seed: Sequence[int]) -> Targets:
        """Targets for `count` pictures, of different styles as far as there are enough, some at a random strength.

        For a picture of strength s, the style weight is multiplied by s^2 (Babaeizadeh & Ghiasi 2018 draw the weight
        itself).

        Args:
            count: number of pictures in the batch.
            seed: random seed of the batch; the same seed always gives the same targets.
        """
        if self._network is None:
            return self.fixed(0, count)
        random, styles = np.random.default_rng(seed), len(self.names)
        orders = [random.choice(styles, styles, replace=False, p=self._chances) for _ in range(-(-count // styles))]
        chosen = torch.from_numpy(np.concatenate(orders)[:count])
        partial = random.random(count) < self.partial_strength
        strength = torch.from_numpy(np.where(partial, random.random(count), 1)).float()
        noise_from = torch.from_numpy(random.integers(_NOISE_POSITIONS, size=2))
        controls = {"style": self._rows(chosen), "strength": strength, "noise_from": noise_from}
        return Targets(chosen, strength.square() * self._factors[chosen], controls)

    def _rows(self, chosen: Tensor) -> Tensor:
        """Weights of all the network's styles for each of the chosen ones, shape (N, S)."""
        styles = [] if self._network is None else self._network.styles
        places = torch.tensor([styles.index(name) for name in self.names])
        return torch.eye(len(styles))[places[chosen]]


def _check(argument: str, numbers: Mapping[str, float], names: Sequence[str], *, zero: bool) -> None:
    allowed = f"{'>= 0' if zero else '> 0'} for some of the run's styles, {', '.join(names)}"
    for name, number in numbers.items():
        good = name in names and 0 <= number < math.inf and (zero or number > 0)
        require(argument, {name: number}, good, allowed)
