"""Photos to train on, from any folder and of every format; unreadable files are skipped, with a notice."""

from pathlib import Path
from typing import Any, cast

import lightning as L
import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from nst_lightning.encoders import resize_tensor
from nst_lightning.errors import Notice, UserError, naming, require_at_least
from nst_lightning.images import PictureError, expand_path, list_pictures
from nst_lightning.limits import usable_processors
from nst_lightning.networks.layers import MINIMUM_SIZE
from nst_lightning.system import leave_signals_to_parent
from nst_lightning.training.datasets import Batch, FullSizePhotos, RandomCrops, WholePhotos, collate
from nst_lightning.training.sampler import PlaceSampler

_MANY_BATCHES = 10**7
"""More batches than a run without a number of steps or epochs will draw."""


class PhotoDataModule(L.LightningDataModule):
    """Folders of photos as batches of RGB in [0, 1], shape (N, 3, H, W).

    Training photos are scaled at random, cropped to a square and flipped. The same seed and position in the run always
    give the same crop, so an interrupted run resumes exactly. Validation, test and prediction use whole photos, one
    at a time.

    Args:
        train: folder of photos to train on, searched recursively.
        val: folder of held-out photos; by default every 20th training photo, at most 32, is held out.
        test: folder of photos for `test`; by default the held-out ones.
        predict: folder of photos for `predict`.
        short_side: short side to which photos are scaled, and side of the square training crops, in pixels.
        max_scale: largest of the random factors, from 1 on, that enlarge training photos before they are cropped.
        surroundings: pixels by which training crops are larger than `short_side`. The network paints every other batch
            at this larger size, and losses see a part of it, since most of a large picture is far from its borders. The
            other batches are scaled down to `short_side`.
        flip: whether half of the training photos are mirrored.
        batch_size: number of training photos in each step, on each device.
        workers: number of processes that read photos; 0 reads them in the main process. By default two, or one where
            this process may use a single processor.
        seed: random seed of the order, scales, crops and flips.

    Raises:
        UserError: a number is out of range. Folders are checked when they are first needed.
    """

    def __init__(
        self,
        train: str | None = None,
        val: str | None = None,
        test: str | None = None,
        predict: str | None = None,
        short_side: int = 256,
        max_scale: float = 1.25,
        surroundings: int = 0,
        flip: bool = True,
        batch_size: int = 4,
        workers: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        require_at_least(MINIMUM_SIZE, short_side=short_side)
        require_at_least(1, max_scale=max_scale, batch_size=batch_size)
        require_at_least(0, surroundings=surroundings, workers=workers, seed=seed)
        self.folders = {"train": train, "val": val, "test": test, "predict": predict}
        self.short_side, self.max_scale, self.flip = short_side, max_scale, flip
        self.surroundings = surroundings
        self.workers = min(2, usable_processors()) if workers is None else workers
        self.batch_size, self.seed = batch_size, seed
        self._first_batch = 0
        self._unreadable: dict[str, None] = {}

    def photos(self, split: str) -> list[Path]:
        """The files of a split: `train`, `val`, `test` or `predict`.

        Raises:
            UserError: the split has no folder, or its folder is missing or has no pictures.
        """
        if self.folders[split] is None and split == "test":
            return self.photos("val")
        if split in ("train", "val") and self.folders["val"] is None:
            found = self._list("train")
            if len(found) < 2:
                raise PictureError.about("val", f"{self.folders['train']} has a single photo, which can't be held out")
            every = max(20, len(found) // 32 + 1)
            return found[::every] if split == "val" else [path for i, path in enumerate(found) if i % every]
        return self._list(split)

    def prepare_data(self) -> None:
        """Look for the photos before Lightning's loggers create a folder; of several processes, only one comes here."""
        if self.trainer is not None and self.trainer.world_size == 1 and self.trainer.state.fn is not None:
            self._check(self.trainer.state.fn.value)

    def setup(self, stage: str) -> None:
        """Look for the photos before any work is done.

        Raises:
            UserError: as for `photos`.
        """
        self._check(stage)

    def _check(self, stage: str) -> None:
        validates = self.trainer is None or self.trainer.limit_val_batches != 0
        splits = {"fit": ["train", "val"] if validates else ["train"], "validate": ["val"]}
        for split in splits.get(stage, [stage]):
            self.photos(split)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Batches of random crops; in a resumed run, those after the batch at which it stopped."""
        dataset = RandomCrops(
            self.photos("train"), self.short_side + self.surroundings, self.max_scale, self.flip, self.seed
        )
        trainer = self.trainer
        replicas, rank = (trainer.world_size, trainer.global_rank) if trainer else (1, 0)
        if trainer and trainer.max_steps > 0:  # one epoch for the whole run, as the progress bar shows it
            batches = trainer.max_steps * trainer.accumulate_grad_batches
        elif trainer and trainer.max_epochs == -1:  # the clock ends the run, and workers would pause between epochs
            batches = _MANY_BATCHES
        else:
            batches = max(1, len(dataset) // (replicas * self.batch_size))
        limit = trainer.limit_train_batches if trainer else 1.0
        used = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
        sampler = PlaceSampler(
            dataset,
            seed=self.seed,
            replicas=replicas,
            rank=rank,
            batch_size=self.batch_size,
            batches=batches,
            used=max(1, used),
            start=self._first_batch,
        )
        return self._loader(dataset, batch_size=self.batch_size, sampler=sampler, drop_last=True)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Whole held-out photos, one at a time."""
        return self._loader(WholePhotos(self.photos("val"), self.short_side))

    def test_dataloader(self) -> DataLoader[Batch]:
        """Whole test photos, one at a time."""
        return self._loader(WholePhotos(self.photos("test"), self.short_side))

    def predict_dataloader(self) -> DataLoader[Batch]:
        """Whole photos to stylize at their full size, one at a time."""
        return self._loader(FullSizePhotos(self.photos("predict")))

    def on_before_batch_transfer(self, batch: Batch | Tensor, dataloader_idx: int) -> Batch | Tensor:
        """Make a tensor of the pictures, which Lightning then moves to the device."""
        if isinstance(batch, Batch) and isinstance(batch.pictures, np.ndarray):
            return batch._replace(pictures=torch.from_numpy(batch.pictures))
        return batch

    def on_after_batch_transfer(self, batch: Batch | Tensor, dataloader_idx: int) -> Tensor | None:
        """Convert bytes to RGB in [0, 1] on the device, and say which files could not be read.

        Raises:
            PictureError: no photo of the folder can be read.
        """
        if not isinstance(batch, Batch):
            return batch
        new = [message for message in batch.unreadable if message not in self._unreadable]
        if new:
            self._unreadable.update(dict.fromkeys(new))
            count = len(self._unreadable)
            left_out = "left out" if count == 1 else f"{count} photos left out so far"
            rank_zero_warn(f"{left_out}: {'; '.join(new)}", category=Notice)
        for notice in batch.notices:
            rank_zero_warn(notice, category=Notice)
        if batch.pictures is not None:
            pictures = torch.as_tensor(batch.pictures).float() / 255
            return resize_tensor(pictures, self.short_side) if batch.shrink else pictures
        if self.trainer is not None and self.trainer.predicting:
            return None
        raise PictureError(f"none of the photos can be read: {'; '.join(batch.unreadable[:3])} ...")

    def state_dict(self) -> dict[str, int]:
        """How many training batches have been used, for an exact resume."""
        progress: Any = cast(L.Trainer, self.trainer).fit_loop.epoch_loop.batch_progress
        return {"batches": progress.total.processed}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Continue after the batches that have been used."""
        self._first_batch = state_dict["batches"]

    def _list(self, split: str) -> list[Path]:
        folder = self.folders[split]
        if folder is None:
            raise UserError(f"{split} must be a folder of photos, got none", argument=split)
        with naming(split):
            return list_pictures(expand_path(folder))

    def _loader(self, dataset: Dataset[Batch], **options: Any) -> DataLoader[Batch]:
        return DataLoader(
            dataset,
            collate_fn=collate,
            num_workers=self.workers,
            worker_init_fn=leave_signals_to_parent,
            persistent_workers=self.workers > 0,
            pin_memory=torch.cuda.is_available(),  # pins no arrays, but a thread of its own reads from the pipes
            **options,
        )
