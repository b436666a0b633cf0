"""ONNX files at work, with ONNX Runtime and without torch."""

from nst_lightning.inference.models import ModelError, bundled_models
from nst_lightning.inference.stylizer import Stylizer

__all__ = ["ModelError", "Stylizer", "bundled_models"]
