"""The styles that a run trains, which are drawn at random for each batch."""

from collections.abc import Sequence
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
        strengths: strength of each picture, from 0 to 1, shape (N,).
        controls: the network's inputs besides the photos.
    """

    paintings: Tensor
    strengths: Tensor
    controls: dict[str, Tensor]


class StyleSampler:
    """Draws styles and strengths for batches.

    Args:
        network: the transfer network, which has the run's styles, or a single style without a name.
        names: names of the run's styles, in the order of its paintings.
        partial_strength: share of the pictures whose strength is drawn between 0 and 1; the others have strength 1.

    Raises:
        UserError: `partial_strength` is out of range.
    """

    def __init__(self, network: nn.Module, names: Sequence[str], *, partial_strength: float = 0.5) -> None:
        require("partial_strength", partial_strength, 0 <= partial_strength <= 1, "from 0 to 1")
        self.names, self.partial_strength = list(names), partial_strength
        self._network = network if isinstance(network, StyledNetwork) else None

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
        return Targets(chosen, torch.ones(count), {} if self._network is None else {"style": self._rows(chosen)})

    def sample(self, count: int, *, seed: Sequence[int], chances: np.ndarray | None = None) -> Targets:
        """Targets for `count` pictures, of different styles as far as there are enough, some at a random strength.

        Args:
            count: number of pictures in the batch.
            seed: random seed of the batch; the same seed always gives the same targets.
            chances: how often each style is drawn, numbers whose sum is 1; by default all alike.
        """
        if self._network is None:
            return self.fixed(0, count)
        random, styles = np.random.default_rng(seed), len(self.names)
        orders = [random.choice(styles, styles, replace=False, p=chances) for _ in range(-(-count // styles))]
        chosen = torch.from_numpy(np.concatenate(orders)[:count])
        partial = random.random(count) < self.partial_strength
        strength = torch.from_numpy(np.where(partial, random.random(count), 1)).float()
        noise_from = torch.from_numpy(random.integers(_NOISE_POSITIONS, size=2))
        controls = {"style": self._rows(chosen), "strength": strength, "noise_from": noise_from}
        return Targets(chosen, strength, controls)

    def _rows(self, chosen: Tensor) -> Tensor:
        """Weights of all the network's styles for each of the chosen ones, shape (N, S)."""
        styles = [] if self._network is None else self._network.styles
        places = torch.tensor([styles.index(name) for name in self.names])
        return torch.eye(len(styles))[places[chosen]]
