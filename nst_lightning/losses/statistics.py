"""What style losses compare of features: Gram matrices, and first and second moments."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


def gram_matrix(features: Tensor) -> Tensor:
    """Gram matrix of features, averaged over positions: F F^T / M (Gatys et al. 2015, whose G is M times this).

    Computed in float32 or better whatever the precision around it, since sums over positions overflow in float16.
    Those of bfloat16 features don't: a CPU sums them in float32 and rounds once, by 0.2 % at most. That is 1 to 2 % of
    the gradient of `style_loss` where the matrices are close to their targets.

    Args:
        features: shape (N, C, H, W).

    Returns:
        Shape (N, C, C), float32 (float64 for float64 features).
    """
    exact = torch.promote_types(features.dtype, torch.float32)
    with torch.autocast(features.device.type, enabled=False):
        by_position = features.permute(0, 2, 3, 1).flatten(1, 2)  # (N, M, C): a view of what encoders return
        by_position = by_position if features.dtype == torch.bfloat16 else by_position.to(exact)
        return _Squared.apply(by_position).to(exact) / by_position.shape[1]


class _Squared(torch.autograd.Function):
    """X^T X of X of shape (..., M, C), with one product for the gradient where autograd would take two."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.mT @ x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return x @ (gradient + gradient.mT)


@dataclass(frozen=True)
class Moments:
    """First and second moments of features over positions, as sums: those of a picture's tiles add up to its own.

    Args:
        second: sum of w a b^T, shape (C, D); for b = a and w = 1 the Gram matrix times the number of positions.
        first: sum of w a, shape (C,).
        weight: sum of w, a scalar.
    """

    second: Tensor
    first: Tensor
    weight: Tensor

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(self.second + other.second, self.first + other.first, self.weight + other.weight)

    def averaged(self, share: float = 1.0) -> "Moments":
        """Divided by their weight and multiplied by a share: such sums are the moments of a blend."""
        factor = share / self.weight.clamp_min(1e-8)
        return Moments(self.second * factor, self.first * factor, self.weight * factor)


def moments(features: Tensor, others: Tensor | None = None, weights: Tensor | None = None) -> Moments:
    """Sums over the positions of one picture, in float32 or better.

    Args:
        features: a, shape (1, C, H, W).
        others: b, shape (1, D, H, W); by default the features themselves.
        weights: w, shape (1, 1, H, W); by default 1 everywhere.
    """
    with torch.autocast(features.device.type, enabled=False):
        a = _by_position(features)
        b = a if others is None else _by_position(others)
        weighted = a if weights is None else a * _by_position(weights)
        count = features.new_tensor(len(a), dtype=a.dtype) if weights is None else weights.sum().to(a.dtype)
        second = _Squared.apply(a) if others is None and weights is None else weighted.T @ b
        return Moments(second, weighted.sum(0), count)


def _by_position(features: Tensor) -> Tensor:
    """Shape (H W, C): a view of what encoders return."""
    precise = features.to(torch.promote_types(features.dtype, torch.float32))
    return precise[0].permute(1, 2, 0).flatten(0, 1)
