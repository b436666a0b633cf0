"""Content, style, total variation and grid losses: pure functions."""

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from nst_lightning.errors import require
from nst_lightning.images.color import LUMA
from nst_lightning.losses.statistics import Moments

Normalization = Literal["relative", "gatys", "mean"]
"""How losses are scaled: relative to the target's energy, as in Gatys et al. 2015, or by 1 / (4 n_H n_W n_C)."""

Key = TypeVar("Key")
_EPSILON = 1e-8
_CHROMA = torch.eye(3)[[2, 0]] - torch.from_numpy(LUMA).float()  # blue and red minus the luma, for Cb and Cr
_CHROMA /= 2 * _CHROMA.amax(1, keepdim=True)
_CHROMA_PRODUCT = _CHROMA.T @ _CHROMA
_FLAT = 1e-4  # second differences, for values in [0, 1], below which no grid is seen


def content_loss(features: Tensor, target: Tensor, normalization: Normalization = "relative") -> Tensor:
    """Content loss between features F of the picture and P of the photo.

    - `relative`: sum (F - P)^2 / sum P^2, with sums over the whole batch, so that a nearly flat photo with little
      energy doesn't outweigh the others.
    - `gatys`: 1/2 sum (F - P)^2 of each picture (Gatys et al. 2015, equation 1), averaged over the batch.
    - `mean`: 1 / (4 n_H n_W n_C) sum (F - P)^2 of each picture, averaged over the batch.

    Args:
        features: F, shape (N, C, H, W).
        target: P, same shape.
        normalization: one of the three above.

    Returns:
        The loss, a scalar.
    """
    squares, energy = content_sums(features, target)
    return squares.sum() / content_divisor(energy.sum(), target.numel(), len(target), normalization)


def squared_difference(features: Tensor, target: Tensor) -> Tensor:
    """Sum of (F - P)^2, a scalar."""
    return (_to_float32(features) - _to_float32(target)).square().sum()


