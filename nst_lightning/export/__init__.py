"""From a trained network to one verified ONNX file."""

import nst_lightning.needs_train  # noqa: F401
from nst_lightning.export.onnx import export_onnx
from nst_lightning.export.variant import Variant
from nst_lightning.export.verification import Difference

__all__ = ["Difference", "Variant", "export_onnx"]
