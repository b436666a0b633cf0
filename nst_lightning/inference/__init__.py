"""ONNX files at work, with ONNX Runtime and without torch."""

from nst_lightning.inference.stylizer import ModelError, Stylizer

__all__ = ["ModelError", "Stylizer"]
