"""Photos to train on: any folder, every format, corrupt files left out and named."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import lightning as L
import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_warn
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from nst_lightning.errors import UserError, require_at_least
from nst_lightning.images import PictureError, expand_path, list_pictures, read_rgb, resize_short_side
from nst_lightning.networks.layers import MINIMUM_SIZE


class Batch(NamedTuple):
    """What workers deliver: pictures as uint8 of shape (N, 3, H, W), and what was wrong with files left out.

    Without any picture left, `pictures` is None.
    """

    pictures: Tensor | None
    unreadable: list[str]


class PhotoDataModule(L.LightningDataModule):
    """Folders of photos as batches of RGB in [0, 1], shape (N, 3, H, W).

    Training photos are scaled at random, cropped to a square and flipped; the same seed and position in the run always
    give the same crop, so an interrupted run goes on as if nothing had happened. Validation, test and prediction see
    whole photos, one at a time.

    Args:
        train: folder of photos to train on, searched recursively.
        val: folder of held-out photos; by default every 20th training photo, at most 32, is held out.
        test: folder of photos for `test`; by default the held-out ones.
        predict: folder of photos for `predict`.
        size: short side that photos are brought to, and the side of the square training crops, in pixels.
        max_scale: training photos are enlarged by a random factor from 1 to this before they are cropped.
        surroundings: pixels that training crops have beyond `size`, for which photos are enlarged as well. Half of the
            batches are painted so large, and losses see a part of `size`: of large pictures most is far from borders.
        flip: whether half of the training photos are mirrored.
        batch_size: training photos in a step, on each device.
        workers: processes that read photos; 0 reads them in the main process.
        seed: of order, scales, crops and flips.

    Raises:
        UserError: a number is out of range. Folders are checked when they are first needed.
    """

    def __init__(
        self,
        train: str | None = None,
        val: str | None = None,
        test: str | None = None,
        predict: str | None = None,
        size: int = 256,
        max_scale: float = 1.25,
        surroundings: int = 0,
        flip: bool = True,
        batch_size: int = 4,
        workers: int = 2,
        seed: int = 0,
    ) -> None:
        super().__init__()
        require_at_least(MINIMUM_SIZE, size=size)
        require_at_least(1, max_scale=max_scale, batch_size=batch_size)
        require_at_least(0, surroundings=surroundings, workers=workers, seed=seed)
        self.folders = {"train": train, "val": val, "test": test, "predict": predict}
        self.size, self.max_scale, self.flip = size, max_scale, flip
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
            found = list_pictures(self._folder("train"))
            if len(found) < 2:
                raise PictureError(f"{self._folder('train')}: a single photo can't be held out too; give val")
            every = max(20, len(found) // 32 + 1)
            return found[::every] if split == "val" else [path for i, path in enumerate(found) if i % every]
        return list_pictures(self._folder(split))

    def train_dataloader(self) -> DataLoader:
        """Batches of random crops, from the batch on at which a resumed run stopped."""
        dataset = _Crops(self.photos("train"), self.size + self.surroundings, self.max_scale, self.flip, self.seed)
        trainer = self.trainer
        replicas, rank = (trainer.world_size, trainer.global_rank) if trainer else (1, 0)
        if trainer and trainer.max_steps > 0:  # the whole run is one epoch: the progress bar shows how much is left
            batches = trainer.max_steps * trainer.accumulate_grad_batches
        else:
            batches = max(1, len(dataset) // (replicas * self.batch_size))
        limit = trainer.limit_train_batches if trainer else 1.0
        used = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
        sampler = _Positions(
            dataset,
            seed=self.seed,
            replicas=replicas,
            rank=rank,
            length=batches * self.batch_size,
            used=max(1, used) * self.batch_size,
            start=self._first_batch * self.batch_size,
        )
        return self._loader(dataset, batch_size=self.batch_size, sampler=sampler, drop_last=True)

    def val_dataloader(self) -> DataLoader:
        """Whole held-out photos, one at a time."""
        return self._loader(_WholePhotos(self.photos("val"), self.size))

    def test_dataloader(self) -> DataLoader:
        """Whole test photos, one at a time."""
        return self._loader(_WholePhotos(self.photos("test"), self.size))

    def predict_dataloader(self) -> DataLoader:
        """Whole photos to stylize at their own size, one at a time."""
        return self._loader(_PhotosAsTheyAre(self.photos("predict")))

    def on_after_batch_transfer(self, batch: Batch | Tensor, dataloader_idx: int) -> Tensor | None:
        """Bytes to RGB in [0, 1], on the device; warns of files that the workers could not read."""
        if not isinstance(batch, Batch):
            return batch
        new = [message for message in batch.unreadable if message not in self._unreadable]
        if new:
            self._unreadable.update(dict.fromkeys(new))
            rank_zero_warn(f"{len(self._unreadable)} unreadable photos left out so far: {'; '.join(new)}")
        if batch.pictures is not None:
            return batch.pictures.float() / 255
        if self.trainer is not None and self.trainer.predicting:
            return None
        raise PictureError(f"none of the photos can be used: {'; '.join(batch.unreadable[:3])} ...")

    def state_dict(self) -> dict[str, int]:
        """How many training batches have been used, for an exact resume."""
        return {"batches": self.trainer.fit_loop.epoch_loop.batch_progress.total.processed}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Continue after the batches already used."""
        self._first_batch = state_dict["batches"]

    def _folder(self, split: str) -> Path:
        folder = self.folders[split]
        if folder is None:
            raise UserError(f"{split} must be a folder of photos, got none")
        return expand_path(folder)

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
    """Random square crops, asked for by (index, position in the run): the same pair gives the same crop."""

    def __init__(self, photos: Sequence[Path], size: int, max_scale: float, flip: bool, seed: int) -> None:
        self.photos, self.size, self.max_scale, self.flip, self.seed = photos, size, max_scale, flip, seed

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, item: tuple[int, int] | int) -> Batch:
        index, position = item if isinstance(item, tuple) else (item, item)  # an index alone from `overfit_batches`
        random = np.random.default_rng((self.seed, position))
        short_side = round(self.size * random.uniform(1, self.max_scale))
        image, unreadable = _read_from(self.photos, index, short_side)
        if image is None:
            return Batch(None, unreadable)
        image = resize_short_side(image, short_side)
        left, top = (int(random.integers(0, side - self.size + 1)) for side in image.size)
        pixels = np.asarray(image.crop((left, top, left + self.size, top + self.size)))
        if self.flip and random.random() < 0.5:
            pixels = pixels[:, ::-1]
        return Batch(_bytes(pixels), unreadable)


