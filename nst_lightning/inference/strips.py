"""Running a network on a large photo strip by strip, with the statistics of the whole picture."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nst_lightning.errors import WorkError
from nst_lightning.inference.input_shape import MINIMUM_SIZE
from nst_lightning.inference.rasters import Raster
from nst_lightning.inference.sessions import first_line
from nst_lightning.inference.stages import Stage, StagedNetwork


@dataclass(frozen=True)
class Strip:
    """Rows of a photo: those of the strip itself, and those that are seen for it."""

    start: int
    stop: int
    first: int
    last: int


class _KeptRows:
    """A tensor to whose end rows are added, and whose first rows are forgotten. It keeps float16."""

    def __init__(self) -> None:
        self._blocks: deque[np.ndarray] = deque()
        self._first = 0

    def add(self, block: np.ndarray) -> None:
        self._blocks.append(block)

    def rows(self, start: int, stop: int) -> np.ndarray:
        parts, at = [], self._first
        for block in self._blocks:
            part = block[:, :, max(0, start - at) : max(0, stop - at)]
            at += block.shape[2]
            if part.shape[2]:
                parts.append(part)
        return np.concatenate(parts, axis=2)

    def forget(self, before: int) -> None:
        while self._blocks and self._first + self._blocks[0].shape[2] <= before:
            self._first += self._blocks.popleft().shape[2]


class _Moments:
    """The mean and variance of the channels of a tensor, from those of its strips."""

    def __init__(self) -> None:
        self._rows = 0
        self._mean = self._square = np.zeros(())

    def add(self, mean: np.ndarray, square: np.ndarray, rows: int) -> None:
        """Add a strip of some rows, of whose channels these are the means of the values and of their squares."""
        self._rows += rows
        share = rows / self._rows
        self._mean = self._mean + share * (mean.ravel().astype(np.float64) - self._mean)
        self._square = self._square + share * (square.ravel().astype(np.float64) - self._square)

    @property
    def mean(self) -> np.ndarray:
        return self._mean.astype(np.float32)

    @property
    def variance(self) -> np.ndarray:
        return (self._square - self._mean**2).clip(0).astype(np.float32)


class StripPainter:
    """A network's pass over one photo.

    Args:
        network: the network.
        stages: its stages, see `StagedNetwork.stages`.
        photo: the photo.
        controls: the network's inputs besides the photo.
        working: bytes that the features of a strip may take.
        after_stage: function that is called after each stage.
    """

    def __init__(
        self,
        network: StagedNetwork,
        stages: Sequence[Stage],
        photo: Raster,
        controls: Mapping[str, np.ndarray],
        *,
        working: float,
        after_stage: Callable[[], None],
    ) -> None:
        self._network, self._stages, self._photo = network, stages, photo
        self._controls, self._working, self._after_stage = controls, working, after_stage
        self._kept: dict[str, _KeptRows] = {}
        self._moments: dict[str, _Moments] = {}

    def paint(self) -> Iterator[tuple[int, np.ndarray]]:
        """The strips of the picture: the number of the first row, and RGB in [0, 1] of shape (3, rows, W)."""
        width, height = self._photo.size
        for i, stage in enumerate(self._stages):
            later = {name for each in self._stages[i + 1 :] for name in each.takes}
            self._moments[stage.target] = _Moments()
            self._kept.update({name: _KeptRows() for name in stage.keeps})
            rows = int(self._working / (stage.working * width)) - 2 * stage.halo
            for strip in cut_strips(height, rows, stage.halo, self._network.rows.step):
                for name in set(stage.takes) - later:
                    self._kept[name].forget(self._row(name, strip.first))
                results = self._run(stage, strip)
                self._collect(stage, strip, results)
                if stage.target == self._network.picture:
                    yield strip.start, results[f"{stage.target}/strip"][0]
            self._kept = {name: rows for name, rows in self._kept.items() if name in later}
            self._after_stage()

    def _run(self, stage: Stage, strip: Strip) -> dict[str, np.ndarray]:
        inputs = {node.name: self._input(node.name, stage, strip) for node in stage.session.get_inputs()}
        names = [node.name for node in stage.session.get_outputs()]
        try:
            return dict(zip(names, stage.session.run(names, inputs)))
        except Exception as error:  # ONNX Runtime's own exceptions share no base class but this
            raise WorkError(first_line(error)) from None

    def _collect(self, stage: Stage, strip: Strip, results: Mapping[str, np.ndarray]) -> None:
        for name in stage.keeps:
            self._kept[name].add(results[f"{name}/strip_kept"])
        if stage.target != self._network.picture:
            start, stop = self._own_rows(stage.target, strip)
            mean, square = (results[f"{stage.target}/strip_{role}"] for role in ("mean", "square"))
            self._moments[stage.target].add(mean, square, stop - start)

    def _input(self, name: str, stage: Stage, strip: Strip) -> np.ndarray:
        """The value of an input of a stage for a strip."""
        seen = strip.last - strip.first
        if name in self._controls:
            return self._controls[name]
        if name == self._network.photo:
            if stage.sees_photo:
                return self._photo.read(strip.first, strip.last)[None]
            return np.zeros((1, 3, seen, self._photo.size[0]), np.float32)  # takes no memory, as nothing touches it
        tensor, _, role = name.rpartition("/")
        if role == "axis":
            return np.array([2])
        if role in ("mean", "variance"):
            statistic: np.ndarray = getattr(self._moments[tensor], role)
            return statistic
        if role in ("above", "below", "weight"):
            return self._resizing(tensor, strip)[role]
        first = self._row(tensor, strip.first)
        if role == "kept":
            return self._kept[tensor].rows(first, first + self._network.rows.of(tensor, seen))
        return np.array(first) if role == "first" else np.array([self._own_rows(tensor, strip)[role == "to"]])

    def _row(self, tensor: str, row: int) -> int:
        """The row of a tensor at which a row of the photo begins."""
        return int(self._network.rows.scales[tensor] * row)

    def _own_rows(self, tensor: str, strip: Strip) -> tuple[int, int]:
        """The first row that is the strip's own, and the one after the last, among those that a stage computes."""
        whole = strip.stop == self._photo.size[1]
        stop = self._network.rows.of(tensor, strip.last - strip.first)
        return self._row(tensor, strip.start - strip.first), stop if whole else self._row(
            tensor, strip.stop - strip.first
        )

    def _resizing(self, large: str, strip: Strip) -> dict[str, np.ndarray]:
        """The rows between which a resized tensor's rows lie, and how near they are to the lower one."""
        counts, small = self._network.rows, self._network.resizings[large]
        height, seen = self._photo.size[1], strip.last - strip.first
        first, available = self._row(small, strip.first), counts.of(small, seen)
        rows = self._row(large, strip.first) + np.arange(counts.of(large, seen))
        factor = counts.of(small, height) / counts.of(large, height)
        if large in self._network.linear:
            places = ((rows + 0.5) * factor - 0.5).clip(0, counts.of(small, height) - 1)
        else:
            places = np.floor(rows * factor)
        above = np.floor(places)
        indices = [(row - first).clip(0, available - 1).astype(np.int64) for row in (above, above + 1)]
        weight = (places - above).astype(counts.element(small))[:, None]
        return {"above": indices[0], "below": indices[1], "weight": weight}


def cut_strips(height: int, rows: int, halo: int, step: int) -> list[Strip]:
    """Divide a photo of a height into strips; rows that are too few for a strip of their own belong to the one before.

    Args:
        height: height of the photo in pixels.
        rows: rows in a strip; at least 32, rounded down to a multiple of the step.
        halo: rows above and below a strip that are seen for it, a multiple of the step.
        step: rows of the photo of which strips begin at a multiple.

    >>> cut_strips(100, 32, 8, 8)
    [Strip(start=0, stop=32, first=0, last=40), Strip(start=32, stop=64, first=24, last=72), \
Strip(start=64, stop=100, first=56, last=100)]
    """
    rows = max(MINIMUM_SIZE, rows) // step * step
    starts = [start for start in range(0, height, rows) if start == 0 or height - start >= MINIMUM_SIZE]
    return [
        Strip(start, stop, max(0, start - halo), min(height, stop + halo))
        for start, stop in zip(starts, [*starts[1:], height])
    ]
