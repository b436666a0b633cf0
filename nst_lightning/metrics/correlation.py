"""How well one encoder's features agree with another's, channel by channel."""

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat


def channel_correlation(features: Tensor, targets: Tensor) -> Tensor:
    """Pearson's correlation over positions, for each channel: 0 for constant features, NaN for constant targets.

    Args:
        features: features of one encoder, shape (N, C, H, W).
        targets: features of the other encoder, same shape.

    Returns:
        The correlations, shape (N, C).
    """
    a, b = (x.double().flatten(2) - x.double().flatten(2).mean(2, keepdim=True) for x in (features, targets))
    energy_a, energy_b = a.square().sum(2), b.square().sum(2)
    found = (a * b).sum(2) / (energy_a * energy_b).sqrt().clamp_min(1e-30)
    return torch.where(energy_b > 0, found, torch.nan)


class ChannelCorrelation(Metric):
    """The median correlation of one encoder's channels with another's, and of these the median over pictures."""

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    values: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("values", default=[], dist_reduce_fx="cat")

    @torch.no_grad()
    def update(self, features: Tensor, targets: Tensor) -> None:
        """Add features of pictures, and the features they should equal, both of shape (N, C, H, W)."""
        self.values.append(channel_correlation(features, targets).nanmedian(dim=1).values)

    def compute(self) -> Tensor:
        """The median over pictures, a scalar."""
        return dim_zero_cat(self.values).quantile(0.5, dim=0)
