"""Content, style, total variation and grid losses: pure functions."""

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from nst_lightning.errors import require
from nst_lightning.losses.statistics import Moments

Normalization = Literal["relative", "gatys", "mean"]
"""How losses are scaled: by the target's energy, as Gatys et al. 2015 wrote them, or by 1 / (4 n_H n_W n_C)."""

Key = TypeVar("Key")
_EPSILON = 1e-8
_FLAT = 1e-4  # second differences, of 1, below which no grid is seen


def content_loss(features: Tensor, target: Tensor, normalization: Normalization = "relative") -> Tensor:
    """Content loss between features F of the picture and P of the photo.

    - `relative`: sum (F - P)^2 / sum P^2, sums over the whole batch, so that a nearly flat photo with little energy of
      its own doesn't outweigh the others.
    - `gatys`: 1/2 sum (F - P)^2 of each picture (Gatys et al. 2015, equation 1), averaged over the batch.
    - `mean`: 1 / (4 n_H n_W n_C) sum (F - P)^2 of each picture, averaged over the batch.

    Args:
        features: shape (N, C, H, W).
        target: same shape.
        normalization: one of the three above.

    Returns:
        A scalar.
    """
    squares, energy = squared_difference(features, target), _precise(target).square().sum()
    return squares / content_divisor(energy, target.numel(), len(target), normalization)


def squared_difference(features: Tensor, target: Tensor) -> Tensor:
    """Sum of (F - P)^2, a scalar."""
    return (_precise(features) - _precise(target)).square().sum()


def content_divisor(energy: Tensor | float, count: int, pictures: int, normalization: Normalization) -> Tensor | float:
    """What the sum of squared differences is divided by in `content_loss`: for those who sum over parts of a picture.

    Args:
        energy: sum of P^2.
        count: how many values P has.
        pictures: of how many photos they are.
        normalization: see `content_loss`.
    """
    if normalization == "relative":
        return energy + _EPSILON
    return 2 * pictures if normalization == "gatys" else 4 * count


def gram_loss(gram: Tensor, target: Tensor, normalization: Normalization = "relative") -> Tensor:
    """Style loss of one layer, between Gram matrices averaged over positions (see `gram_matrix`).

    - `relative`: sum (G - A)^2 / sum A^2.
    - `gatys` and `mean`: 1 / (4 N_l^2) sum (G - A)^2, which is Gatys' 1 / (4 N_l^2 M_l^2) sum (G - A)^2 for Gram
      matrices summed over the M_l positions, N_l being the channels. N_l^2 is N_l N_k for matrices between two layers.

    Args:
        gram: of the pictures, shape (N, C, C), or (N, C, D) between two layers.
        target: of the paintings, same shape, or one for all.
        normalization: one of the three above.

    Returns:
        The loss of each picture, shape (N,).
    """
    squares = (gram - target).square().sum(dim=(1, 2))
    if normalization == "relative":
        return squares / (target.square().sum(dim=(1, 2)) + _EPSILON)
    return squares / (4 * gram.shape[1] * gram.shape[2])


def mean_std_loss(found: Moments, target: Moments, normalization: Normalization = "relative") -> Tensor:
    """Squared differences of the channels' means and standard deviations (Li et al. 2017, Demystifying Neural Style).

    Args:
        found: averaged moments of the pictures' features with themselves.
        target: of the paintings'.
        normalization: `relative` divides by the sum of the target's squares; otherwise by the number of channels.

    Returns:
        The loss of each picture, shape (N,).
    """
    deviations, target_deviations = _deviations(found), _deviations(target)
    squares = (found.first - target.first).square().sum(1) + (deviations - target_deviations).square().sum(1)
    if normalization == "relative":
        return squares / (target.first.square().sum(1) + target_deviations.square().sum(1) + _EPSILON)
    return squares / deviations.shape[1]


