"""Callbacks: sample sheets, checkpoints, and the ONNX file."""

import contextlib
import shutil
import time
from pathlib import Path
from typing import Any, cast

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_info
from PIL import Image
from torch import Tensor

from nst_lightning.encoders import image_to_tensor
from nst_lightning.errors import UserError, require, require_at_least
from nst_lightning.export import export_onnx
from nst_lightning.images import (
    PictureError,
    array_to_image,
    draw_labeled,
    draw_sheet,
    expand_path,
    list_pictures,
    resize_short_side,
    write_picture,
)
from nst_lightning.networks.layers import MINIMUM_SIZE
from nst_lightning.training.data import PhotoDataModule, read_photo
from nst_lightning.training.module import StyleTransfer


class SampleSheet(L.Callback):
    """Draws sheets of the painting and of photos beside their stylized pictures.

    Sheets are written to files such as `sheets/step-000250.png` in the run's folder, and to TensorBoard.

    Args:
        every_n_steps: number of steps between two sheets; the last step always has one. 0 draws no sheets.
        photos: folder of photos to show; by default the first held-out photos of the data module.
        count: number of photos on a sheet.
        short_side: short side at which photos are stylized, in pixels.
    """

    def __init__(
        self, every_n_steps: int = 250, photos: str | None = None, count: int = 4, short_side: int = 256
    ) -> None:
        require_at_least(0, every_n_steps=every_n_steps)
        require_at_least(1, count=count)
        require_at_least(MINIMUM_SIZE, short_side=short_side)
        self.every_n_steps, self.folder, self.count, self.short_side = every_n_steps, photos, count, short_side
        self.shown: list[Image.Image] = []
        self._drawn_at = -1

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Read the photos."""
        self.shown = []
        if not self.every_n_steps or not trainer.is_global_zero:
            return
        for path in self._paths(_datamodule_of(trainer)):
            with contextlib.suppress(PictureError):  # the data module warns of unreadable files
                self.shown.append(resize_short_side(read_photo(path, short_side=self.short_side), self.short_side))
            if len(self.shown) == self.count:
                break
        if not self.shown:
            raise PictureError.about("photos", "none of the photos can be read")

    def _paths(self, datamodule: L.LightningDataModule | None) -> list[Path]:
        if self.folder is None and isinstance(datamodule, PhotoDataModule):
            return datamodule.photos("val")
        if self.folder is None:
            raise UserError.about("photos", "a folder of photos is needed without a PhotoDataModule")
        try:
            return list_pictures(expand_path(self.folder))
        except PictureError as error:
            raise PictureError.about("photos", str(error)) from error

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Remember the first step, at which no sheet is drawn."""
        self._drawn_at = trainer.global_step

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Draw a sheet if one is due."""
        if self.every_n_steps and trainer.global_step % self.every_n_steps == 0:
            self._draw(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw the last sheet."""
        if self.every_n_steps:
            self._draw(trainer, pl_module)

    def _draw(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        step, folder = trainer.global_step, run_folder(trainer)
        if step == self._drawn_at or not trainer.is_global_zero:
            return
        self._drawn_at = step
        sheet = self._sheet(cast(StyleTransfer, pl_module), step)
        path = folder / "sheets" / f"step-{step:06d}.png"
        write_picture(path, sheet)
        rank_zero_info(f"sample sheet: {path}")
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("sheet", np.asarray(sheet), step, dataformats="HWC")

    def _sheet(self, module: StyleTransfer, step: int) -> Image.Image:
        """One painting above pairs of photo and picture, or, for several styles, a row of pictures for each."""
        if len(module.paintings) == 1:
            (painting,) = module.paintings.values()
            pairs = [(photo, _stylize(module, photo, 0)) for photo in self.shown]
            caption = f"{module.record.title}\nstep {step}"
            return draw_sheet(painting, pairs, caption=caption, height=self.short_side)
        rows = [[(f"step {step}" if not i else "", photo) for i, photo in enumerate(self.shown)]]
        for style, (name, painting) in enumerate(module.paintings.items()):
            rows.append([("", _stylize(module, photo, style)) for photo in self.shown] + [(name, painting)])
        return draw_labeled(rows, height=self.short_side)


class ExportOnnx(L.Callback):
    """Writes the network as a verified ONNX file when training ends.

    Args:
        filename: name of the ONNX file in the run's folder; empty to write none.
    """

    def __init__(self, filename: str = "style.onnx") -> None:
        good = not filename or Path(filename).suffix == ".onnx"
        require("filename", filename, good, "a name that ends in .onnx, or empty")
        self.filename = filename

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Export the network, from a copy on the CPU."""
        path = run_folder(trainer) / self.filename
        if not self.filename or not trainer.is_global_zero:
            return
        module = cast(StyleTransfer, pl_module)
        metadata = {**module.metadata, "steps": str(trainer.global_step)}
        difference = export_onnx(module.network, path, metadata=metadata)
        rank_zero_info(f"ONNX file: {path} (largest difference from torch {difference:.1e})")


class LastCheckpoint(Checkpoint):
    """Keeps the checkpoint `checkpoints/last.ckpt` in the run's folder, from which `ckpt_path` resumes exactly.

    Checkpoints are written under another name and then renamed, so that there is always a complete one.

    Args:
        every_n_steps: number of steps between two checkpoints; the last step always has one.
        keep_all: whether to keep every checkpoint, as `step-000250.ckpt`, not only the last.
    """

    def __init__(self, every_n_steps: int = 250, keep_all: bool = False) -> None:
        require_at_least(1, every_n_steps=every_n_steps)
        self.every_n_steps, self.keep_all = every_n_steps, keep_all
        self._saved_at = -1
        self._last: Path | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Remember the first step, at which nothing is saved, nor between its batches."""
        self._saved_at = trainer.global_step

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save a checkpoint if one is due."""
        if trainer.global_step % self.every_n_steps == 0:
            self._save(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the last checkpoint."""
        self._save(trainer)

    def _save(self, trainer: L.Trainer) -> None:
        step, folder = trainer.global_step, run_folder(trainer) / "checkpoints"
        if step == self._saved_at:
            return
        self._saved_at = step
        temporary = folder / ".last.ckpt"
        trainer.save_checkpoint(temporary, weights_only=False)  # the optimizer's state as well
        if not trainer.is_global_zero:
            return
        if self.keep_all:
            shutil.copy2(temporary, folder / f".step-{step:06d}.ckpt")
            (folder / f".step-{step:06d}.ckpt").replace(folder / f"step-{step:06d}.ckpt")
        temporary.replace(folder / "last.ckpt")
        self._last = folder / "last.ckpt"

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Report how to resume an interrupted run."""
        if self._last is not None:
            rank_zero_info(f"ended early; --ckpt_path {self._last} resumes from step {self._saved_at}")


class PictureRate(L.Callback):
    """Logs the training pictures per second on all devices, as a moving average over steps; reading photos counts."""

    def __init__(self) -> None:
        self._last: float | None = None
        self._seconds = 0.0

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Tensor, batch_idx: int
    ) -> None:
        """Log the rate since the last step."""
        now = time.perf_counter()
        if self._last is not None:
            seconds = now - self._last
            self._seconds = 0.9 * self._seconds + 0.1 * seconds if self._seconds else seconds
            pl_module.log("pictures_per_second", len(batch) * trainer.world_size / self._seconds, prog_bar=True)
        self._last = now

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Exclude validation between two steps from the rate."""
        self._last = None


def run_folder(trainer: L.Trainer) -> Path:
    """The folder of a run's files. All processes must call this together, since Lightning synchronizes the folder."""
    if isinstance(trainer.logger, TensorBoardLogger | CSVLogger):
        return Path(cast(str, trainer.log_dir))
    return Path(trainer.strategy.broadcast(trainer.default_root_dir))  # other loggers share one folder between runs


def _datamodule_of(trainer: L.Trainer) -> Any:
    """The data module of a run, if it has one."""
    return getattr(trainer, "datamodule", None)


@torch.no_grad()
def _stylize(module: StyleTransfer, photo: Image.Image, style: int) -> Image.Image:
    return _image(module(image_to_tensor(photo).to(module.device), style)[0])


def _image(picture: Tensor) -> Image.Image:
    return array_to_image(picture.float().cpu().numpy())
