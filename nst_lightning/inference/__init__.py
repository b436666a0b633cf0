"""ONNX files at work, with ONNX Runtime and without torch."""

from nst_lightning.inference.models import DEFAULT_MODEL, ModelError, bundled_models
from nst_lightning.inference.stylizer import MINIMUM_SIZE, Stylizer

__all__ = ["DEFAULT_MODEL", "MINIMUM_SIZE", "ModelError", "Stylizer", "bundled_models"]
