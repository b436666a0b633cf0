"""Neural style transfer: train a transfer network on Lightning, export it to ONNX, stylize pictures with it."""

import os

# ONNX Runtime's telemetry would look up a host, keep a device id in the user's cache, and hang forked processes. Only
# this variable stops it, and only before its first import, hence here, before any module of this package.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"
