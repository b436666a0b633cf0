"""Perceptual losses: pure functions, and the objective that training and optimization share."""

import nst_lightning.needs_train  # noqa: F401
from nst_lightning.losses.downsample import tent_downsample
from nst_lightning.losses.functional import (
    Normalization,
    content_divisor,
    content_loss,
    content_sums,
    covariance_root,
    gram_loss,
    grid_loss,
    mean_std_loss,
    normalize_weights,
    squared_difference,
    total_variation_loss,
    wasserstein_loss,
)
from nst_lightning.losses.layers import content_layers, layers_of_pairs, minimum_size, needed_layers, style_pairs
from nst_lightning.losses.options import Layers, ObjectiveOptions, StyleStatistic, check_content_target
from nst_lightning.losses.perceptual import PerceptualLoss
from nst_lightning.losses.sliced import Projections, Quantiles, Transport, draw_directions, project, sliced_loss
from nst_lightning.losses.statistics import Moments, gram_matrix, moments
from nst_lightning.losses.style import Draw, SlicedStyleLoss, Statistics, StyleLoss, build_style_loss

__all__ = [
    "Draw",
    "Layers",
    "Moments",
    "Normalization",
    "ObjectiveOptions",
    "PerceptualLoss",
    "Projections",
    "Quantiles",
    "SlicedStyleLoss",
    "Statistics",
    "StyleLoss",
    "StyleStatistic",
    "Transport",
    "build_style_loss",
    "check_content_target",
    "content_divisor",
    "content_layers",
    "content_loss",
    "content_sums",
    "covariance_root",
    "draw_directions",
    "gram_loss",
    "gram_matrix",
    "grid_loss",
    "layers_of_pairs",
    "mean_std_loss",
    "minimum_size",
    "moments",
    "needed_layers",
    "normalize_weights",
    "project",
    "sliced_loss",
    "squared_difference",
    "style_pairs",
    "tent_downsample",
    "total_variation_loss",
    "wasserstein_loss",
]
