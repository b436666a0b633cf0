"""The callback that writes the pictures of `predict`."""

from collections.abc import Sequence
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import BasePredictionWriter
from torch import Tensor

from nst_lightning.errors import UserError, naming
from nst_lightning.images import Metadata, WritingOptions, expand_path, read_picture, require_folder, write_picture
from nst_lightning.training.data import PhotoDataModule


class PictureWriter(BasePredictionWriter):
    """Writes the pictures of `predict` as PNG files with the names, sub-folders, transparency and EXIF data of photos.

    Args:
        output: folder to write to.
        metadata: `keep` copies the photos' EXIF data and resolution, `no-location` all but the place and the maker's
            notes; `none` leaves only transparency and sRGB's profile.

    Attributes:
        failed: number of photos, of all processes, that could not be read in the last `predict`.
        total: number of all its photos.

    Raises:
        UserError: `metadata` is none of these.
    """

    def __init__(self, output: str = "out", metadata: Metadata = "keep") -> None:
        super().__init__("batch")
        self.options = WritingOptions(metadata=metadata)
        with naming("output"):
            self.output = expand_path(output)
        self._root, self._photos = Path(), list[Path]()
        self.failed, self.total = 0, 0

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Remember the files of the photos.

        Raises:
            UserError: the photos aren't from a `PhotoDataModule`, or `output` is a file, or inside their folder.
        """
        datamodule = getattr(trainer, "datamodule", None)
        folder = datamodule.folders["predict"] if isinstance(datamodule, PhotoDataModule) else None
        if folder is None or not isinstance(datamodule, PhotoDataModule):
            raise UserError("PictureWriter needs photos from a PhotoDataModule, which knows their names")
        require_folder(self.output)
        self._root = expand_path(folder)
        if self.output.resolve().is_relative_to(self._root.resolve()):
            raise UserError(
                f"output must be outside of {self._root}, or the next `predict` would stylize its pictures again, "
                f"got {self.output}",
                argument="output",
            )
        self._photos = datamodule.photos("predict")
        self.failed = self.total = 0
        trainer.predict_loop.return_predictions = False  # they would all be kept in memory

    def write_on_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        prediction: Tensor | None,
        batch_indices: Sequence[int] | None,
        batch: Tensor,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Write the pictures of a batch; `prediction` is None for a photo that could not be read."""
        self.total += len(batch_indices or ())
        if prediction is None:
            self.failed += len(batch_indices or ())
            return
        for index, pixels in zip(batch_indices or (), prediction):
            path = self._photos[index]
            name = path.relative_to(self._root)
            photo = read_picture(path)  # again, for what batches leave out
            picture = photo.with_pixels(pixels.float().cpu().numpy())
            write_picture(self.output / name.parent / f"{name.name}.png", picture, self.options)

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Count the photos of all processes, which waits until every process has written its pictures."""
        counts = torch.tensor([self.failed, self.total], device=pl_module.device)
        self.failed, self.total = trainer.strategy.reduce(counts, reduce_op="sum").tolist()
