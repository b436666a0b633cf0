"""Training transfer networks on Lightning: the module, its data, its callbacks and its command line."""

from nst_lightning.training.callbacks import ExportOnnx, PictureRate, PictureWriter, SampleSheet
from nst_lightning.training.data import PhotoDataModule
from nst_lightning.training.module import StyleTransfer

__all__ = ["ExportOnnx", "PhotoDataModule", "PictureRate", "PictureWriter", "SampleSheet", "StyleTransfer"]
