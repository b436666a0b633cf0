"""From a trained network to one verified ONNX file."""

from nst_lightning.export.onnx import export_onnx

__all__ = ["export_onnx"]
