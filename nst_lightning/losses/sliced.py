"""The sliced Wasserstein distance between distributions of features (Bonneel et al. 2015; Heitz et al. 2021)."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nst_lightning.losses.functional import Normalization

KNOTS = 129
"""Number of probabilities at which quantile functions of paintings are kept."""
_AT_ONCE = 2**20  # projections that are sorted at the same time, which bounds the memory
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

    def along(self, directions: slice) -> "Quantiles":
        """The quantile functions of some of the directions."""
        return Quantiles(self.values[:, directions])

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
    """Projections of features on directions, at every position.

    Those of tiles are kept one by one, in half precision relative to the largest of each tile along each direction, so
    that none overflows: they are most of the memory that a large picture takes.

    Args:
        values: projections of each tile, shape (N, K, M) for M positions.
        weights: weights of each tile's positions, shape (1, 1, M) or (N, 1, M); None for a weight of 1 everywhere.
        units: what 1 stands for in the values of each tile, shape (N, K, 1); None if there are plain values of a single
            tile.
    """

    values: tuple[Tensor, ...]
    weights: tuple[Tensor, ...] | None = None
    units: tuple[Tensor, ...] | None = None

    def __add__(self, other: "Projections") -> "Projections":
        (values, units), (more, other_units) = self._packed(), other._packed()
        weights = None if self.weights is None or other.weights is None else self.weights + other.weights
        return Projections(values + more, weights, units + other_units)

    def along(self, directions: slice) -> Tensor:
        """The projections of all tiles on some of the directions, one tile after the other."""
        parts = [values[:, directions] for values in self.values]
        if self.units is not None:
            parts = [part * unit[:, directions] for part, unit in zip(parts, self.units)]
        return _join(parts)

    def chunks(self) -> Iterator[slice]:
        """The directions, as many at a time as should be sorted at once."""
        pictures, directions, _ = self.values[0].shape
        step = max(1, _AT_ONCE // max(1, pictures * sum(values.shape[2] for values in self.values)))
        yield from (slice(first, first + step) for first in range(0, directions, step))

    def shares(self) -> Tensor | float:
        """The weights of all tiles, divided by their sum."""
        if self.weights is None:
            return 1 / sum(values.shape[2] for values in self.values)
        weights = _join(self.weights)
        return weights / weights.sum(-1, keepdim=True).clamp_min(_EPSILON)

    @torch.no_grad()
    def averaged(self, share: float = 1.0) -> Quantiles:
        """The quantile functions, for equal weights, times a share. The sum of such functions is that of a blend."""
        return Quantiles(torch.cat([_quantiles(self.along(some)) for some in self.chunks()], 1) * share)

    @torch.no_grad()
    def transported(self, target: Quantiles) -> "Transport":
        """Compare with a painting's quantile functions. In tiles, this overwrites the projections, to save memory."""
        (values, _), shares = self._packed(), self.shares()
        distances, units = [], []
        for some in self.chunks():
            ways, squared = _ways(self.along(some), shares, target.along(some))
            unit = _largest(ways)
            for part, way in zip(values, ways.div_(unit).split([part.shape[2] for part in values], -1)):
                part[:, some] = way
            distances.append(squared)
            units.append(unit)
        return Transport(torch.cat(distances, 1), values, torch.cat(units, 1), shares)

    def _packed(self) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """The values in half precision, and their units."""
        if self.units is not None:
            return self.values, self.units
        units = tuple(_largest(values) for values in self.values)
        return tuple((values / unit).half() for values, unit in zip(self.values, units)), units


@dataclass(frozen=True)
class Transport:
    """How far the projections of a picture's tiles are from their targets.

    Args:
        distances: squared distance along each direction, shape (N, K): the sum of those of the tiles.
        ways: the way of each projection from its target, of each tile, shape (N, K, M), in half precision.
        units: what 1 stands for in the ways, shape (N, K, 1).
        shares: the weights of all positions, whose sum is 1, shape (1, 1, M) or (N, 1, M), or one for all positions.
    """

    distances: Tensor
    ways: tuple[Tensor, ...]
    units: Tensor
    shares: Tensor | float

    @property
    def parts(self) -> list[Tensor]:
        """The tensors that have a gradient, see `toward`."""
        return [self.distances]

    def toward(self, found: Projections, tile: int) -> Tensor:
        """A scalar whose gradient at the projections of a tile is that of the loss at the distances."""
        if self.distances.grad is None:
            return found.values[0].new_zeros(())
        slope = self.ways[tile] * (2 * self.units * self.distances.grad[..., None])
        shares = self.shares
        if isinstance(shares, Tensor):
            shares = shares.split([ways.shape[2] for ways in self.ways], -1)[tile]
        return (found.values[0] * slope.mul_(shares)).sum()


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


def sliced_loss(found: Projections | Transport, target: Quantiles, normalization: Normalization = "relative") -> Tensor:
    """Squared sliced 2-Wasserstein distance, between a picture's projections and a painting's quantile functions.

    Along each direction, the sorted projections are compared with the painting's quantiles, of (i + 1/2) / M for the
    i-th of M positions: the mean of the squared differences is that direction's squared distance.

    Args:
        found: projections of the pictures' features; for those of tiles, what `Projections.transported` returns.
        target: quantile functions of the paintings' projections on the same directions.
        normalization: `relative` divides the sum over directions by that of the target's mean squares; the others take
            the mean over directions, which for a shift by d is |d|^2 / C on average.

    Returns:
        The loss of each picture, shape (N,).
    """
    distances: Tensor
    distances = found.distances if isinstance(found, Transport) else _Distances.apply(found.values[0], found, target)
    if normalization == "relative":
        return distances.sum(1) / (target.energy().sum(1) + _EPSILON)
    return distances.mean(1)


class _Distances(torch.autograd.Function):
    """The squared distance along each direction, whose gradient is twice each position's way from its target.

    The gradient is computed along with the distance, for some directions at a time: sorted copies would take several
    times the memory.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, found: Projections, target: Quantiles) -> Tensor:
        gradient, distances, shares = torch.empty_like(values), [], found.shares()
        for some in found.chunks():
            ways, squared = _ways(values[:, some], shares, target.along(some))
            torch.mul(ways, 2 * shares, out=gradient[:, some])
            distances.append(squared)
        ctx.save_for_backward(gradient)
        return torch.cat(distances, 1)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * slope[..., None], None, None


def _ways(values: Tensor, shares: Tensor | float, target: Quantiles) -> tuple[Tensor, Tensor]:
    """The way of each value (N, K, M) from the quantile of its rank, and the mean of their squares (N, K)."""
    order, count = _argsort(values), values.shape[-1]
    if isinstance(shares, Tensor):
        shares = shares.expand_as(values).gather(-1, order)
        probabilities = shares.cumsum(-1) - shares / 2
    else:
        probabilities = (torch.arange(count, device=values.device, dtype=values.dtype) + 0.5) / count
    ways = values.gather(-1, order).sub_(target.at(probabilities))
    squared = (ways.square() * shares).sum(-1)
    return torch.empty_like(values).scatter_(-1, order, ways), squared


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


def _largest(values: Tensor) -> Tensor:
    """The largest absolute value along each direction, shape (N, K, 1), as a unit."""
    return torch.linalg.vector_norm(values, math.inf, -1, keepdim=True).clamp_min(_EPSILON)
