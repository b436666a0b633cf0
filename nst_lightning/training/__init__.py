"""Training of transfer networks with Lightning: the module, the function that builds it, data and callbacks."""

import nst_lightning.needs_train  # noqa: F401
from nst_lightning.training.balance import StyleBalance
from nst_lightning.training.build import build_style_transfer
from nst_lightning.training.callbacks import ExportOnnx, PictureRate
from nst_lightning.training.data import PhotoDataModule
from nst_lightning.training.last import LastCheckpoint
from nst_lightning.training.metadata import Metadata, Record
from nst_lightning.training.module import StyleTransfer
from nst_lightning.training.optimizer import OptimizerOptions
from nst_lightning.training.sheet import SampleSheet
from nst_lightning.training.styles import StyleSampler
from nst_lightning.training.writer import PictureWriter

__all__ = [
    "ExportOnnx",
    "LastCheckpoint",
    "Metadata",
    "OptimizerOptions",
    "PhotoDataModule",
    "PictureRate",
    "PictureWriter",
    "Record",
    "SampleSheet",
    "StyleBalance",
    "StyleSampler",
    "StyleTransfer",
    "build_style_transfer",
]
