"""Photos to train on: any folder, every format; corrupt files are left out and named."""

from collections.abc import Iterator, Sequence, Sized
from pathlib import Path
from typing import NamedTuple

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


class Batch(NamedTuple):
    """What workers deliver.

    Args:
        pictures: bytes of shape (N, 3, H, W); None if no photo could be read.
        unreadable: what was wrong with files left out.
        shrink: whether training is to see the crops, with their surroundings, as small as those without.
    """

    pictures: Tensor | None
    unreadable: list[str]
    shrink: bool = False


class Place(NamedTuple):
    """Which training crop is asked for.

    Args:
        index: of the photo.
        position: of the crop in the run, which decides its scale, place and flip.
        shrink: see `Batch`.
    """

    index: int
    position: int
    shrink: bool


class PhotoDataModule(L.LightningDataModule):
    """Folders of photos as batches of RGB in [0, 1], shape (N, 3, H, W).

    Training photos are scaled at random, cropped to a square and flipped. The same seed and position in the run always
    give the same crop, so that an interrupted run resumes exactly. Validation, test and prediction see whole photos,
    one at a time.

    Args:
        train: folder of photos to train on, searched recursively.
        val: folder of held-out photos; by default every 20th training photo, at most 32, is held out.
        test: folder of photos for `test`; by default the held-out ones.
        predict: folder of photos for `predict`.
        short_side: to which photos are scaled, and the side of the square training crops, in pixels.
        max_scale: training photos are enlarged by a random factor from 1 to this before they are cropped.
        surroundings: pixels by which training crops are larger than `short_side`. Every other batch is painted so
            large, and losses see a part of it: in large pictures, most places are far from borders. The batches between
            are shrunk to `short_side`.
        flip: whether half of the training photos are mirrored.
        batch_size: training photos in a step, on each device.
        workers: processes that read photos; 0 reads them in the main process.
        seed: of the order, scales, crops and flips.

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
            UserError: no folder is given for it, or the folder is missing or has no pictures.
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

    def train_dataloader(self) -> DataLoader:
        """Batches of random crops, from the batch on at which a resumed run stopped."""
        dataset = _Crops(
            self.photos("train"), self.short_side + self.surroundings, self.max_scale, self.flip, self.seed
        )
        trainer = self.trainer
        replicas, rank = (trainer.world_size, trainer.global_rank) if trainer else (1, 0)
        if trainer and trainer.max_steps > 0:  # the whole run is one epoch: the progress bar shows how much is left
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

    def val_dataloader(self) -> DataLoader:
        """Whole held-out photos, one at a time."""
        return self._loader(_WholePhotos(self.photos("val"), self.short_side))

    def test_dataloader(self) -> DataLoader:
        """Whole test photos, one at a time."""
        return self._loader(_WholePhotos(self.photos("test"), self.short_side))

    def predict_dataloader(self) -> DataLoader:
        """Whole photos to stylize at their full size, one at a time."""
        return self._loader(_FullSizePhotos(self.photos("predict")))

    def on_after_batch_transfer(self, batch: Batch | Tensor, dataloader_idx: int) -> Tensor | None:
        """Convert bytes to RGB in [0, 1] on the device, and warn of files that the workers could not read."""
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
        return {"batches": self.trainer.fit_loop.epoch_loop.batch_progress.total.processed}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Continue after the batches already used."""
        self._first_batch = state_dict["batches"]

    def _list(self, split: str) -> list[Path]:
        folder = self.folders[split]
        if folder is None:
            raise UserError(f"{split} must be a folder of photos, got none", argument=split)
        try:
            return list_pictures(expand_path(folder))
        except PictureError as error:
            raise PictureError.about(split, str(error)) from error

    def _loader(self, dataset: Dataset, **options: object) -> DataLoader:
        return DataLoader(
            dataset,
            collate_fn=_collate,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=torch.cuda.is_available(),
            **options,
        )


class _Crops(Dataset):
    """Random square crops; the same place always gives the same crop."""

    def __init__(self, photos: Sequence[Path], side: int, max_scale: float, flip: bool, seed: int) -> None:
        self.photos, self.side, self.max_scale, self.flip, self.seed = photos, side, max_scale, flip, seed

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, place: Place | int) -> Batch:
        if isinstance(place, int):  # from the sampler that Lightning's `overfit_batches` puts in place of ours
            place = Place(place, place, shrink=False)
        random = np.random.default_rng((self.seed, place.position))
        short_side = round(self.side * random.uniform(1, self.max_scale))
        image, unreadable = _read_from(self.photos, place.index, short_side)
        if image is None:
            return Batch(None, unreadable)
        image = resize_short_side(image, short_side)
        left, top = (int(random.integers(0, length - self.side + 1)) for length in image.size)
        pixels = np.asarray(image.crop((left, top, left + self.side, top + self.side)))
        if self.flip and random.random() < 0.5:
            pixels = pixels[:, ::-1]
        return Batch(_bytes(pixels), unreadable, place.shrink)


class _WholePhotos(Dataset):
    """Photos scaled to a short side; an unreadable one is replaced by the next that can be read.

    So every process always has a picture to evaluate, and none waits for another.
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


class _FullSizePhotos(Dataset):
    """Photos at their full size; an unreadable one has no picture."""

    def __init__(self, photos: Sequence[Path]) -> None:
        self.photos = photos

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> Batch:
        try:
            return Batch(_bytes(np.asarray(read_photo(self.photos[index]))), [])
        except PictureError as error:
            return Batch(None, [str(error)])


class PlaceSampler(DistributedSampler):
    """Shuffled passes over a dataset; positions count samples over the whole run.

    Each of `replicas` processes draws every `replicas`-th position. What comes at a position depends on the seed alone.
    Every other batch of an epoch is to be shrunk.

    Args:
        dataset: only its length is used.
        seed: of the order.
        replicas: number of processes.
        rank: of this process.
        batch_size: samples in a batch of this process.
        batches: that this process can draw in an epoch.
        used: batches that it does draw, fewer if Lightning limits an epoch.
        start: batches that it drew before training was resumed.
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
        super().__init__(dataset, num_replicas=replicas, rank=rank, seed=seed)
        self.batch_size, self.batches, self.used, self.start = batch_size, batches, used, start
        self.epoch = start // used

    def __len__(self) -> int:
        return self.batches * self.batch_size

    def __iter__(self) -> Iterator[Place]:
        current_pass, order = -1, np.empty(0, int)
        first = self.epoch * self.used
        for drawn in range(max(self.start, first) * self.batch_size, (first + self.batches) * self.batch_size):
            position = drawn * self.num_replicas + self.rank
            in_pass, offset = divmod(position, len(self.dataset))
            if in_pass != current_pass:
                current_pass = in_pass
                order = np.random.default_rng((self.seed, in_pass)).permutation(len(self.dataset))
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
    """The photo at `index`, or the next one that can be read, and what was wrong with those passed over."""
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
