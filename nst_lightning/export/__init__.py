"""From a trained network to one verified ONNX file."""

import nst_lightning.needs_train  # noqa: F401
from nst_lightning.export.onnx import export_onnx

__all__ = ["export_onnx"]
