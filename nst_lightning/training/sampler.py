"""The order of training photos: a sampler whose samples depend only on the seed and their position in the run."""

from collections.abc import Iterator, Sized
from typing import Any, cast

import numpy as np
from torch.utils.data import Dataset, DistributedSampler

from nst_lightning.training.datasets import Place


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
