"""How a picture looks to VGG: encoders, feature statistics, losses and quality metrics."""

from nst_lightning.perception.compact import CompactEncoder
from nst_lightning.perception.encoders import VGG19, Encoder, EncoderChain
from nst_lightning.perception.losses import (
    Normalization,
    PerceptualLoss,
    content_loss,
    grid_loss,
    mean_std_loss,
    style_loss,
    total_variation_loss,
    wasserstein_loss,
)
from nst_lightning.perception.metrics import ContentDistance, Grit, StyleDistance
from nst_lightning.perception.statistics import Moments, gram_matrix, moments, shrink

__all__ = [
    "VGG19",
    "CompactEncoder",
    "ContentDistance",
    "Encoder",
    "EncoderChain",
    "Grit",
    "Moments",
    "Normalization",
    "PerceptualLoss",
    "StyleDistance",
    "content_loss",
    "gram_matrix",
    "grid_loss",
    "mean_std_loss",
    "moments",
    "shrink",
    "style_loss",
    "total_variation_loss",
    "wasserstein_loss",
]
