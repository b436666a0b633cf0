"""Training a compact encoder to see as VGG-19 does."""

from nst_lightning.distillation.module import Distillation

__all__ = ["Distillation"]