def wasserstein_loss(
    found: Moments, target: Moments, normalization: Normalization = "relative", *, root: Tensor | None = None
) -> Tensor:
    """Squared 2-Wasserstein distance between the Gaussians that have the features' means and covariances.

    |m - n|^2 + tr(C + D - 2 (D^1/2 C D^1/2)^1/2) (Olkin & Pukelsheim 1982). The roots come from eigenvalues in float64:
    for 512 channels on a CPU a third of the time that Newton-Schulz iterations take to come within 0.1 %.

    Args:
        found: averaged moments of the pictures' features with themselves.
        target: of the paintings'.
        normalization: `relative` divides by |n|^2 + tr D; otherwise by the number of channels.
        root: `covariance_root` of the target, where it is known already.

    Returns:
        The loss of each picture, shape (N,).
    """
    covariance, target_covariance = _covariance(found), _covariance(target)
    root = covariance_root(target) if root is None else root
    product = root @ covariance @ root
    with torch.no_grad():  # d tr M^1/2 = 1/2 tr M^-1/2 dM; directions without variance have no slope that is finite
        values, vectors = torch.linalg.eigh(product)
        trace = values.clamp_min(0).sqrt().sum(1)
        least = 1e-8 * _trace(product).clamp_min(_EPSILON)
        slope = (vectors * (values.clamp_min(least[:, None]).rsqrt() / 2)[:, None]) @ vectors.mT
    trace = trace + (slope * (product - product.detach())).sum((1, 2))
    spread = _trace(covariance) + _trace(target_covariance) - 2 * trace
    distance = (found.first - target.first).square().sum(1) + spread.to(found.first)
    if normalization == "relative":
        return distance / (target.first.square().sum(1) + _trace(target_covariance).to(distance) + _EPSILON)
    return distance / covariance.shape[1]


@torch.no_grad()
def covariance_root(target: Moments) -> Tensor:
    """The symmetric roots of the covariances of averaged moments, shape (N, C, C), float64 on the CPU."""
    values, vectors = torch.linalg.eigh(_covariance(target))
    return (vectors * values.clamp_min(0).sqrt()[:, None]) @ vectors.mT


def _covariance(averaged: Moments) -> Tensor:
    """In float64 on the CPU, where the eigenvalues of matrices of this size are quick, and available everywhere."""
    return (averaged.second - averaged.first[:, :, None] * averaged.first[:, None]).cpu().double()


def _deviations(averaged: Moments) -> Tensor:
    return (averaged.second.diagonal(dim1=1, dim2=2) - averaged.first.square()).clamp_min(_EPSILON).sqrt()


def _trace(matrices: Tensor) -> Tensor:
    return matrices.diagonal(dim1=1, dim2=2).sum(1)


def total_variation_loss(pictures: Tensor) -> Tensor:
    """Mean squared difference between neighbors, down plus across, of pictures of shape (N, C, H, W); a scalar.

    Values from 0 (flat) to 2 (a chessboard of pixels); photographs have about 0.01.
    """
    return _Variation.apply(_precise(pictures))


class _Variation(torch.autograd.Function):
    """Total variation, whose gradient takes a third of the memory of autograd's own: large pictures need the rest."""

    @staticmethod
    def forward(ctx: Any, pictures: Tensor) -> Tensor:
        ctx.save_for_backward(pictures)
        down, across = (pictures.diff(dim=axis).square_().mean() for axis in (-2, -1))
        return down + across

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        (pictures,) = ctx.saved_tensors
        gradient = torch.zeros_like(pictures)
        for axis in (-2, -1):
            difference, last = pictures.diff(dim=axis), pictures.shape[axis] - 1
            difference *= slope * (2 / difference.numel())
            gradient.narrow(axis, 1, last).add_(difference)
            gradient.narrow(axis, 0, last).sub_(difference)
        return gradient


def grid_loss(pictures: Tensor) -> Tensor:
    """How unlike odd and even rows, and columns, are: of networks that make pixels in pairs, which is seen as a grid.

    Squared logarithm of the ratio of their mean second differences, averaged over the batch and both directions, of
    pictures of shape (N, C, H, W), at least 4x4; a scalar. Photographs have about 0.001, a visible grid 0.03 and more.
    """
    pictures = _precise(pictures)
    ratios = []
    for bends in (pictures.diff(n=2, dim=2).abs().mean((1, 3)), pictures.diff(n=2, dim=3).abs().mean((1, 2))):
        odd, even = (bends[:, first::2].mean(1) + _FLAT for first in (0, 1))
        ratios.append(odd / even)
    return torch.cat(ratios).log().square().mean()


def _precise(x: Tensor) -> Tensor:
    """At least float32: sums of squares overflow, and small differences vanish, in float16."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def normalize_weights(name: str, weights: Mapping[Key, float]) -> dict[Key, float]:
    """The weights divided by their sum, without those that are 0.

    Raises:
        UserError: a weight is negative, or none is more than 0; the message begins with the name.
    """
    total = sum(weights.values())
    good = all(weight >= 0 for weight in weights.values()) and total > 0
    require(name, dict(weights), good, "weights >= 0, one of them > 0")
    return {key: weight / total for key, weight in weights.items() if weight > 0}
