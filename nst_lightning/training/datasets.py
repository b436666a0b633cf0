"""Datasets of photos: random crops, whole photos, and photos at their full size."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from nst_lightning.errors import collecting_notices
from nst_lightning.images import PictureError, read_picture, read_rgb, resize_short_side
from nst_lightning.networks.layers import MINIMUM_SIZE


class Batch(NamedTuple):
    """A batch as workers deliver it.

    Workers deliver arrays, which travel through pipes. Tensors would travel in shared memory, of which containers have
    64 MB by default: a worker that finds it full dies.

    Args:
        pictures: uint8 of shape (N, 3, H, W); None if no photo could be read.
        unreadable: error messages of skipped files.
        shrink: whether crops with surroundings are to be scaled down to the size of crops without.
        notices: what else to say about the files, see `Notice`.
    """

    pictures: np.ndarray | Tensor | None
    unreadable: list[str]
    shrink: bool = False
    notices: Sequence[str] = ()


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


class RandomCrops(Dataset[Batch]):
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
        image, unreadable, notices = _read_from(self.photos, place.photo, short_side)
        if image is None:
            return Batch(None, unreadable)
        image = resize_short_side(image, short_side)
        left, top = (int(random.integers(0, length - self.side + 1)) for length in image.size)
        pixels = np.asarray(image.crop((left, top, left + self.side, top + self.side)))
        if self.flip and random.random() < 0.5:
            pixels = pixels[:, ::-1]
        return Batch(_bytes(pixels), unreadable, place.shrink, notices)


class WholePhotos(Dataset[Batch]):
    """Photos scaled to a short side; an unreadable photo is replaced by the next readable one.

    This gives every process a picture to evaluate, so that no process waits for another.
    """

    def __init__(self, photos: Sequence[Path], short_side: int) -> None:
        self.photos, self.short_side = photos, short_side

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> Batch:
        image, unreadable, notices = _read_from(self.photos, index, self.short_side)
        if image is None:
            return Batch(None, unreadable)
        return Batch(_bytes(np.asarray(resize_short_side(image, self.short_side))), unreadable, notices=notices)


class FullSizePhotos(Dataset[Batch]):
    """Photos at their full size; an unreadable photo gives a batch without pictures."""

    def __init__(self, photos: Sequence[Path]) -> None:
        self.photos = photos

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> Batch:
        try:
            with collecting_notices() as notices:
                photo = _check_size(read_picture(self.photos[index]).image, self.photos[index])
            return Batch(_bytes(np.asarray(photo)), [], notices=notices)
        except PictureError as error:
            return Batch(None, [str(error)])


def read_photo(path: Path, *, short_side: int | None = None) -> Image.Image:
    """Read a photo to train on, see `read_rgb`.

    Raises:
        PictureError: the file can't be read, or the photo is smaller than 32 pixels.
    """
    return _check_size(read_rgb(path, short_side=short_side), path)


def _check_size(image: Image.Image, path: Path) -> Image.Image:
    if min(image.size) < MINIMUM_SIZE:
        raise PictureError(f"{path}: {image.width}x{image.height} is smaller than {MINIMUM_SIZE}x{MINIMUM_SIZE}")
    return image


def _read_from(
    photos: Sequence[Path], index: int, short_side: int
) -> tuple[Image.Image | None, list[str], Sequence[str]]:
    """The photo at `index`, or the next readable one, the error messages of the photos before it, and its notices."""
    unreadable: list[str] = []
    for offset in range(len(photos)):
        try:
            with collecting_notices() as notices:
                photo = read_photo(photos[(index + offset) % len(photos)], short_side=short_side)
            return photo, unreadable, notices
        except PictureError as error:
            unreadable.append(str(error))
    return None, unreadable, ()


def _bytes(pixels: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def collate(items: list[Batch]) -> Batch:
    """Join the samples of a dataset to one batch."""
    pictures = [np.asarray(item.pictures) for item in items if item.pictures is not None]
    unreadable = [message for item in items for message in item.unreadable]
    notices = [notice for item in items for notice in item.notices]
    return Batch(np.stack(pictures) if pictures else None, unreadable, items[0].shrink, notices)
