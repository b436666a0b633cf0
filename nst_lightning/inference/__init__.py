"""ONNX files at work, with ONNX Runtime and without torch."""

from nst_lightning.inference.models import ModelError, bundled_models
from nst_lightning.inference.stylizer import MINIMUM_SIZE, Stylizer

__all__ = ["MINIMUM_SIZE", "ModelError", "Stylizer", "bundled_models"]
