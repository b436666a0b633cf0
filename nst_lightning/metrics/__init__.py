"""Quality figures that agree with the eye, and the evaluator that computes them."""

import nst_lightning.needs_train  # noqa: F401
from nst_lightning.metrics.correlation import ChannelCorrelation, channel_correlation
from nst_lightning.metrics.distances import (
    CONTENT_LAYER,
    DEFAULT_LAYERS,
    JUDGE_LAYERS,
    SCALES,
    STYLE_LAYERS,
    FigureLayers,
    PictureFeatures,
    extract_features,
    fine_energy,
    style_distance,
    to_chroma,
)
from nst_lightning.metrics.evaluator import (
    FIGURES,
    LEAST_COLOR_ENERGY,
    LEAST_SHORT_SIDE,
    SHORT_SIDE,
    Evaluator,
    resize_pictures,
)
from nst_lightning.metrics.group import (
    JUDGE_FIGURES,
    EvaluatorGroup,
    list_short_sides,
    measure_untouched,
    resize_to_each,
)
from nst_lightning.metrics.yardstick import build_yardstick

__all__ = [
    "CONTENT_LAYER",
    "DEFAULT_LAYERS",
    "FIGURES",
    "JUDGE_FIGURES",
    "JUDGE_LAYERS",
    "LEAST_COLOR_ENERGY",
    "LEAST_SHORT_SIDE",
    "SCALES",
    "SHORT_SIDE",
    "STYLE_LAYERS",
    "ChannelCorrelation",
    "Evaluator",
    "EvaluatorGroup",
    "FigureLayers",
    "PictureFeatures",
    "build_yardstick",
    "channel_correlation",
    "extract_features",
    "fine_energy",
    "list_short_sides",
    "measure_untouched",
    "resize_pictures",
    "resize_to_each",
    "style_distance",
    "to_chroma",
]
