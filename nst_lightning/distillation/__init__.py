"""Training compact encoders to imitate VGG-19."""

from nst_lightning.distillation.module import Distillation

__all__ = ["Distillation"]
