"""One picture at a time, optimized: slower than a transfer network, and better."""

from nst_lightning.optimization.options import OptimizeOptions
from nst_lightning.optimization.pyramid import Interrupted, OptimizationError, Optimized, Progress, optimize_picture

__all__ = ["Interrupted", "OptimizationError", "OptimizeOptions", "Optimized", "Progress", "optimize_picture"]