def content_sums(features: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Sums of (F - P)^2 and of P^2 of each picture, both of shape (N,): numerator and denominator of its content."""
    features, target = _to_float32(features), _to_float32(target)
    return (features - target).square().sum((1, 2, 3)), target.square().sum((1, 2, 3))


def content_divisor(energy: Tensor | float, count: int, pictures: int, normalization: Normalization) -> Tensor | float:
    """The divisor of the sum of squared differences in `content_loss`, for sums over the tiles of a picture.

    Args:
        energy: sum of P^2.
        count: number of values in P.
        pictures: number of photos in P.
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
        gram: G, of the pictures, shape (N, C, C), or (N, C, D) between two layers.
        target: A, of the paintings, same shape, or shape (1, C, C) for one painting.
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
        found: averaged moments of the pictures' features.
        target: averaged moments of the paintings' features.
        normalization: `relative` divides by the sum of the target's squares; the others divide by the number of
            channels.

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
    """Squared 2-Wasserstein distance between Gaussians with the means and covariances of the features.

    |m - n|^2 + tr(C + D - 2 (D^1/2 C D^1/2)^1/2) (Olkin & Pukelsheim 1982). The roots are computed from eigenvalues in
    float64; for 512 channels on a CPU, this takes a third of the time that Newton-Schulz iterations need for 0.1 %.

    Args:
        found: averaged moments of the pictures' features: mean m and covariance C.
        target: averaged moments of the paintings' features: mean n and covariance D.
        normalization: `relative` divides by |n|^2 + tr D; the others divide by the number of channels.
        root: `covariance_root` of the target, if it has been computed already.

    Returns:
        The loss of each picture, shape (N,).
    """
    covariance, target_covariance = _covariance(found), _covariance(target)
    root = covariance_root(target) if root is None else root
    product = root @ covariance @ root
    with torch.no_grad():  # d tr M^1/2 = 1/2 tr M^-1/2 dM, which is not finite in directions without variance
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
    """The symmetric square roots of covariances, from averaged moments: shape (N, C, C), float64 on the CPU."""
    values, vectors = torch.linalg.eigh(_covariance(target))
    return (vectors * values.clamp_min(0).sqrt()[:, None]) @ vectors.mT


def _covariance(averaged: Moments) -> Tensor:
    """The covariance in float64, on the CPU, where eigenvalues of such matrices are fast and always available."""
    return (averaged.second - averaged.first[:, :, None] * averaged.first[:, None]).cpu().double()


def _deviations(averaged: Moments) -> Tensor:
    return (averaged.second.diagonal(dim1=1, dim2=2) - averaged.first.square()).clamp_min(_EPSILON).sqrt()


def _trace(matrices: Tensor) -> Tensor:
    return matrices.diagonal(dim1=1, dim2=2).sum(1)


def total_variation_loss(pictures: Tensor, *, color: float = 0.0) -> Tensor:
    """Mean squared difference between neighbors, down plus across; a scalar (Mahendran & Vedaldi 2015, with beta = 2).

    It ranges from 0 (flat) to 2 for a checkerboard of black and white pixels; photographs have about 0.01.

    Args:
        pictures: RGB pictures, shape (N, 3, H, W).
        color: how many times the sum of the squared differences of Cb and Cr is added to that of red, green and blue.
    """
    return _Variation.apply(_to_float32(pictures), color)


class _Variation(torch.autograd.Function):
    """Total variation with a gradient that takes half of autograd's memory, which matters for large pictures."""

    @staticmethod
    def forward(ctx: Any, pictures: Tensor, color: float) -> Tensor:
        ctx.save_for_backward(pictures)
        ctx.weights = (torch.eye(3) + color * _CHROMA_PRODUCT).tolist() if color else None
        differences = (pictures.diff(dim=axis) for axis in (-2, -1))
        down, across = ((difference * _weigh(difference, ctx.weights)).mean() for difference in differences)
        return down + across

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        (pictures,) = ctx.saved_tensors
        gradient = torch.zeros_like(pictures)
        for axis in (-2, -1):
            difference, last = _weigh(pictures.diff(dim=axis), ctx.weights), pictures.shape[axis] - 1
            difference *= slope * (2 / difference.numel())
            gradient.narrow(axis, 1, last).add_(difference)
            gradient.narrow(axis, 0, last).sub_(difference)
        return gradient, None


def _weigh(differences: Tensor, weights: list[list[float]] | None) -> Tensor:
    """A 3x3 matrix of weights times the differences, of shape (N, 3, H, W), or the differences if there is none."""
    if weights is None:
        return differences
    (red, green, blue), weighted = differences.unbind(1), torch.empty_like(differences)
    for channel, (r, g, b) in zip(weighted.unbind(1), weights):  # autocast makes matrix products in half precision
        torch.mul(red, r, out=channel).add_(green, alpha=g).add_(blue, alpha=b)
    return weighted


def grid_loss(pictures: Tensor) -> Tensor:
    """The difference between odd and even rows, and columns, which shows as a grid if networks make pixels in pairs.

    It is the squared logarithm of the ratio of their mean second differences, averaged over the batch and both
    directions, for pictures of shape (N, C, H, W), at least 4x4; a scalar. Photographs have about 0.001, pictures with
    a visible grid 0.03 and more.
    """
    pictures = _to_float32(pictures)
    ratios = []
    for bends in (pictures.diff(n=2, dim=2).abs().mean((1, 3)), pictures.diff(n=2, dim=3).abs().mean((1, 2))):
        odd, even = (bends[:, first::2].mean(1) + _FLAT for first in (0, 1))
        ratios.append(odd / even)
    return torch.cat(ratios).log().square().mean()


def _to_float32(x: Tensor) -> Tensor:
    """Convert to float32 at least: in float16, sums of squares overflow and small differences vanish."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def normalize_weights(name: str, weights: Mapping[Key, float]) -> dict[Key, float]:
    """Divide weights by their sum, and leave out those that are 0.

    Args:
        name: name of the argument, for the error message.
        weights: the weights by layers, scales or other keys.

    Raises:
        UserError: a weight is negative, or all are 0.
    """
    total = sum(weights.values())
    good = all(weight >= 0 for weight in weights.values()) and total > 0
    require(name, dict(weights), good, "weights >= 0, one of them > 0")
    return {key: weight / total for key, weight in weights.items() if weight > 0}
