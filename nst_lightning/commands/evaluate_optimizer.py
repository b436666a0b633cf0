"""The command `evaluate optimizer`: the quality of pictures after given times, for several methods in one run."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from nst_lightning.commands.evaluation import (
    choose_evenly,
    choose_short_sides,
    format_header,
    format_rows,
    load_judge,
)
from nst_lightning.commands.pictures import find_files
from nst_lightning.commands.types import PositiveFloat, PositiveInt
from nst_lightning.commands.warm_start import load_painter
from nst_lightning.encoders import Encoder, build_encoder, image_to_tensor
from nst_lightning.encoders.weights import BUNDLED
from nst_lightning.errors import naming, require
from nst_lightning.images import read_rgb
from nst_lightning.losses import ObjectiveOptions
from nst_lightning.metrics import SHORT_SIDE, EvaluatorGroup, build_yardstick
from nst_lightning.optimization import (
    ColorOptions,
    MinimizerOptions,
    Progress,
    PyramidOptions,
    optimize_picture,
    plan_levels,
)
from nst_lightning.optimization.device import device_of, select_device
from nst_lightning.system import keep_freed_memory

Pair = tuple[Image.Image, Image.Image]
"""A photo and its painting."""
UNLIMITED = 10**9
"""Number of iterations of methods that run until the last snapshot is taken."""


class Method(NamedTuple):
    """The options of `optimize_picture` for a method, and the network whose pictures it starts from, if any."""

    pyramid: PyramidOptions
    objective: ObjectiveOptions
    minimizer: MinimizerOptions
    color: ColorOptions
    model: str | None = None


class Snapshot(NamedTuple):
    """A picture, and the seconds that it took so far."""

    picture: Image.Image
    seconds: float


def evaluate_optimizer(
    photos: str,
    paintings: str,
    vgg19: str | None = BUNDLED,
    compact: str | None = BUNDLED,
    judge: str | None = None,
    optimize_with: str | None = None,
    method: list[str] | None = None,
    seconds: list[PositiveFloat] = [15, 30, 60, 120],  # noqa: B006
    short_side: list[int] | None = None,
    count: PositiveInt = 4,
    model: str | None = None,
    device: str = "auto",
    pyramid: PyramidOptions = PyramidOptions(long_side=384),
    objective: ObjectiveOptions = ObjectiveOptions(),
    minimizer: MinimizerOptions = MinimizerOptions(),
    color: ColorOptions = ColorOptions(),
) -> None:
    """Print content, style across scales, grit and color grit of optimized pictures after given times, by method.

    The methods are `lbfgs` and `adam`, which start from the photo at full size and compare style at one scale, as Gatys
    et al. did; `pyramid`, which `optimize` uses; and `warm`, which starts from a transfer network's picture and has
    only the pyramid's levels of 260 pixels or more. The figures are medians over the pictures.

    Args:
        photos: a photo, or a folder of photos.
        paintings: a painting, or a folder of paintings, of which each photo takes the next.
        vgg19: weights of VGG-19: `bundled` (exact to relu3_1), `imagenet` or `caffe` (all layers, downloaded once), a
            file, or `null` for none.
        compact: weights of a compact encoder for the layers that `vgg19` does not offer: `bundled`, a file, or `null`.
        judge: weights of VGG-16, `imagenet` or a file, for a second content and style, at layers that nothing was
            trained with; `null` for none.
        optimize_with: compact encoder to optimize with, `bundled` or a file; by default the encoder that
            `optimize` uses.
        method: one of the four methods; may be given several times. By default all, `warm` only with `model`.
        seconds: the times at which pictures are measured.
        short_side: short side in pixels at which pictures are compared; may be given several times. By default 256, and
            the smallest picture's own if that is larger.
        count: number of pictures to optimize.
        model: transfer network for the painting, for `warm`: an .onnx file, or a style that comes with the package.
        device: device to compute on: `cpu`, `cuda`, `mps`, or `auto`, the accelerator if there is one.
        pyramid: options of the methods `pyramid` and `warm`, see `PyramidOptions`.
        objective: see `ObjectiveOptions`.
        minimizer: options of the methods `pyramid` and `warm`, see `MinimizerOptions`.
        color: see `ColorOptions`.
    """
    choose_short_sides(short_side, SHORT_SIDE)  # refused before anything is read
    require("seconds", seconds, bool(seconds), "one or more times")
    methods = _list_methods(Method(pyramid, objective, minimizer, color), model)
    require("method", method, set(method or []) <= set(methods), f"some of {', '.join(methods)} (`warm` needs model)")
    keep_freed_memory()
    place = select_device(device)
    yardstick = build_yardstick(vgg19, compact).to(place)
    weights = (vgg19, compact) if optimize_with is None else (None, optimize_with)
    encoder = build_encoder(*weights).to(place)
    judging = load_judge(judge, place)
    pairs = _pair(find_files("photos", [photos]), find_files("paintings", [paintings]), count)
    times = sorted(seconds)
    with naming("model"):
        if model is not None:
            load_painter(model)  # refused before anything is printed
    print(f"{'method':10}{'seconds':>9}{format_header(judged=judging is not None)}")
    built: dict[tuple[int, ...], list[EvaluatorGroup]] = {}
    for name in method or methods:
        rows = [_optimize(photo, painting, encoder, methods[name], times) for photo, painting in pairs]
        compared = choose_short_sides(short_side, min(side for *_, last in rows for side in last.picture.size))
        if compared not in built:
            built[compared] = _build_groups(pairs, yardstick, compared, judging)
        groups = built[compared]
        for time_limit, snapshots in zip([*times, None], zip(*rows)):
            found = [_measure(group, pair, snapshot) for group, pair, snapshot in zip(groups, pairs, snapshots)]
            taken = torch.tensor([snapshot.seconds for snapshot in snapshots]).quantile(0.5).item()
            label = f"{time_limit:9.0f}" if time_limit is not None else f"{taken:8.0f}*"
            for row in format_rows(groups[0], torch.cat(found)):
                print(f"{name:10}{label}{row}", flush=True)
    print("* at the end of the method")


def _list_methods(pyramid: Method, model: str | None) -> dict[str, Method]:
    plain = replace(pyramid.pyramid, levels=1, iterations=UNLIMITED, refine_iterations=UNLIMITED)
    lbfgs = pyramid._replace(pyramid=plain, objective=replace(pyramid.objective, style_scales={1: 1.0}))
    adam = lbfgs._replace(minimizer=replace(pyramid.minimizer, optimizer="adam"))
    methods = {"lbfgs": lbfgs, "adam": adam, "pyramid": pyramid}
    return methods if model is None else {**methods, "warm": pyramid._replace(model=model)}


def _pair(photos: Sequence[Path], paintings: Sequence[Path], count: int) -> list[Pair]:
    chosen = choose_evenly(photos, count)
    return [(read_rgb(path), read_rgb(paintings[i % len(paintings)])) for i, path in enumerate(chosen)]


def _optimize(
    photo: Image.Image, painting: Image.Image, encoder: Encoder, method: Method, times: Sequence[float]
) -> list[Snapshot]:
    """Snapshots at each of the times and at the end; a method that has ended keeps its last picture."""
    start, init, pyramid = time.perf_counter(), None, method.pyramid
    if method.model is not None:
        painter = load_painter(method.model)
        pyramid = painter.adapt(pyramid, photo.size)
        levels = plan_levels(
            photo.size, encoder, pyramid=pyramid, objective=method.objective, minimizer=method.minimizer, warm=True
        )
        init = painter.paint(photo, levels)
    before = time.perf_counter() - start
    snapshots: list[Snapshot] = []

    def watch(progress: Progress) -> bool:
        elapsed = before + progress.seconds
        while len(snapshots) < len(times) and elapsed >= times[len(snapshots)]:
            snapshots.append(Snapshot(progress.draw(), elapsed))
        return len(snapshots) == len(times)

    groups: dict[str, Any] = method._replace(pyramid=pyramid)._asdict()
    del groups["model"]
    device = next(encoder.parameters()).device
    result = optimize_picture(photo, [painting], encoder, **groups, init=init, device=device, progress=watch)
    missing = len(times) + 1 - len(snapshots)
    return [*snapshots, *[Snapshot(result.picture, before + result.seconds)] * missing]


def _build_groups(
    pairs: Sequence[Pair], encoder: Encoder, short_sides: Sequence[int], judge: Encoder | None
) -> list[EvaluatorGroup]:
    """The evaluators of each pair's painting."""
    paintings = [image_to_tensor(painting).to(device_of(encoder)) for _, painting in pairs]
    return [EvaluatorGroup(encoder, painting, short_sides=short_sides, judge=judge) for painting in paintings]


def _measure(group: EvaluatorGroup, pair: Pair, snapshot: Snapshot) -> Tensor:
    device = device_of(group)
    photo, picture = (image_to_tensor(image).to(device) for image in (pair[0], snapshot.picture))
    return group.measure(picture, photo)
