"""Stylizing many photos: each in turn, or several at once in processes of their own."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from nst_lightning.commands.provider import open_stylizer
from nst_lightning.commands.worker_pool import Job, Outcome, Saving, WorkerPool
from nst_lightning.errors import UserError, WorkError, collecting_notices, describe_error
from nst_lightning.images import (
    Frame,
    PictureError,
    WritingOptions,
    list_frames,
    open_animation,
    read_picture,
    read_size,
    write_animation,
    write_picture,
)
from nst_lightning.images.paths import try_to_write
from nst_lightning.inference import Steadier, Stylizer
from nst_lightning.inference.providers import CPU
from nst_lightning.limits import available_memory, usable_processors
from nst_lightning.system import is_disk_full, keep_freed_memory

FORESEEN = (UserError, WorkError, OSError, MemoryError)
"""Errors of a photo, which don't stop the others."""
PHOTOS_A_WORKER = 8
"""The fewest photos for which a further process pays off, as it takes about as long to start as to paint a photo."""
SAMPLE = 32
"""The number of photos whose sizes decide how many fit the memory at once."""
STRIP_BLOCK = 2**26
"""Bytes up to which the memory of freed tensors is kept for the next strip; those of whole photos may be larger."""
USABLE = 0.8
"""The share of the available memory to use."""
# Bytes, measured with the bundled networks at 2000 and 4000 pixels.
_PROCESS = 150e6
_READ = 12  # for a pixel of a photo that is read
_PAINTED = {True: 400, False: 1500}  # the same for one that is painted by a network of several styles, or of one
_STRIPS = 1.4e9  # the most for strips, and some more
MOST_MEMORY = _PROCESS + _STRIPS
"""The most bytes of memory that it takes to paint a photo, roughly, unless it is larger than most."""


@dataclass(frozen=True)
class PhotoPainter:
    """Paints photos with a network and writes the pictures. A pickle of one loads the network when it is first used.

    Args:
        model: the network's .onnx file, or its name.
        threads: number of processor threads, as the stylizer takes it.
        scaling: `short_side` and `strokes`, as the stylizer takes them.
        controls: its other options.
        writing: how pictures are written.
        max_memory: bytes of memory for a process, as the stylizer takes it.
        frames: whether to paint the first frame or page of a file, or all.
        steady: whether to lower the flicker of several frames.
        provider: what the network runs on, as the stylizer takes it.
    """

    model: str
    threads: int
    scaling: dict[str, Any]
    controls: dict[str, Any]
    writing: WritingOptions
    max_memory: float | None = None
    frames: Literal["first", "all"] = "first"
    steady: bool = False
    provider: str | None = None

    @cached_property
    def stylizer(self) -> Stylizer:
        """The network, which is loaded once."""
        keep_freed_memory(below=STRIP_BLOCK)
        return open_stylizer(self.model, self.provider, threads=self.threads, max_memory=self.max_memory)

    def paint(self, job: Job, saving: Saving) -> None:
        """Read a photo, and write its picture within the context `saving`.

        Raises:
            UserError: the photo is missing, damaged or too small, or its picture can't be written in its format.
            WorkError: the network failed, or the photo is too large for the memory.
            OSError: the picture can't be written.
        """
        source, target = job
        if self.frames == "all" and (target.suffix.lower() == ".gif" or len(list_frames(source)) > 1):
            self._paint_frames(source, target, saving)
            return
        photo = read_picture(source)
        with saving:
            try_to_write(target)  # fails before the work is done rather than after
        picture = self.stylizer(photo.image, **self.scaling, **self.controls)
        with saving:
            write_picture(target, photo.with_pixels(picture), self.writing)

    def _paint_frames(self, source: Path, target: Path, saving: Saving) -> None:
        """Paint all frames or pages of a file, each as it is read, while the new file is written."""
        steadier = Steadier()

        def paint(frame: Frame) -> Frame:
            saving.go_on()
            photo = frame.picture.image
            picture = self.stylizer(photo, **self.scaling, **self.controls)
            picture = steadier(photo, picture) if self.steady else picture
            return replace(frame, picture=frame.picture.with_pixels(picture))

        with open_animation(source) as animation, saving:
            write_animation(target, replace(animation, frames=map(paint, animation.frames)), self.writing)

    def __call__(self, job: Job, saving: Saving) -> Outcome:
        """The outcome of `paint`."""
        with collecting_notices() as notices:
            try:
                self.paint(job, saving)
            except FORESEEN as error:
                return Outcome(describe(job, error), is_disk_full(error), notices)
        return Outcome(notices=notices)

    def estimate_memory(self, job: Job) -> float:
        """The bytes of memory that it takes to paint a photo, roughly. Photos that can't be read take none."""
        size, short_side = read_size(job[0]), self.scaling["short_side"]
        if size is None:
            return _PROCESS
        pixels = size[0] * size[1]
        painted = pixels if short_side is None else pixels * (short_side / min(size)) ** 2
        return _PROCESS + pixels * _READ + min(_STRIPS, painted * _PAINTED[bool(self.stylizer.styles)])


def describe(job: Job, error: Exception) -> str:
    """What went wrong with a photo, in one line that begins with its name."""
    if isinstance(error, PictureError):
        return str(error)
    source, target = job
    if isinstance(error, OSError):  # which may name a temporary file
        return f"{source}: {target} can't be written: {error.strerror or error}"
    return f"{source}: {describe_error(error)}"


@dataclass(frozen=True)
class Plan:
    """How photos are shared out.

    Args:
        workers: number of processes; 1 for none but this one.
        threads: number of processor threads for each.
        max_memory: bytes of memory for all of them.
    """

    workers: int
    threads: int
    max_memory: float


def plan_workers(painter: PhotoPainter, jobs: Sequence[Job], *, workers: int) -> Plan:
    """Share out photos over the painter's threads and the memory that this process may use.

    Args:
        painter: what paints the photos.
        jobs: the photos, and the pictures to write.
        workers: number of processes; 0 for as many as pay off. Networks that don't run on the CPU get one, since each
            would take its own memory of a GPU.
    """
    memory, processors = USABLE * available_memory(), painter.threads or usable_processors()
    if painter.max_memory is not None:
        memory = min(memory, painter.max_memory)
    if not workers and painter.stylizer.providers[0] == CPU:
        workers = min(processors, len(jobs) // PHOTOS_A_WORKER)
        if workers > 1:
            largest = max(map(painter.estimate_memory, jobs[:: -(-len(jobs) // SAMPLE)]))
            workers = min(workers, int(memory // largest))
    workers = max(1, min(workers, len(jobs)))
    return Plan(workers, painter.threads if workers == 1 else max(1, processors // workers), memory)


@contextlib.contextmanager
def painting(painter: PhotoPainter, jobs: Sequence[Job], plan: Plan) -> Iterator[Iterator[tuple[int, Outcome]]]:
    """Paint photos as planned: the numbers of jobs and their outcomes, in the order in which they are done.

    The pictures are the same for every plan, but for rounding in photos that are painted in strips. After the context,
    nothing goes on, and no picture is half written.
    """
    if plan.workers == 1:
        yield ((number, painter(job, Saving())) for number, job in enumerate(jobs))
    else:
        shared = None if painter.max_memory is None else painter.max_memory / plan.workers
        work = replace(painter, threads=plan.threads, max_memory=shared)
        with WorkerPool(work, plan.workers, painter.estimate_memory, plan.max_memory) as pool:
            yield pool.run(jobs)
