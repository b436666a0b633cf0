"""Training transfer networks on Lightning: the module, its data, its callbacks and its command line."""

from nst_lightning.training.callbacks import ExportOnnx, LastCheckpoint, PictureRate, PictureWriter, SampleSheet
from nst_lightning.training.data import PhotoDataModule
from nst_lightning.training.module import StyleTransfer

__all__ = [
    "ExportOnnx",
    "LastCheckpoint",
    "PhotoDataModule",
    "PictureRate",
    "PictureWriter",
    "SampleSheet",
    "StyleTransfer",
]
