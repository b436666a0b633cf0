"""Stylizing any number of photos on a Ray cluster: names travel through Ray Data, pictures don't."""

import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import TracebackType
from typing import Any

# Ray reads these when it is imported. It sends no statistics of its use, and prints nothing about workers that end.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")

import ray
import ray.data

from nst_lightning.commands.folder_progress import FolderProgress
from nst_lightning.commands.folder_report import AT_A_GLANCE
from nst_lightning.commands.ray_cluster import cluster, plan_for_cluster, streaming_context
from nst_lightning.commands.ray_storage import Photo, check_folders, open_storage
from nst_lightning.commands.ray_workers import COLUMN, Found, Ledger, Painter, Task, find_photos
from nst_lightning.commands.stylize_photos import PhotoPainter, Plan
from nst_lightning.commands.worker_pool import Outcome
from nst_lightning.errors import Notice, WorkError
from nst_lightning.images import PictureError
from nst_lightning.inference.models import find_model

MOST = 100
"""The most problems that are listed again, and the most notices that are shown."""


def stylize_on_ray(
    painter: PhotoPainter,
    photos: str,
    output: str,
    *,
    name_picture: Callable[[Photo], Photo],
    workers: int,
    skip_existing: bool,
    again: str,
) -> None:
    """Paint the photos of a folder on the Ray cluster that is at hand, or on this machine's processors.

    Args:
        painter: what paints photos.
        photos: the folder, or a URI such as `s3://bucket/photos`.
        output: the same for pictures.
        name_picture: the name of a photo's picture, both below their folders.
        workers: number of workers, which share the painter's threads and memory; 0 for as many as pay off.
        skip_existing: whether to leave out photos whose pictures exist.
        again: the command that makes the pictures which are missing.

    Raises:
        UserError: a folder can't be used, or has no photos.
        WorkError: a photo could not be stylized, the disk is full, or the cluster can't be reached.
    """
    task = Task(open_storage("photos", photos), open_storage("output", output), name_picture, skip_existing)
    check_folders(task.photos, task.output)
    with cluster():
        plan, ledger = plan_for_cluster(painter, workers=workers), start_ledger()
        with StreamReport(task, again) as report:
            for outcome in painting_on_ray(painter, plan, task, ledger):
                if report.found is None:
                    report.found = ray.get(ledger.found.remote())
                report.add(outcome)
            report.found = ray.get(ledger.found.remote())


def start_ledger() -> Any:
    """A new actor of the class `Ledger`."""
    return ray.remote(num_cpus=0)(Ledger).remote()


def painting_on_ray(painter: PhotoPainter, plan: Plan, task: Task, ledger: Any) -> Iterator[Outcome]:
    """Yield what became of each photo as soon as it is known, in any order.

    Args:
        painter: what paints photos.
        plan: the number of workers, and the threads of each.
        task: what to do with each photo.
        ledger: an actor of the class `Ledger`.
    """
    shared = None if painter.max_memory is None else painter.max_memory / plan.workers
    network = find_model(painter.model).read_bytes()
    work = replace(painter, threads=plan.threads, max_memory=shared)
    with ray.data.DataContext.current(streaming_context()):
        names = ray.data.from_items([{"folder": task.photos.name}]).map_batches(
            find_photos, fn_args=(task, ledger), batch_size=None, num_cpus=0
        )
        outcomes = names.map_batches(
            Painter,
            fn_constructor_args=(work, network, task, ledger),
            batch_size=None,
            compute=ray.data.ActorPoolStrategy(size=plan.workers),
            num_cpus=plan.threads,
        )
        for batch in outcomes.iter_batches(batch_size=None, prefetch_batches=0):
            for row in batch[COLUMN]:
                yield from (Outcome(**outcome) for outcome in json.loads(row))


class StreamReport:
    """Prints problems as they come, with the progress below, and at the end how many pictures there are.

    When the context ends early, it prints how to go on. Of the photos, it keeps only the first problems.

    Args:
        task: what is done with each photo.
        again: the command that makes the pictures which are missing.

    Raises:
        PictureError: there were no photos; raised when the context ends.
        WorkError: a photo could not be stylized; raised when the context ends, or by `add` if the disk is full.
    """

    def __init__(self, task: Task, again: str) -> None:
        self._task, self._again = task, again
        self._found: Found | None = None
        self._done, self._failed, self._notices = 0, 0, 0
        self._problems: list[str] = []

    def __enter__(self) -> "StreamReport":
        self._progress = FolderProgress(None)
        return self

    @property
    def found(self) -> Found | None:
        """What was found in the folder of photos, if that is known already."""
        return self._found

    @found.setter
    def found(self, found: Found | None) -> None:
        self._found = found
        self._progress.total = found.photos if found else None

    def add(self, outcome: Outcome) -> None:
        """Report what became of a photo."""
        self._progress.clear()
        for notice in outcome.notices:
            self._notices += 1
            if self._notices <= MOST:
                warnings.warn(notice, Notice, stacklevel=2)
        if outcome.problem is None:
            self._done += 1
        else:
            self._failed += 1
            print(f"nst-lightning: {outcome.problem}", file=sys.stderr)
            if len(self._problems) < MOST:
                self._problems.append(outcome.problem)
        self._progress.advance()
        if outcome.disk_full:
            raise WorkError("the disk is full")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._progress.clear()
        if error is not None:
            if isinstance(error, KeyboardInterrupt | WorkError):
                print(f"nst-lightning: {self._done} photos are done; to go on: {self._again}", file=sys.stderr)
            return
        self._list_again()
        self._say_found()
        if self._failed:
            count = self._done + self._failed
            raise WorkError(f"{self._failed} of {count} photos could not be stylized, see above")

    def _list_again(self) -> None:
        if self._done + self._failed > AT_A_GLANCE and self._problems:
            print("nst-lightning: all problems:", *self._problems, sep="\n", file=sys.stderr)
            if more := self._failed - len(self._problems):
                print(f"and {more} more, see above", file=sys.stderr)

    def _say_found(self) -> None:
        found = self._found or Found(0, 0, "")
        if self._notices > MOST:
            warnings.warn(f"{self._notices - MOST} more photos gave such notices", Notice, stacklevel=3)
        if not found.photos + found.existing:
            problem = f"{self._task.photos.name}: no pictures in this folder or below it"
            raise PictureError.about("photos", "; ".join(filter(None, [problem, found.left_out])))
        if found.left_out:
            warnings.warn(f"{self._task.photos.name}: {found.left_out}", Notice, stacklevel=3)
        if found.existing:
            count = found.photos + found.existing
            warnings.warn(f"{found.existing} of {count} pictures exist already, and are kept", Notice, stacklevel=3)
        print(f"{self._done} pictures are in {self._task.output.name}")
