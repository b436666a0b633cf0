"""Neural style transfer: train a transfer network on Lightning, export it to ONNX, stylize pictures with it."""

__version__ = "0.1.0"
