"""Stylizing with ONNX files: ONNX Runtime only, without torch."""

from nst_lightning.inference.input_shape import MINIMUM_SIZE, InputShape
from nst_lightning.inference.models import DEFAULT_MODEL, ModelError, bundled_models, find_model
from nst_lightning.inference.steady import Steadier
from nst_lightning.inference.stylizer import Stylizer, check_short_side, check_strokes

__all__ = [
    "DEFAULT_MODEL",
    "MINIMUM_SIZE",
    "InputShape",
    "ModelError",
    "Steadier",
    "Stylizer",
    "bundled_models",
    "check_short_side",
    "check_strokes",
    "find_model",
]
