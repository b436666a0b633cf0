"""Optimization of single pictures: slower than a transfer network, and better."""

import nst_lightning.needs_train  # noqa: F401
from nst_lightning.optimization.options import ColorOptions, MinimizerOptions, PyramidOptions
from nst_lightning.optimization.plan import Level, estimate_cost, plan_levels, shorten_for_warm_start
from nst_lightning.optimization.pyramid import optimize_picture
from nst_lightning.optimization.results import Interrupted, OptimizationError, Optimized, Progress, UnexpectedError

__all__ = [
    "ColorOptions",
    "Interrupted",
    "Level",
    "MinimizerOptions",
    "OptimizationError",
    "Optimized",
    "Progress",
    "PyramidOptions",
    "UnexpectedError",
    "estimate_cost",
    "optimize_picture",
    "plan_levels",
    "shorten_for_warm_start",
]
