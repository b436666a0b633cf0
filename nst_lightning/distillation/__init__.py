"""Training small encoders to imitate VGG-19 and VGG-16."""

import nst_lightning.needs_train  # noqa: F401
from nst_lightning.distillation.module import Distillation
from nst_lightning.distillation.students import BottleneckStudent, NarrowStudent, Student

__all__ = ["BottleneckStudent", "Distillation", "NarrowStudent", "Student"]
