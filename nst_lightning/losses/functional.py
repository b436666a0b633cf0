"""Content, style, total variation and grid losses: pure functions."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from nst_lightning.errors import require
from nst_lightning.losses.statistics import Moments

Normalization = Literal["relative", "gatys", "mean"]
"""How losses are scaled: by the target's energy, as Gatys et al. 2015 wrote them, or by 1 / (4 n_H n_W n_C)."""

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
    features, target = _precise(features), _precise(target)
    squares = (features - target).square()
    if normalization == "relative":
        return squares.sum() / (target.square().sum() + _EPSILON)
    if normalization == "gatys":
        return squares.sum() / (2 * len(features))
    return squares.mean() / 4


def style_loss(
    gram: Tensor, target: Tensor, normalization: Normalization = "relative", weights: Tensor | None = None
) -> Tensor:
    """Style loss of one layer, between Gram matrices averaged over positions (see `gram_matrix`).

    - `relative`: sum (G - A)^2 / sum A^2, averaged over the batch.
    - `gatys` and `mean`: 1 / (4 N_l^2) sum (G - A)^2, which is Gatys' 1 / (4 N_l^2 M_l^2) sum (G - A)^2 for Gram
      matrices summed over the M_l positions, N_l being the channels; averaged over the batch. N_l^2 is N_l N_k for
      matrices between two layers.

    Args:
        gram: of the pictures, shape (N, C, C), or (N, C, D) between two layers.
        target: of the painting, same shape, or one for all.
        normalization: one of the three above.
        weights: of the pictures, shape (N,); by default 1.

    Returns:
        A scalar.
    """
    squares = (gram - target).square().sum(dim=(1, 2))
    if normalization == "relative":
        losses = squares / (target.square().sum(dim=(1, 2)) + _EPSILON)
    else:
        losses = squares / (4 * gram.shape[1] * gram.shape[2])
    return (losses if weights is None else losses * weights).mean()


def mean_std_loss(found: Moments, target: Moments, normalization: Normalization = "relative") -> Tensor:
    """Squared differences of the channels' means and standard deviations (Li et al. 2017, Demystifying Neural Style).

    Args:
        found: averaged moments of the picture's features with themselves.
        target: of the painting's.
        normalization: `relative` divides by the sum of the target's squares; otherwise by the number of channels.

    Returns:
        A scalar.
    """
    deviation, of_target = (
        (x.second.diagonal() - x.first.square()).clamp_min(_EPSILON).sqrt() for x in (found, target)
    )
    squares = (found.first - target.first).square().sum() + (deviation - of_target).square().sum()
    if normalization == "relative":
        return squares / (target.first.square().sum() + of_target.square().sum() + _EPSILON)
    return squares / len(deviation)


def wasserstein_loss(
    found: Moments, target: Moments, normalization: Normalization = "relative", *, root: Tensor | None = None
) -> Tensor:
    """Squared 2-Wasserstein distance between the Gaussians that have the features' means and covariances.

    |m - n|^2 + tr(C + D - 2 (D^1/2 C D^1/2)^1/2) (Olkin & Pukelsheim 1982). The roots come from eigenvalues in float64:
    for 512 channels on a CPU a third of the time that Newton-Schulz iterations take to come within 0.1 %.

    Args:
        found: averaged moments of the picture's features with themselves.
        target: of the painting's.
        normalization: `relative` divides by |n|^2 + tr D; otherwise by the number of channels.
        root: `covariance_root` of the target, where it is known already.

    Returns:
        A scalar.
    """
    covariance, of_target = (_covariance(x) for x in (found, target))
    root = covariance_root(target) if root is None else root
    between = root @ covariance @ root
    with torch.no_grad():  # d tr M^1/2 = 1/2 tr M^-1/2 dM; directions without variance have no slope that is finite
        values, vectors = torch.linalg.eigh(between)
        middle = values.clamp_min(0).sqrt().sum()
        least = 1e-8 * between.trace().clamp_min(_EPSILON)
        slope = (vectors * (values.clamp_min(least).rsqrt() / 2)) @ vectors.T
    middle = middle + (slope * (between - between.detach())).sum()
    spread = covariance.trace() + of_target.trace() - 2 * middle
    distance = (found.first - target.first).square().sum() + spread.to(found.first)
    if normalization == "relative":
        return distance / (target.second.trace() + _EPSILON)
    return distance / len(covariance)


@torch.no_grad()
def covariance_root(target: Moments) -> Tensor:
    """The symmetric root of the covariance of averaged moments, float64 on the CPU."""
    values, vectors = torch.linalg.eigh(_covariance(target))
    return (vectors * values.clamp_min(0).sqrt()) @ vectors.T


def _covariance(averaged: Moments) -> Tensor:
    """In float64 on the CPU, where eigenvalues of matrices of this size are quick, and to be had."""
    return (averaged.second - torch.outer(averaged.first, averaged.first)).cpu().double()


def total_variation_loss(pictures: Tensor) -> Tensor:
    """Mean squared difference between neighbors, down plus across, of pictures of shape (N, C, H, W); a scalar.

    Values from 0 (flat) to 2 (a chessboard of pixels); photographs have about 0.01.
    """
    pictures = _precise(pictures)
    down = (pictures[..., 1:, :] - pictures[..., :-1, :]).square().mean()
    across = (pictures[..., :, 1:] - pictures[..., :, :-1]).square().mean()
    return down + across


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


def shares_of(name: str, weights: Mapping) -> dict:
    """The weights divided by their sum."""
    total = sum(weights.values())
    good = all(weight >= 0 for weight in weights.values()) and total > 0
    require(name, dict(weights), good, "weights >= 0, one of them > 0")
    return {key: weight / total for key, weight in weights.items() if weight > 0}
