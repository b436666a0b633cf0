"""The sliced Wasserstein distance between distributions of features (Bonneel et al. 2015; Heitz et al. 2021)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nst_lightning.losses.functional import Normalization

KNOTS = 129
"""Number of probabilities at which quantile functions of paintings are kept."""
_AT_ONCE = 2**22  # projections that are sorted at the same time, which bounds the memory
_EPSILON = 1e-8


@dataclass(frozen=True)
class Quantiles:
    """Quantile functions at `KNOTS` probabilities, linear between them.

    The probabilities are (1 - cos t) / 2 for equidistant t, so that the tails, where few positions have large values,
    have more of them. Weighted averages of quantile functions are those of Wasserstein barycenters (Rabin et al. 2011).

    Args:
        values: quantiles for each direction, shape (N, K, KNOTS).
    """

    values: Tensor

    def __add__(self, other: "Quantiles") -> "Quantiles":
        return Quantiles(self.values + other.values)

    def __getitem__(self, pictures: Tensor) -> "Quantiles":
        """The quantile functions of some of the pictures, by their indices."""
        return Quantiles(self.values[pictures])

    def energy(self) -> Tensor:
        """The mean square of the distribution along each direction, shape (N, K)."""
        low, high = self.values[..., :-1], self.values[..., 1:]
        widths = _knots(self.values).diff()
        return ((low.square() + low * high + high.square()) / 3 * widths).sum(-1)

    def at(self, probabilities: Tensor) -> Tensor:
        """The quantiles of probabilities of shape (M,), the same for all directions, or (N, K, M)."""
        knots = _knots(self.values)
        index = (torch.searchsorted(knots, probabilities) - 1).clamp(0, KNOTS - 2)
        share = (probabilities - knots[index]) / (knots[index + 1] - knots[index])
        if probabilities.dim() == 1:
            return torch.lerp(self.values[..., index], self.values[..., index + 1], share)
        values = self.values.expand(*index.shape[:2], -1)
        return torch.lerp(values.gather(-1, index), values.gather(-1, index + 1), share)


@dataclass(frozen=True)
class Projections:
    """Projections of features on directions, at every position. Those of tiles are kept one by one.

    Args:
        values: projections of each tile, shape (N, K, M) for M positions.
        weights: weights of each tile's positions, shape (1, 1, M) or (N, 1, M); None for a weight of 1 everywhere.
    """

    values: tuple[Tensor, ...]
    weights: tuple[Tensor, ...] | None = None

    def __add__(self, other: "Projections") -> "Projections":
        weights = None if self.weights is None or other.weights is None else self.weights + other.weights
        return Projections(self.values + other.values, weights)

    @property
    def parts(self) -> list[Tensor]:
        """The tensors through which gradients reach the features."""
        return list(self.values)

    def of_tile(self, number: int) -> "Projections":
        """The projections of one of the tiles, in the order in which they were added."""
        return Projections((self.values[number],), None if self.weights is None else (self.weights[number],))

    def joined(self) -> tuple[Tensor, Tensor | None]:
        """The values and weights of all tiles, one after the other."""
        return _join(self.values), None if self.weights is None else _join(self.weights)

    @torch.no_grad()
    def averaged(self, share: float = 1.0) -> Quantiles:
        """The quantile functions, for equal weights, times a share. The sum of such functions is that of a blend."""
        values, _ = self.joined()
        found = [_quantiles(part) for part in values.split(_directions_at_once(values), 1)]
        return Quantiles(torch.cat(found, 1) * share)


def draw_directions(count: int, channels: int, random: np.random.Generator) -> Tensor:
    """Draw unit vectors uniformly, orthogonal to each other as far as there are enough channels.

    Returns:
        The directions, shape (count, channels).
    """
    bases = [
        np.linalg.qr(random.normal(size=(channels, min(channels, count - first))))[0].T
        for first in range(0, count, channels)
    ]
    return torch.from_numpy(np.concatenate(bases).astype(np.float32))


def project(features: Tensor, directions: Tensor, weights: Tensor | None = None) -> Projections:
    """Project features on directions, in float32 or better.

    Args:
        features: the features, shape (N, C, H, W).
        directions: unit vectors, shape (K, C).
        weights: weights of positions, shape (1, 1, H, W) or (N, 1, H, W); by default 1 everywhere.
    """
    with torch.autocast(features.device.type, enabled=False):
        flat = features.to(torch.promote_types(features.dtype, torch.float32)).flatten(2)
        values = directions.to(flat) @ flat
    return Projections((values,), None if weights is None else (weights.flatten(2).to(values),))


def sliced_loss(found: Projections, target: Quantiles, normalization: Normalization = "relative") -> Tensor:
    """Squared sliced 2-Wasserstein distance, between a picture's projections and a painting's quantile functions.

    Along each direction, the sorted projections are compared with the painting's quantiles, of (i + 1/2) / M for the
    i-th of M positions: the mean of the squared differences is that direction's squared distance.

    Args:
        found: projections of the pictures' features.
        target: quantile functions of the paintings' projections on the same directions.
        normalization: `relative` divides the sum over directions by that of the target's mean squares; the others take
            the mean over directions, which for a shift by d is |d|^2 / C on average.

    Returns:
        The loss of each picture, shape (N,).
    """
    values, weights = found.joined()
    distances: Tensor = _Transport.apply(values, weights, target)
    if normalization == "relative":
        return distances.sum(1) / (target.energy().sum(1) + _EPSILON)
    return distances.mean(1)


class _Transport(torch.autograd.Function):
    """The squared distance along each direction, whose gradient is twice each position's way to its target.

    The gradient is computed along with the distance, for some directions at a time: sorted copies would take several
    times the memory.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, weights: Tensor | None, target: Quantiles) -> Tensor:
        gradient, distances = torch.empty_like(values), []
        step = _directions_at_once(values)
        for first in range(0, values.shape[1], step):
            part = values[:, first : first + step]
            order, probabilities, shares = _ranks(part, weights)
            ways = part.gather(-1, order) - Quantiles(target.values[:, first : first + step]).at(probabilities)
            weighted = ways * shares
            distances.append((weighted * ways).sum(-1))
            gradient[:, first : first + step].scatter_(-1, order, 2 * weighted)
        ctx.save_for_backward(gradient)
        return torch.cat(distances, 1)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * slope[..., None], None, None


