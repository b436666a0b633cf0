"""The least squares fit of bottlenecks to the features of a teacher, with which their training starts."""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from nst_lightning.encoders import Encoder
from nst_lightning.encoders.base import pool
from nst_lightning.encoders.compressed import Bottleneck, BottleneckVGG

RIDGE = 1e-6
"""Relative to the mean energy of the inputs."""


@torch.no_grad()
def fit_bottlenecks(
    network: BottleneckVGG,
    teacher: Encoder,
    batches: Sequence[Tensor],
    total: Callable[[Tensor], Tensor],
    *,
    unseen: Collection[str],
) -> None:
    """Fit each bottleneck in turn to the teacher's convolution of that name.

    The inputs are those of the network, whose earlier bottlenecks have been fitted already, and the targets the
    teacher's own features, so that later ones make up for the errors of earlier ones (Zhang et al. 2016, Accelerating
    Very Deep Convolutional Networks for Classification and Detection, but before the ReLUs).

    Args:
        network: the network.
        teacher: the teacher, which offers all of the network's convolutions.
        batches: pictures, RGB in [0, 1], each of shape (N, 3, H, W).
        total: the sum of a tensor over all processes.
        unseen: convolutions of the teacher that nothing may learn from; their bottlenecks leave features as they are,
            as far as their ranks allow.
    """
    before = "relu3_1"
    for name, bottleneck in network.deep.items():
        inputs = [network(pictures, [before])[before] for pictures in batches]
        if name.endswith("_1"):  # a new block
            inputs = [pool(features, network.pooling) for features in inputs]
        if name in unseen:
            _fit_identity(cast(Bottleneck, bottleneck), inputs, total)
        else:
            targets = (teacher(pictures, [name])[name] for pictures in batches)
            _fit(cast(Bottleneck, bottleneck), inputs, targets, total)
        before = "relu" + name[4:]


def _fit(
    bottleneck: Bottleneck, inputs: Sequence[Tensor], targets: Iterable[Tensor], total: Callable[[Tensor], Tensor]
) -> None:
    """Fit the three convolutions to pairs of inputs and targets, shapes (N, C, H, W) and (N, D, H, W)."""
    narrow, last = bottleneck.conv.in_channels, bottleneck.conv.out_channels
    first = _basis(inputs, narrow, total)
    known = ((_patches(x, first.to(x)), _rows(y)) for x, y in zip(inputs, targets))
    # the products of neighborhoods with each other, and with the targets, side by side
    squares, mixed = total(_products((u, torch.cat([u, v])) for u, v in known)).tensor_split([9 * narrow + 1], dim=1)
    ridge = RIDGE * squares.diagonal().mean() * torch.eye(len(squares)).to(squares)
    weights, bias = torch.linalg.solve(squares + ridge, mixed).split([9 * narrow, 1])
    count, mean = squares[-1, -1], weights.T @ squares[:-1, -1] / squares[-1, -1]
    covariance = weights.T @ squares[:-1, :-1] @ weights / count - torch.outer(mean, mean)
    basis = _leading(covariance, last)
    bottleneck.reduce.weight.copy_(first.T[..., None, None])
    bottleneck.conv.weight.copy_((weights @ basis).T.reshape(last, narrow, 3, 3))
    bottleneck.expand.weight.copy_(basis[..., None, None])
    cast(Tensor, bottleneck.expand.bias).copy_(bias[0] + mean - basis @ (basis.T @ mean))


def _fit_identity(bottleneck: Bottleneck, inputs: Sequence[Tensor], total: Callable[[Tensor], Tensor]) -> None:
    """Make a bottleneck the projection of features of shape (N, C, H, W) on their leading directions."""
    rank = min(bottleneck.conv.in_channels, bottleneck.conv.out_channels)
    basis = _basis(inputs, rank, total)
    for parameter in bottleneck.parameters():
        parameter.zero_()
    bottleneck.reduce.weight[:rank] = basis.T[..., None, None].to(bottleneck.reduce.weight)
    bottleneck.conv.weight[range(rank), range(rank), 1, 1] = 1
    bottleneck.expand.weight[:, :rank] = basis[..., None, None].to(bottleneck.expand.weight)


def _basis(inputs: Sequence[Tensor], rank: int, total: Callable[[Tensor], Tensor]) -> Tensor:
    """The leading directions of features. Zeros pad them, so that their energy counts, not their variance."""
    return _leading(total(_products((_rows(x), _rows(x)) for x in inputs)), rank)


def _patches(inputs: Tensor, basis: Tensor) -> Tensor:
    """Neighborhoods of 3x3 positions in a basis of channels, (C, r), and ones: shape (9 r + 1, N H W)."""
    reduced = torch.einsum("nchw,cr->nrhw", inputs, basis)
    unfolded = F.unfold(reduced, 3, padding=1).transpose(0, 1).flatten(1)
    return torch.cat([unfolded, torch.ones_like(unfolded[:1])])


def _rows(features: Tensor) -> Tensor:
    """Features of shape (N, C, H, W) as a matrix of shape (C, N H W)."""
    return features.float().transpose(0, 1).flatten(1)


def _products(pairs: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """The sum of a @ b.T over pairs of matrices, in float64 on the CPU."""
    result = torch.zeros((), dtype=torch.float64)
    for a, b in pairs:
        result = result + (a @ b.T).cpu().double()
    return result


def _leading(symmetric: Tensor, count: int) -> Tensor:
    """The eigenvectors of the largest eigenvalues, as columns."""
    return torch.linalg.eigh(symmetric).eigenvectors[:, -count:]
