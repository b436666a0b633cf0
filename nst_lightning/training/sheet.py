"""The callback that draws sample sheets."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import lightning as L
import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_info
from PIL import Image

from nst_lightning.encoders import image_to_tensor
from nst_lightning.errors import UserError, naming, require_at_least
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
from nst_lightning.training.data import PhotoDataModule
from nst_lightning.training.datasets import read_photo
from nst_lightning.training.folder import run_folder
from nst_lightning.training.last import stop_requested
from nst_lightning.training.module import StyleTransfer, require_style_transfer


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
        if not self.every_n_steps:
            return
        require_style_transfer(self, pl_module)
        if not trainer.is_global_zero:
            return
        problems = []
        for path in self._paths(getattr(trainer, "datamodule", None)):
            try:
                self.shown.append(resize_short_side(read_photo(path, short_side=self.short_side), self.short_side))
            except PictureError as error:
                problems.append(str(error))  # the data module warns of unreadable files
            if len(self.shown) == self.count:
                return
        if not self.shown:
            raise PictureError.about(self._source(trainer), f"none of the photos can be read; {problems[0]}")

    def _source(self, trainer: L.Trainer) -> str:
        """The argument that says where the photos are: this callback's, or one of the data module's."""
        if self.folder is not None:
            return "photos"
        folders = trainer.datamodule.folders  # type: ignore[attr-defined]
        return "train" if folders["val"] is None else "val"

    def _paths(self, datamodule: L.LightningDataModule | None) -> list[Path]:
        if self.folder is None and isinstance(datamodule, PhotoDataModule):
            return datamodule.photos("val")
        if self.folder is None:
            raise UserError.about("photos", "a folder of photos is needed without a PhotoDataModule")
        with naming("photos"):
            return list_pictures(expand_path(self.folder))

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
            self._draw(trainer, pl_module, last=True)

    def _draw(self, trainer: L.Trainer, pl_module: L.LightningModule, *, last: bool = False) -> None:
        step, folder = trainer.global_step, run_folder(trainer)
        if step == self._drawn_at or not trainer.is_global_zero:
            return
        module = cast(StyleTransfer, pl_module)
        try:
            sheet = self._sheet(module, step, wanted=lambda: last or not stop_requested(trainer))
        except _UnwantedError:
            return
        self._drawn_at = step
        path = folder / "sheets" / f"step-{step:06d}.png"
        write_picture(path, sheet)
        rank_zero_info(f"sample sheet: {path}")
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("sheet", np.asarray(sheet), step, dataformats="HWC")

    def _sheet(self, module: StyleTransfer, step: int, *, wanted: Callable[[], bool]) -> Image.Image:
        """One painting above pairs of photo and picture, or, for several styles, a row of pictures for each.

        Raises:
            _UnwantedError: `wanted` says before one of the pictures that the sheet isn't wanted any more.
        """

        def stylize(photo: Image.Image, style: int) -> Image.Image:
            if not wanted():
                raise _UnwantedError
            return _stylize(module, photo, style)

        if len(module.paintings) == 1:
            (painting,) = module.paintings.values()
            pairs = [(photo, stylize(photo, 0)) for photo in self.shown]
            caption = f"{module.record.title}\nstep {step}"
            return draw_sheet(painting, pairs, caption=caption, height=self.short_side)
        rows = [[(f"step {step}" if not i else "", photo) for i, photo in enumerate(self.shown)]]
        for style, (name, painting) in enumerate(module.paintings.items()):
            rows.append([("", stylize(photo, style)) for photo in self.shown] + [(name, painting)])
        return draw_labeled(rows, height=self.short_side)


class _UnwantedError(Exception):
    """A sheet that isn't wanted any more."""


@torch.no_grad()
def _stylize(module: StyleTransfer, photo: Image.Image, style: int) -> Image.Image:
    picture = module(image_to_tensor(photo).to(module.device), style)[0]
    return array_to_image(picture.float().cpu().numpy())
