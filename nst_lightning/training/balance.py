"""The balance of content and style in training: the style weight of each style, and how often it is drawn."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nst_lightning.losses import check_content_target

LARGEST_FACTOR = 10.0
WINDOW = 12
"""Number of a style's batches over which its content, or its style loss, is averaged."""
PROPORTIONAL, INTEGRAL = 3.0, 0.1
"""How much of log(target/content) is in a factor's logarithm at once, and how much is added in each of its style's
measured batches: the first is quick, the second exact."""
LARGEST_ERROR = 0.5
"""The largest |log(target/content)| that counts: the content of a network that can't paint yet means little."""
PAINTS = 0.975
"""The share of the highest learning rate below which factors change: the first tenth of a run is left alone."""
REFRESH = 20
"""Number of batches after which the chances of styles are computed anew, since that waits for the device."""
LAG_POWER, LEAST_CHANCE, MOST_CHANCE = 2.0, 0.5, 3.0

_TENSORS = ("log_factors", "integral", "sums")


class StyleBalance:
    """Adapts the style weight of each style so that the content of its pictures reaches a target.

    Content is what the loss compares, relative to the photos' energy, in training pictures at full strength. Its
    numerator and denominator are averaged apart, so that nearly flat photos, whose contents are large, count little.
    The integral part of the control slows down as the network does, in proportion to the learning rate. Styles whose
    losses are larger than the others' are drawn more often.

    Args:
        names: names of the run's styles.
        target: the content to reach, from 0.1 to 0.9.

    Raises:
        UserError: the target is out of range.
    """

    def __init__(self, names: Sequence[str], target: float) -> None:
        check_content_target(target)
        self.names, self.target = list(names), target
        self.log_factors, self.integral = torch.zeros(len(names)), torch.zeros(len(names))
        # numerators and denominators of contents; style losses, and their number
        self.sums = torch.zeros(len(names), 4)
        self.chances = np.full(len(names), 1 / len(names))
        self.batches, self.highest, self.begun = 0, 0.0, False

    @property
    def factors(self) -> Tensor:
        """The factor of the style weight for each style, from 0.1 to 10, shape (S,)."""
        return self.log_factors.exp()

    @property
    def content(self) -> Tensor:
        """The running content of each style, shape (S,); NaN before its first picture."""
        return self.sums[:, 0] / self.sums[:, 1]

    def sum_up(self, styles: Tensor, *, contents: Tensor, style_losses: Tensor) -> Tensor:
        """Sum up the losses of a batch's pictures that are at full strength.

        Args:
            styles: number of the style of each picture, shape (N,); N may be 0.
            contents: numerator and denominator of each picture's content, shape (N, 2).
            style_losses: style loss of each picture, without factors, shape (N,).

        Returns:
            For each style the sums of numerators and of denominators of contents, the sum of style losses, and their
            number, shape (S, 4). Sums that aren't finite are zeros.
        """
        losses = torch.stack([style_losses, torch.ones_like(style_losses)], dim=1)
        sums = torch.zeros(len(self.names), 4, device=contents.device)
        sums.index_add_(0, styles.to(contents.device), torch.cat([contents, losses], dim=1).float())
        return torch.where(sums.isfinite().all(1, keepdim=True), sums, 0.0)

    @torch.no_grad()
    def update(self, sums: Tensor, *, speed: float) -> None:
        """Adapt factors and chances to measurements.

        Args:
            sums: the result of `sum_up`, summed over all processes.
            speed: the learning rate, as a share of the highest one.
        """
        self.log_factors, self.integral = self.log_factors.to(sums.device), self.integral.to(sums.device)
        measured = sums[:, [1, 1, 3, 3]] > 0
        self.sums = self.sums.to(sums.device) * (1 - measured.float() / WINDOW) + sums
        self.highest = max(self.highest, speed)
        self.begun = self.begun or speed < PAINTS * self.highest
        if self.begun:
            self._control(measured[:, 0], speed)
        self.batches += 1
        if self.begun and self.batches % REFRESH == 0:
            self.chances = self._find_chances(self.sums.cpu().numpy().astype(float))

    def rate(self, content: Tensor, style: Tensor) -> Tensor:
        """What a run with a target minimizes, in one figure: the smallest style whose content exceeds no target.

        Losses with the weights of their time can't be compared. Along the states that different weights lead to, style
        falls as about 1/content, so style times the square of content's excess is smallest at the target.

        Args:
            content: the content of pictures.
            style: their style distance.
        """
        return style * (content / self.target).clamp_min(1).square()

    def _control(self, measured: Tensor, speed: float) -> None:
        """Change the factors of styles that have been measured."""
        limit = math.log(LARGEST_FACTOR)
        error = (self.target / self.content.clamp_min(1e-6)).log().clamp(-LARGEST_ERROR, LARGEST_ERROR)
        integral = (self.integral + INTEGRAL * speed * error).clamp(-limit, limit)
        found = (integral + PROPORTIONAL * error).clamp(-limit, limit)
        self.integral = torch.where(measured, integral, self.integral)
        self.log_factors = torch.where(measured, found, self.log_factors)

    def state(self) -> dict[str, Any]:
        """The state, as tensors and plain values, for checkpoints."""
        counts = {"batches": self.batches, "highest": self.highest, "begun": self.begun}
        tensors = {name: getattr(self, name).cpu() for name in _TENSORS}
        return {"names": self.names, **tensors, "chances": self.chances.tolist(), **counts}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from the result of `state`, for the styles that it has."""
        known = [place for place, name in enumerate(self.names) if name in state["names"]]
        there = [state["names"].index(self.names[place]) for place in known]
        for name in _TENSORS:
            value = getattr(self, name).cpu().clone()
            value[known] = state[name][there]
            setattr(self, name, value)
        chances = self.chances.copy()
        chances[known] = np.array(state["chances"])[there]
        self.chances = chances / chances.sum()
        self.batches, self.highest, self.begun = state["batches"], state["highest"], state["begun"]

    def _find_chances(self, sums: np.ndarray) -> np.ndarray:
        """How often each style is to be drawn: by the square of its style loss relative to the average."""
        known = sums[:, 3] > 0
        losses = np.divide(sums[:, 2], sums[:, 3], out=np.ones(len(sums)), where=known)
        mean = losses[known].mean() if known.any() else 1.0
        lags = np.where(known, losses / max(mean, 1e-12), 1.0) ** LAG_POWER
        chances = lags.clip(LEAST_CHANCE, MOST_CHANCE)
        return chances / chances.sum()