def _ranks(values: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor, Tensor | float]:
    """The order of values (N, K, M) from small to large, and the probabilities and shares of values in that order."""
    order, count = _argsort(values), values.shape[-1]
    if weights is None:
        return order, (torch.arange(count, device=values.device, dtype=values.dtype) + 0.5) / count, 1 / count
    shares = weights / weights.sum(-1, keepdim=True).clamp_min(_EPSILON)
    shares = shares.expand_as(values).gather(-1, order)
    return order, shares.cumsum(-1) - shares / 2, shares


def _quantiles(values: Tensor) -> Tensor:
    """The quantiles of values (N, K, M) at the knots; the i-th of M sorted values is that of (i + 1/2) / M."""
    ordered, last = values.gather(-1, _argsort(values)), values.shape[-1] - 1
    place = (_knots(values) * (last + 1) - 0.5).clamp(0, last)
    index = place.long()
    return torch.lerp(ordered[..., index], ordered[..., (index + 1).clamp_max(last)], place - index)


def _argsort(values: Tensor) -> Tensor:
    """The order from small to large, on a CPU by NumPy, whose vectorized sort takes a fifth of torch's time."""
    if values.device.type == "cpu":
        return torch.from_numpy(np.argsort(values.detach().numpy(), axis=-1))
    return values.argsort(-1)


def _knots(like: Tensor) -> Tensor:
    """The probabilities of the knots, from 0 to 1."""
    angles = torch.linspace(0, math.pi, KNOTS, device=like.device, dtype=torch.float64)
    return ((1 - angles.cos()) / 2).to(like)


def _join(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), -1)


def _directions_at_once(values: Tensor) -> int:
    return max(1, _AT_ONCE // max(1, values.shape[0] * values.shape[2]))
