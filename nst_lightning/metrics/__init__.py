"""Quality figures that agree with the eye, and the evaluator that computes them."""

from nst_lightning.metrics.correlation import ChannelCorrelation, channel_correlation
from nst_lightning.metrics.distances import (
    CONTENT_LAYER,
    SCALES,
    STYLE_LAYERS,
    PictureFeatures,
    extract_features,
    fine_energy,
    style_distance,
)
from nst_lightning.metrics.evaluator import FIGURES, LEAST_SHORT_SIDE, SHORT_SIDE, Evaluator, resize_pictures

__all__ = [
    "CONTENT_LAYER",
    "FIGURES",
    "LEAST_SHORT_SIDE",
    "SCALES",
    "SHORT_SIDE",
    "STYLE_LAYERS",
    "ChannelCorrelation",
    "Evaluator",
    "PictureFeatures",
    "channel_correlation",
    "extract_features",
    "fine_energy",
    "resize_pictures",
    "style_distance",
]
