"""The command `evaluate folders`: how fast folders are painted by one process, by several, and on a Ray cluster."""

import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from typing import TypeAlias

from PIL import Image

from nst_lightning.commands.pictures import find_picture, name_picture
from nst_lightning.commands.stylize_photos import USABLE, PhotoPainter, Plan, painting
from nst_lightning.commands.types import PositiveInt
from nst_lightning.commands.worker_pool import Job, Outcome
from nst_lightning.errors import WorkError, require_at_least
from nst_lightning.extras import require_extra
from nst_lightning.images import WritingOptions, read_rgb, write_picture
from nst_lightning.inference import DEFAULT_MODEL, MINIMUM_SIZE
from nst_lightning.limits import available_memory, usable_processors

Setting: TypeAlias = tuple[Callable[[PhotoPainter, Sequence[Job], Plan], float], Plan]
"""A function that paints photos and returns the seconds it takes, and how it shares them out."""


def evaluate_folders(
    photo: str,
    model: str = DEFAULT_MODEL,
    long_side: list[PositiveInt] | None = None,
    workers: list[PositiveInt] | None = None,
    count: PositiveInt = 64,
    rounds: PositiveInt = 3,
    ray: bool = False,
    provider: str | None = None,
) -> None:
    """Print how many photos of a folder are painted in a second, and how many times faster than by one process.

    Copies of a photo are read, painted and written as by `stylize`. The settings take turns; times are medians, from
    the start of the processes to the last picture.

    Args:
        photo: the photo.
        model: an .onnx file, or the name of a bundled network.
        long_side: long side in pixels to scale the photo to; by default 512, 2000 and 4000. May be given several times.
        workers: number of processes to try, which share the processors; by default 1, 2 and as many as there are
            processors. May be given several times.
        count: number of photos of up to 512 pixels. There are fewer of larger ones, but two for each process at least.
        rounds: number of turns for each setting.
        ray: also measure `stylize --engine ray` with the same numbers of workers. The start of the cluster isn't
            counted, that of the workers is.
        provider: what the network runs on, such as `cpu`, `cuda` or `openvino`; the guide to apps lists them. By
            default CUDA where it is installed and works, or else the CPU.
    """
    if ray:
        require_extra("ray")
    sides = long_side or [512, 2000, 4000]
    require_at_least(MINIMUM_SIZE, long_side=min(sides))
    processors = usable_processors()
    numbers = sorted({1, *(workers or (2, processors))})
    painter = PhotoPainter(model, 0, {"short_side": None, "strokes": 1.0}, {}, WritingOptions(), provider=provider)
    painter.stylizer.controls()  # refuses other kinds of files
    image = read_rgb(find_picture("photo", photo))
    print(f"{'photos/s':>10}{'times faster':>14}{'processes':>11}{'threads each':>14}")
    for side in sides:
        scaled = _scale(image, side)
        memory = USABLE * available_memory()
        plans = [Plan(number, max(1, processors // number), memory) for number in numbers]
        settings: list[Setting] = [*product([_paint, *([_paint_on_ray] if ray else [])], plans)]
        copies = max(2 * max(numbers), round(count * min(1, (512 / side) ** 2)))
        with tempfile.TemporaryDirectory() as folder:
            times = _take_turns(painter, _write_copies(scaled, Path(folder), copies), settings, rounds)
        for (paint, plan), seconds in zip(settings, times):
            figures = f"{copies / seconds:10.3g}{times[0] / seconds:14.2f}{plan.workers:11}{plan.threads:14}"
            engine = ", Ray" if paint is _paint_on_ray else ""
            print(f"{figures}  {copies} photos of {scaled.width}x{scaled.height}{engine}")


def _scale(image: Image.Image, long_side: int) -> Image.Image:
    scale = long_side / max(image.size)
    width, height = (max(MINIMUM_SIZE, round(side * scale)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def _write_copies(image: Image.Image, folder: Path, count: int) -> list[Job]:
    write_picture(folder / "0.jpg", image)
    for number in range(1, count):
        (folder / f"{number}.jpg").write_bytes((folder / "0.jpg").read_bytes())
    return [(folder / f"{number}.jpg", folder / "out" / f"{number}.jpg") for number in range(count)]


def _take_turns(painter: PhotoPainter, jobs: Sequence[Job], settings: Sequence[Setting], rounds: int) -> list[float]:
    """The median time of each setting, in seconds."""
    times: list[list[float]] = [[] for _ in settings]
    for _ in range(rounds):
        for measured, (paint, plan) in zip(times, settings):
            measured.append(paint(painter, jobs, plan))
    return [median(measured) for measured in times]


def _paint(painter: PhotoPainter, jobs: Sequence[Job], plan: Plan) -> float:
    """Paint photos, and return the time that it takes in seconds."""
    start = time.perf_counter()
    with painting(painter, jobs, plan) as outcomes:
        for _, outcome in outcomes:
            _require_success(outcome)
    return time.perf_counter() - start


def _paint_on_ray(painter: PhotoPainter, jobs: Sequence[Job], plan: Plan) -> float:
    """The same on a Ray cluster, which is there before."""
    from nst_lightning.commands import stylize_ray  # which needs an extra

    photos, output = (stylize_ray.open_storage("photo", str(path.parent)) for path in jobs[0])
    task = stylize_ray.Task(photos, output, partial(name_picture, file_format="keep"), skip_existing=False)
    with stylize_ray.cluster():
        start = time.perf_counter()
        for outcome in stylize_ray.painting_on_ray(painter, plan, task, stylize_ray.start_ledger()):
            _require_success(outcome)
        return time.perf_counter() - start


def _require_success(outcome: Outcome) -> None:
    if outcome.problem is not None:
        raise WorkError(outcome.problem)
