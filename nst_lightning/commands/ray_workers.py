"""What runs on the machines of a Ray cluster: finding photos, painting them, and counting attempts."""

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import ray

from nst_lightning.commands.ray_storage import Listing, Photo, Storage
from nst_lightning.commands.stylize_photos import PhotoPainter
from nst_lightning.commands.worker_pool import Outcome, Saving
from nst_lightning.errors import describe_error
from nst_lightning.images import PictureError
from nst_lightning.system import is_disk_full

Rows = dict[str, Any]
"""Columns of equal lengths, by name."""
COLUMN = "json"
"""The name of the only column."""
AT_ONCE = range(4, 16 + 1)
"""How many photos a worker gets at once: more, the more there are, as each time takes time and memory of the driver."""
_FOUND_FOR_ONE_MORE = 250
"""The number of photos found for which workers get another one at once, so that all are busy until the end."""
ATTEMPTS = 2
"""How often a photo is begun at which a worker ends, as Ray begins its work again without limit."""


@dataclass(frozen=True)
class Task:
    """What a run does with each photo.

    Args:
        photos: the folder of photos.
        output: the folder of pictures.
        name_picture: the name of a photo's picture.
        skip_existing: whether to leave out photos whose pictures exist.
    """

    photos: Storage
    output: Storage
    name_picture: Callable[[Photo], Photo]
    skip_existing: bool


@dataclass(frozen=True)
class Found:
    """What was found in the folder of photos.

    Args:
        photos: number of photos to paint.
        existing: number of photos whose pictures exist and are kept.
        left_out: what else was left out, in one line.
    """

    photos: int
    existing: int
    left_out: str


class Ledger:
    """What all workers of a run have to know: how often the photos that are being painted were begun."""

    def __init__(self) -> None:
        self._begun: Counter[str] = Counter()
        self._found: Found | None = None

    def begin(self, photo: str) -> int:
        """Count a beginning, and return how many there were."""
        self._begun[photo] += 1
        return self._begun[photo]

    def end(self, photo: str) -> None:
        """Forget a photo."""
        self._begun.pop(photo, None)

    def set_found(self, found: Found) -> None:
        """Set what `found` returns."""
        self._found = found

    def found(self) -> Found | None:
        """What was found; None as long as photos are being looked for."""
        return self._found


def find_photos(_: Rows, task: Task, ledger: Any) -> Iterator[Rows]:
    """Yield a row for every few photos of a folder: their names, and what is wrong with those that can't be painted.

    Rows hold JSON, as Ray's columns can't hold names that are not UTF-8.
    """
    listing, count, existing = Listing(task.photos, without=task.output), 0, 0
    try:
        for photos in listing:
            missing = _leave_out_existing(task, photos) if task.skip_existing else photos
            yield from _rows([*zip(map(str, missing), _clashes(task, missing))], count)
            existing, count = existing + len(photos) - len(missing), count + len(missing)
    except PictureError as error:
        yield from _rows([("", str(error))], count)
        count += 1
    ray.get(ledger.set_found.remote(Found(count, existing, listing.describe_left_out())))


def _rows(photos: Sequence[tuple[str, str | None]], found: int) -> Iterator[Rows]:
    first = 0
    while first < len(photos):
        last = first + min(AT_ONCE[-1], AT_ONCE[0] + (found + first) // _FOUND_FOR_ONE_MORE)
        yield {COLUMN: [json.dumps(photos[first:last])]}
        first = last


def _leave_out_existing(task: Task, photos: list[Photo]) -> list[Photo]:
    """Of the photos of a folder, those that have no pictures yet."""
    known = task.output.list_names(task.name_picture(photos[0]).parent)
    return [photo for photo in photos if task.name_picture(photo).name not in known]


def _clashes(task: Task, photos: list[Photo]) -> list[str | None]:
    """For each photo of a folder, what is wrong if another one has the same picture."""
    first: dict[Photo, Photo] = {}
    problems: list[str | None] = []
    for photo in photos:
        target = task.name_picture(photo)
        other = first.setdefault(target, photo)
        problem = f"{task.photos.name_of(photo)}: would be written to {task.output.name_of(target)}, as {other.name}"
        problems.append(None if other == photo else problem)
    return problems


class Painter:
    """A worker of the cluster, with one session of ONNX Runtime.

    Args:
        painter: what paints photos.
        network: the content of the network's file, which other machines may not have.
        task: what to do with photos.
        ledger: an actor of the class `Ledger`.
    """

    def __init__(self, painter: PhotoPainter, network: bytes, task: Task, ledger: Any) -> None:
        self._task, self._ledger = task, ledger
        with tempfile.TemporaryDirectory() as folder:
            model = Path(folder) / "network.onnx"
            model.write_bytes(network)
            self._painter = replace(painter, model=str(model))
            _ = self._painter.stylizer  # loads it

    def __call__(self, rows: Rows) -> Rows:
        """Paint the photos of each row. Its result is a row of their outcomes."""
        return {COLUMN: [json.dumps([*map(asdict, self._paint_all(json.loads(row)))]) for row in rows[COLUMN]]}

    def _paint_all(self, photos: Sequence[tuple[str, str | None]]) -> Iterator[Outcome]:
        """Paint photos, while the next ones are fetched."""
        with tempfile.TemporaryDirectory(prefix="nst-") as folder, ThreadPoolExecutor(1) as pool:
            work = [(Photo(name), Path(folder) / str(number)) for number, (name, _) in enumerate(photos)]
            sources = [pool.submit(self._fetch, photo, place) for photo, place in work]
            for (photo, place), source, (_, problem) in zip(work, sources, photos):
                yield Outcome(problem) if problem else self._attempt(photo, source, place)

    def _fetch(self, photo: Photo, place: Path) -> Path:
        place.mkdir()
        return self._task.photos.fetch(photo, place)

    def _attempt(self, photo: Photo, source: "Future[Path]", place: Path) -> Outcome:
        """Paint a photo, unless workers have ended at it before."""
        if ray.get(self._ledger.begin.remote(str(photo))) > ATTEMPTS:
            reason = f"its worker ended {ATTEMPTS} times, perhaps for lack of memory"
            outcome = Outcome(f"{self._task.photos.name_of(photo)}: {reason}")
        else:
            try:
                outcome = self._paint(photo, source.result(), place)
            except PictureError as error:
                outcome = Outcome(str(error))
            except OSError as error:  # such as a full disk, for copies
                outcome = Outcome(f"{self._task.photos.name_of(photo)}: {describe_error(error)}", is_disk_full(error))
        self._ledger.end.remote(str(photo))
        return outcome

    def _paint(self, photo: Photo, source: Path, place: Path) -> Outcome:
        output, name = self._task.output, self._task.name_picture(photo)
        target = output.local / name if output.local else place / "picture" / name.name
        outcome = self._painter((source, target), Saving())
        if outcome.problem is None and not output.local:
            output.store(target, name)
        names = {str(source): self._task.photos.name_of(photo), str(target): output.name_of(name)}
        problem = outcome.problem and _rename(outcome.problem, names)
        return replace(outcome, problem=problem, notices=[_rename(notice, names) for notice in outcome.notices])


def _rename(message: str, names: Mapping[str, str]) -> str:
    """A message in which local copies have the names that the user knows."""
    for copy, name in names.items():
        message = message.replace(copy, name)
    return message
