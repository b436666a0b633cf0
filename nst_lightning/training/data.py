"""Photos to train on, from any folder and of every format; unreadable files are skipped, with a warning."""

from collections.abc import Iterator, Sequence, Sized
from pathlib import Path
from typing import Any, NamedTuple, cast

import lightning as L
import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_warn
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from nst_lightning.encoders import resize_tensor
from nst_lightning.errors import UserError, require_at_least
from nst_lightning.images import PictureError, expand_path, list_pictures, read_rgb, resize_short_side
from nst_lightning.networks.layers import MINIMUM_SIZE
from nst_lightning.system import leave_signals_to_parent


class Batch(NamedTuple):
    """A batch as workers deliver it.

    Args:
        pictures: uint8 of shape (N, 3, H, W); None if no photo could be read.
        unreadable: error messages of skipped files.
        shrink: whether crops with surroundings are to be scaled down to the size of crops without.
    """

    pictures: Tensor | None
    unreadable: list[str]
    shrink: bool = False


class Place(NamedTuple):
    """A training crop to be made.

    Args:
        photo: number of its photo in the dataset.
        position: position of the crop in the run, which determines its scale, place and flip.
        shrink: see `Batch`.
    """

    photo: int
    position: int
    shrink: bool


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
        workers: number of processes that read photos; 0 reads them in the main process.
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
        workers: int = 2,
        seed: int = 0,
    ) -> None:
        super().__init__()
        require_at_least(MINIMUM_SIZE, short_side=short_side)
        require_at_least(1, max_scale=max_scale, batch_size=batch_size)
        require_at_least(0, surroundings=surroundings, workers=workers, seed=seed)
        self.folders = {"train": train, "val": val, "test": test, "predict": predict}
        self.short_side, self.max_scale, self.flip = short_side, max_scale, flip
        self.surroundings = surroundings
        self.batch_size, self.workers, self.seed = batch_size, workers, seed
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
        dataset = _Crops(
            self.photos("train"), self.short_side + self.surroundings, self.max_scale, self.flip, self.seed
        )
        trainer = self.trainer
        replicas, rank = (trainer.world_size, trainer.global_rank) if trainer else (1, 0)
        if trainer and trainer.max_steps > 0:  # one epoch for the whole run, as the progress bar shows it
            batches = trainer.max_steps * trainer.accumulate_grad_batches
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
        return self._loader(_WholePhotos(self.photos("val"), self.short_side))

    def test_dataloader(self) -> DataLoader[Batch]:
        """Whole test photos, one at a time."""
        return self._loader(_WholePhotos(self.photos("test"), self.short_side))

    def predict_dataloader(self) -> DataLoader[Batch]:
        """Whole photos to stylize at their full size, one at a time."""
        return self._loader(_FullSizePhotos(self.photos("predict")))

    def on_after_batch_transfer(self, batch: Batch | Tensor, dataloader_idx: int) -> Tensor | None:
        """Convert bytes to RGB in [0, 1] on the device, and warn of files that could not be read.

        Raises:
            PictureError: no photo of the folder can be read.
        """
        if not isinstance(batch, Batch):
            return batch
        new = [message for message in batch.unreadable if message not in self._unreadable]
        if new:
            self._unreadable.update(dict.fromkeys(new))
            rank_zero_warn(f"{len(self._unreadable)} unreadable photos left out so far: {'; '.join(new)}")
        if batch.pictures is not None:
            pictures = batch.pictures.float() / 255
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
        try:
            return list_pictures(expand_path(folder))
        except PictureError as error:
            raise PictureError.about(split, str(error)) from error

    def _loader(self, dataset: Dataset[Batch], **options: Any) -> DataLoader[Batch]:
        return DataLoader(
            dataset,
            collate_fn=_collate,
            num_workers=self.workers,
            worker_init_fn=leave_signals_to_parent,
            persistent_workers=self.workers > 0,
            pin_memory=torch.cuda.is_available(),
            **options,
        )


class _Crops(Dataset[Batch]):
    """Random square crops; the same `Place` always gives the same crop."""

    def __init__(self, photos: Sequence[Path], side: int, max_scale: float, flip: bool, seed: int) -> None:
        self.photos, self.side, self.max_scale, self.flip, self.seed = photos, side, max_scale, flip, seed

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, place: Place | int) -> Batch:
        if isinstance(place, int):  # from the sampler that Lightning uses for `overfit_batches`
            place = Place(place, place, shrink=False)
        random = np.random.default_rng((self.seed, place.position))
        short_side = round(self.side * random.uniform(1, self.max_scale))
        image, unreadable = _read_from(self.photos, place.photo, short_side)
        if image is None:
            return Batch(None, unreadable)
        image = resize_short_side(image, short_side)
        left, top = (int(random.integers(0, length - self.side + 1)) for length in image.size)
        pixels = np.asarray(image.crop((left, top, left + self.side, top + self.side)))
        if self.flip and random.random() < 0.5:
            pixels = pixels[:, ::-1]
        return Batch(_bytes(pixels), unreadable, place.shrink)