class _WholePhotos(Dataset):
    """Photos with the short side brought to `size`; the next readable one in place of one that isn't.

    So every process always has a picture to evaluate, and none waits for another that has nothing to say.
    """

    def __init__(self, photos: Sequence[Path], size: int) -> None:
        self.photos, self.size = photos, size

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> Batch:
        image, unreadable = _read_from(self.photos, index, self.size)
        return Batch(None if image is None else _bytes(np.asarray(resize_short_side(image, self.size))), unreadable)


class _PhotosAsTheyAre(Dataset):
    """Photos at their own size, one picture or none for each file."""

    def __init__(self, photos: Sequence[Path]) -> None:
        self.photos = photos

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> Batch:
        try:
            return Batch(_bytes(np.asarray(read_photo(self.photos[index]))), [])
        except PictureError as error:
            return Batch(None, [str(error)])


class _Positions(DistributedSampler):
    """Shuffled passes over a dataset as (index, position) pairs; a position counts samples over the whole run.

    Each of `replicas` processes draws every `replicas`-th position. What comes at a position depends on the seed alone.

    Args:
        dataset: only its length is used.
        seed: of the order.
        replicas: number of processes.
        rank: of this process.
        length: samples that this process can draw in an epoch.
        used: samples that it does draw, fewer if Lightning limits an epoch's batches.
        start: samples that this process drew before a resume.
    """

    def __init__(
        self, dataset: Dataset, *, seed: int, replicas: int, rank: int, length: int, used: int, start: int
    ) -> None:
        super().__init__(dataset, num_replicas=replicas, rank=rank, seed=seed)
        self.length, self.used, self.start = length, used, start
        self.epoch = start // used

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[tuple[int, int]]:
        current_pass, order = -1, np.empty(0, int)
        first = self.epoch * self.used
        for drawn in range(max(self.start, first), first + self.length):
            position = drawn * self.num_replicas + self.rank
            in_pass, offset = divmod(position, len(self.dataset))
            if in_pass != current_pass:
                current_pass = in_pass
                order = np.random.default_rng((self.seed, in_pass)).permutation(len(self.dataset))
            yield int(order[offset]), position


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
    return Batch(
        torch.stack(pictures) if pictures else None, [message for item in items for message in item.unreadable]
    )
