"""Perceptual losses: pure functions, and the objective that training and optimization share."""

from nst_lightning.losses.downsample import shrink, tent_downsample
from nst_lightning.losses.functional import (
    Normalization,
    content_loss,
    covariance_root,
    grid_loss,
    mean_std_loss,
    shares_of,
    style_loss,
    total_variation_loss,
    wasserstein_loss,
)
from nst_lightning.losses.options import Layers, ObjectiveOptions, StyleStatistic
from nst_lightning.losses.perceptual import PerceptualLoss
from nst_lightning.losses.statistics import Moments, gram_matrix, moments

__all__ = [
    "Layers",
    "Moments",
    "Normalization",
    "ObjectiveOptions",
    "PerceptualLoss",
    "StyleStatistic",
    "content_loss",
    "covariance_root",
    "gram_matrix",
    "grid_loss",
    "mean_std_loss",
    "moments",
    "shares_of",
    "shrink",
    "style_loss",
    "tent_downsample",
    "total_variation_loss",
    "wasserstein_loss",
]