class _WholePhotos(Dataset[Batch]):
    """Photos scaled to a short side; an unreadable photo is replaced by the next readable one.

    This gives every process a picture to evaluate, so that no process waits for another.
    """

    def __init__(self, photos: Sequence[Path], short_side: int) -> None:
        self.photos, self.short_side = photos, short_side

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> Batch:
        image, unreadable = _read_from(self.photos, index, self.short_side)
        if image is None:
            return Batch(None, unreadable)
        return Batch(_bytes(np.asarray(resize_short_side(image, self.short_side))), unreadable)


class _FullSizePhotos(Dataset[Batch]):
    """Photos at their full size; an unreadable photo gives a batch without pictures."""

    def __init__(self, photos: Sequence[Path]) -> None:
        self.photos = photos

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> Batch:
        try:
            return Batch(_bytes(np.asarray(read_photo(self.photos[index]))), [])
        except PictureError as error:
            return Batch(None, [str(error)])


class PlaceSampler(DistributedSampler[Any]):
    """Shuffles a dataset in each pass over it; positions count samples over the whole run.

    Each of `replicas` processes draws every `replicas`-th position. The sample at a position depends only on the seed.
    Every other batch of an epoch is to be scaled down.

    Args:
        dataset: the dataset, of which only the length is used.
        seed: random seed of the order.
        replicas: number of processes.
        rank: number of this process.
        batch_size: number of samples in a batch of this process.
        batches: number of batches that this process can draw in an epoch.
        used: number of batches that it does draw: fewer if Lightning limits an epoch.
        start: number of batches that it drew before training was resumed.
    """

    def __init__(
        self,
        dataset: Sized,
        *,
        seed: int,
        replicas: int = 1,
        rank: int = 0,
        batch_size: int = 1,
        batches: int,
        used: int,
        start: int = 0,
    ) -> None:
        super().__init__(cast("Dataset[Any]", dataset), num_replicas=replicas, rank=rank, seed=seed)
        self.batch_size, self.batches, self.used, self.start = batch_size, batches, used, start
        self._length = len(dataset)
        self.epoch = start // used

    def __len__(self) -> int:
        return self.batches * self.batch_size

    def __iter__(self) -> Iterator[Place]:
        current_pass, order = -1, np.empty(0, int)
        first = self.epoch * self.used
        for drawn in range(max(self.start, first) * self.batch_size, (first + self.batches) * self.batch_size):
            position = drawn * self.num_replicas + self.rank
            in_pass, offset = divmod(position, self._length)
            if in_pass != current_pass:
                current_pass = in_pass
                order = np.random.default_rng((self.seed, in_pass)).permutation(self._length)
            batch = drawn // self.batch_size - first
            yield Place(int(order[offset]), position, shrink=batch % 2 == 1)


def read_photo(path: Path, *, short_side: int | None = None) -> Image.Image:
    """Read a photo to train on or to stylize, see `read_rgb`.

    Raises:
        PictureError: the file can't be read, or the photo is smaller than 32 pixels.
    """
    image = read_rgb(path, short_side=short_side)
    if min(image.size) < MINIMUM_SIZE:
        raise PictureError(f"{path}: {image.width}x{image.height} is smaller than {MINIMUM_SIZE}x{MINIMUM_SIZE}")
    return image


def _read_from(photos: Sequence[Path], index: int, short_side: int) -> tuple[Image.Image | None, list[str]]:
    """The photo at `index`, or the next readable one, and the error messages of the photos that were skipped."""
    unreadable: list[str] = []
    for offset in range(len(photos)):
        try:
            return read_photo(photos[(index + offset) % len(photos)], short_side=short_side), unreadable
        except PictureError as error:
            unreadable.append(str(error))
    return None, unreadable


def _bytes(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def _collate(items: list[Batch]) -> Batch:
    pictures = [item.pictures for item in items if item.pictures is not None]
    unreadable = [message for item in items for message in item.unreadable]
    return Batch(torch.stack(pictures) if pictures else None, unreadable, items[0].shrink)
