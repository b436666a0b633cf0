"""What happens beside training itself: sample sheets, checkpoints, the ONNX file, written predictions."""

import contextlib
import shutil
import time
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import BasePredictionWriter, Checkpoint
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


class SampleSheet(L.Callback):
    """Draws photos beside their stylized pictures, with the painting, as PNG and in TensorBoard.

    Files go to `sheets/step-000250.png` in the run's folder.

    Args:
        every_n_steps: how often a sheet is drawn; the last step always has one. 0 draws none.
        photos: folder of photos to show; by default the first held-out photos of the data module.
        count: number of photos.
        short_side: at which photos are stylized, in pixels.
    """

    def __init__(
        self, every_n_steps: int = 250, photos: str | None = None, count: int = 4, short_side: int = 256
    ) -> None:
        require_at_least(0, every_n_steps=every_n_steps)
        require_at_least(1, count=count)
        require_at_least(MINIMUM_SIZE, short_side=short_side)
        self.every_n_steps, self.folder, self.count, self.short_side = every_n_steps, photos, count, short_side
        self._photos: list[Image.Image] = []
        self._drawn_at = -1

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Read the photos."""
        self._photos = []
        if not self.every_n_steps or not trainer.is_global_zero:
            return
        for path in self._paths(trainer.datamodule):
            with contextlib.suppress(PictureError):  # the data module names unreadable files
                self._photos.append(resize_short_side(read_photo(path, short_side=self.short_side), self.short_side))
            if len(self._photos) == self.count:
                break
        if not self._photos:
            raise PictureError.about("photos", "none of the photos can be read")

    def _paths(self, datamodule: L.LightningDataModule | None) -> list[Path]:
        if self.folder is None and isinstance(datamodule, PhotoDataModule):
            return datamodule.photos("val")
        if self.folder is None:
            raise UserError.about("photos", "without a PhotoDataModule, a folder of photos to show must be given")
        try:
            return list_pictures(expand_path(self.folder))
        except PictureError as error:
            raise PictureError.about("photos", str(error)) from error

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw nothing where the run begins."""
        self._drawn_at = trainer.global_step

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Draw, if it is time."""
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
        sheet = self._sheet(pl_module, step)
        path = folder / "sheets" / f"step-{step:06d}.png"
        write_picture(path, sheet)
        rank_zero_info(f"sample sheet: {path}")
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("sheet", np.asarray(sheet), step, dataformats="HWC")

    def _sheet(self, pl_module: L.LightningModule, step: int) -> Image.Image:
        """The one painting above pairs of photo and picture, or a row of pictures for each of several styles."""
        if len(pl_module.paintings) == 1:
            (painting,) = pl_module.paintings.values()
            pairs = [(photo, _stylize(pl_module, photo, 0)) for photo in self._photos]
            caption = f"{pl_module.record.title}\nstep {step}"
            return draw_sheet(painting, pairs, caption=caption, height=self.short_side)
        rows = [[(f"step {step}" if not i else "", photo) for i, photo in enumerate(self._photos)]]
        for style, (name, painting) in enumerate(pl_module.paintings.items()):
            rows.append([("", _stylize(pl_module, photo, style)) for photo in self._photos] + [(name, painting)])
        return draw_labeled(rows, height=self.short_side)


class ExportOnnx(L.Callback):
    """Writes the network as a verified ONNX file when training ends.

    Args:
        filename: of the ONNX file, in the run's folder. Nothing is written if it is empty.
    """

    def __init__(self, filename: str = "style.onnx") -> None:
        good = not filename or Path(filename).suffix == ".onnx"
        require("filename", filename, good, "a name that ends in .onnx, or empty")
        self.filename = filename

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Export from a copy on the CPU."""
        path = run_folder(trainer) / self.filename
        if not self.filename or not trainer.is_global_zero:
            return
        metadata = {**pl_module.metadata, "steps": str(trainer.global_step)}
        difference = export_onnx(pl_module.network, path, metadata=metadata)
        rank_zero_info(f"ONNX file: {path} (largest difference from torch {difference:.1e})")


class LastCheckpoint(Checkpoint):
    """Keeps `checkpoints/last.ckpt` in the run's folder, from which `ckpt_path` resumes exactly.

    Each is written under another name first and then renamed, so that there is always a complete one.

    Args:
        every_n_steps: how often a checkpoint is written; the end of the run always has one.
        keep_all: whether to keep each of them as well, as `step-000250.ckpt`.
    """

    def __init__(self, every_n_steps: int = 250, keep_all: bool = False) -> None:
        require_at_least(1, every_n_steps=every_n_steps)
        self.every_n_steps, self.keep_all = every_n_steps, keep_all
        self._saved_at, self._last = -1, None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save nothing where the run begins, nor between the batches of its first step."""
        self._saved_at = trainer.global_step

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save, if it is time."""
        if trainer.global_step % self.every_n_steps == 0:
            self._save(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the end of the run."""
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
        """Tell how to resume an interrupted run."""
        if self._last is not None:
            rank_zero_info(f"ended early; --ckpt_path {self._last} resumes from step {self._saved_at}")


class PictureRate(L.Callback):
    """Logs training pictures per second over all devices, including reading, as a moving average over steps."""

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
        """Leave validation between two steps out of the rate."""
        self._last = None


class PictureWriter(BasePredictionWriter):
    """Writes the pictures of `predict`, one PNG for each photo, under the photo's name and sub-folder.

    Args:
        output: the folder to write to.
    """

    def __init__(self, output: str = "out") -> None:
        super().__init__("batch")
        self.output = expand_path(output)
        self._names: list[Path] = []

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note the photos' names."""
        if not isinstance(trainer.datamodule, PhotoDataModule):
            raise UserError("PictureWriter needs photos from a PhotoDataModule, which knows their names")
        root = expand_path(trainer.datamodule.folders["predict"])
        if self.output.resolve().is_relative_to(root.resolve()):
            raise UserError(
                f"output must be outside of {root}, or the next `predict` would stylize its pictures again, "
                f"got {self.output}",
                argument="output",
            )
        self._names = [path.relative_to(root) for path in trainer.datamodule.photos("predict")]
        trainer.predict_loop.return_predictions = False  # they would all be kept in memory

    def write_on_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        prediction: Tensor | None,
        batch_indices: list[int],
        batch: Tensor,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Write the picture of a batch; a photo that could not be read has none."""
        if prediction is None:
            return
        for index, picture in zip(batch_indices, prediction):
            name = self._names[index]
            write_picture(self.output / name.parent / f"{name.name}.png", _image(picture))

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Wait for every process to have written."""
        trainer.strategy.barrier()


def run_folder(trainer: L.Trainer) -> Path:
    """Where a run keeps its files. All processes must call this together, since Lightning makes them agree on it."""
    if isinstance(trainer.logger, TensorBoardLogger | CSVLogger):
        return Path(trainer.log_dir)
    return Path(trainer.strategy.broadcast(trainer.default_root_dir))  # folders of other loggers are shared by runs


@torch.no_grad()
def _stylize(pl_module: L.LightningModule, photo: Image.Image, style: int) -> Image.Image:
    return _image(pl_module(image_to_tensor(photo).to(pl_module.device), style)[0])


def _image(picture: Tensor) -> Image.Image:
    return array_to_image(picture.float().cpu().numpy())
