"""The statistics of features that style losses compare: Gram matrices, and first and second moments."""

from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Moments:
    """First and second moments of features, as sums over positions: sums over tiles add up to those of the picture.

    Args:
        second: sum of w a b^T, shape (N, C, D); for b = a and w = 1 the Gram matrix times the number of positions.
        first: sum of w a, shape (N, C).
        weight: sum of w, shape (N,).
    """

    second: Tensor
    first: Tensor
    weight: Tensor

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(self.second + other.second, self.first + other.first, self.weight + other.weight)

    def __getitem__(self, pictures: Tensor) -> "Moments":
        """The moments of some of the pictures, by their indices."""
        return Moments(self.second[pictures], self.first[pictures], self.weight[pictures])

    @property
    def parts(self) -> list[Tensor]:
        """The tensors that have a gradient, see `toward`."""
        return [self.second, self.first]

    def toward(self, found: "Moments", tile: int) -> Tensor:
        """A scalar whose gradient at the moments of a tile is that of the loss at these moments, their sum."""
        pairs = zip(found.parts, self.parts)
        products = ((part * total.grad).sum() for part, total in pairs if total.grad is not None)
        return reduce(torch.add, products, self.first.new_zeros(()))

    def averaged(self, share: float = 1.0) -> "Moments":
        """Divide by the weight, and multiply by a share. The sum of such moments has the moments of a blend."""
        factor = share / self.weight.clamp_min(1e-8)
        return Moments(self.second * factor[:, None, None], self.first * factor[:, None], self.weight * factor)


def moments(
    features: Tensor, others: Tensor | None = None, weights: Tensor | None = None, *, exact: bool = True
) -> Moments:
    """Compute sums over the positions of each picture, in float32 or better.

    Args:
        features: a, shape (N, C, H, W).
        others: b, shape (N, D, H, W); by default the features themselves.
        weights: w, shape (N, 1, H, W) or (1, 1, H, W); by default 1 everywhere.
        exact: whether bfloat16 features are converted to float32 before they are multiplied, see `gram_matrix`.
    """
    with torch.autocast(features.device.type, enabled=False):
        plain = others is None and weights is None
        a = _by_position(features, exact=exact or not plain)
        precision = torch.promote_types(a.dtype, torch.float32)
        if plain:
            count = torch.full((len(a),), a.shape[1], dtype=precision, device=a.device)
            return Moments(_Squared.apply(a).to(precision), a.sum(1, dtype=precision), count)
        b = a if others is None else _by_position(others)
        w = torch.ones_like(a[..., :1]) if weights is None else _by_position(weights).expand(len(a), -1, -1)
        weighted = a if weights is None else a * w
        return Moments(weighted.mT @ b, weighted.sum(1), w.sum((1, 2)))


def gram_matrix(features: Tensor) -> Tensor:
    """Gram matrix of features, averaged over positions: F F^T / M (Gatys et al. 2015, whose G is M times this).

    It is computed in float32 or better even under autocast, since sums over positions overflow in float16. Features in
    bfloat16 are multiplied as they are: a CPU sums the products in float32 and rounds once, by 0.2 % at most. That is 1
    to 2 % of the gradient of `gram_loss` where the matrices are close to their targets.

    Args:
        features: the features, shape (N, C, H, W).

    Returns:
        The Gram matrices, shape (N, C, C), float32 (float64 for float64 features).
    """
    return moments(features, exact=False).averaged().second


class _Squared(torch.autograd.Function):
    """X^T X for X of shape (N, M, C). Its gradient takes one product where autograd would take two."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.mT @ x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return x @ (gradient + gradient.mT)


def _by_position(features: Tensor, *, exact: bool = True) -> Tensor:
    """Features in shape (N, H W, C): a view, since encoders return channels-last tensors."""
    if exact or features.dtype != torch.bfloat16:
        features = features.to(torch.promote_types(features.dtype, torch.float32))
    return features.permute(0, 2, 3, 1).flatten(1, 2)
