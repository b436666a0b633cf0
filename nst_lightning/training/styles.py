"""The styles that a run trains: one, or many in a `MultiStyleNet`, drawn anew for each batch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from nst_lightning.networks import MultiStyleNet


class Draw(NamedTuple):
    """What a batch of N photos should become.

    Args:
        paintings: which of the run's paintings each picture should resemble, shape (N,).
        shares: of the style weight for each picture, shape (N,), or None for all of it.
        controls: the network's inputs besides the photos.
    """

    paintings: Tensor
    shares: Tensor | None
    controls: dict[str, Tensor]


class Styles:
    """The run's paintings and their places in the network, which learns those names that it doesn't know.

    Args:
        network: the transfer network.
        files: the paintings, by the names of their styles; one, unless the network is a `MultiStyleNet`.
    """

    def __init__(self, network: nn.Module, files: Mapping[str, str]) -> None:
        self.names = list(files)
        self._count, self._rows = 0, torch.zeros(len(files), dtype=torch.long)
        if isinstance(network, MultiStyleNet):
            network.add_styles([name for name in files if name not in network.styles])
            self._count = len(network.styles)
            self._rows = torch.tensor([network.styles.index(name) for name in files])

    def one(self, painting: int, count: int) -> Draw:
        """`count` pictures in the style of one of the run's paintings, at full strength."""
        chosen = torch.full((count,), painting)
        return Draw(chosen, None, {"style": self._weights(chosen)} if self._count else {})

    def draw(self, count: int, *, partial: float, seed: Sequence[int]) -> Draw:
        """`count` pictures in different styles, some of them at a random strength.

        A picture of strength s should have s^2 of the style weight (Babaeizadeh & Ghiasi 2018 draw the weight itself).

        Args:
            count: pictures in the batch.
            partial: share of pictures whose strength is drawn from 0 to 1; the others have 1.
            seed: of this batch: the same always gives the same draw.
        """
        if not self._count:
            return self.one(0, count)
        random = np.random.default_rng(seed)
        order = np.concatenate([random.permutation(len(self.names)) for _ in range(-(-count // len(self.names)))])
        chosen = torch.from_numpy(order[:count])
        strength = torch.from_numpy(np.where(random.random(count) < partial, random.random(count), 1)).float()
        return Draw(chosen, strength.square(), {"style": self._weights(chosen), "strength": strength})

    def _weights(self, chosen: Tensor) -> Tensor:
        return torch.eye(self._count)[self._rows[chosen]]


def style_files(network: nn.Module, style: str | None, styles: Mapping[str, str] | None) -> dict[str, str]:
    """Names and files of the paintings that `model.style` or `model.styles` give.

    Raises:
        ValueError: not one of the two is given, or there are several for a network of one style.
    """
    if (style is None) == (not styles):
        raise ValueError("model.style: give either a painting, or several with their names as model.styles")
    if not styles:
        return {Path(style).stem: style}
    if not isinstance(network, MultiStyleNet):
        raise ValueError(f"model.styles: {type(network).__name__} has one style; give it as model.style")
    return dict(styles)
