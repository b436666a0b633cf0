"""The command `evaluate optimizer`: how good pictures are after so many seconds, by several methods, in one run."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image

from nst_lightning.commands.evaluation import choose_evenly, format_figures, format_header, list_files
from nst_lightning.commands.types import PositiveFloat, PositiveInt
from nst_lightning.commands.warm_start import load_painter
from nst_lightning.encoders import Encoder, build_encoder, image_to_tensor
from nst_lightning.errors import require
from nst_lightning.images import read_rgb
from nst_lightning.losses import ObjectiveOptions
from nst_lightning.metrics import Evaluator
from nst_lightning.optimization import (
    ColorOptions,
    MinimizerOptions,
    Progress,
    PyramidOptions,
    optimize_picture,
    plan_levels,
)
from nst_lightning.optimization.device import select_device
from nst_lightning.system import keep_freed_memory

UNLIMITED = 10**9
"""Iterations of methods that end when the last look has been taken."""


class Method(NamedTuple):
    """A way to optimize pictures, as `optimize_picture` takes it, and the network whose pictures it starts from."""

    pyramid: PyramidOptions
    objective: ObjectiveOptions
    minimizer: MinimizerOptions
    color: ColorOptions
    model: str | None = None


class Look(NamedTuple):
    """A picture, and how many seconds it took."""

    picture: Image.Image
    seconds: float


def evaluate_optimizer(
    photos: str,
    paintings: str,
    vgg19: str | None = "imagenet",
    compact: str | None = None,
    optimize_with: str | None = None,
    method: list[str] | None = None,
    seconds: list[PositiveFloat] = [15, 30, 60, 120],  # noqa: B006
    count: PositiveInt = 4,
    model: str | None = None,
    device: str = "auto",
    pyramid: PyramidOptions = PyramidOptions(long_side=384),
    objective: ObjectiveOptions = ObjectiveOptions(),
    minimizer: MinimizerOptions = MinimizerOptions(),
    color: ColorOptions = ColorOptions(),
) -> None:
    """Print content, style across scales and grit of optimized pictures after so many seconds, for several methods.

    Methods: `lbfgs` and `adam` at full size and one scale from the photo, as Gatys et al. did; the `pyramid` that
    `optimize` uses; and `warm`, its levels of 260 pixels or more, from a transfer network's picture. Medians over the
    pictures.

    Args:
        photos: a photo, or a folder of photos.
        paintings: a painting, or a folder of paintings, taken in turns with the photos.
        vgg19: weights of VGG-19: `imagenet`, `caffe`, or a file, which may end early beside `compact`; `null` for none.
        compact: weights file of a compact encoder, for the layers that VGG-19's file does not have.
        optimize_with: optimize with this compact encoder alone, `bundled` or a file, not with the one that judges.
        method: which of the four, given once or several times; by default all, `warm` if there is a `model`.
        seconds: at which pictures are looked at.
        count: how many pictures are optimized.
        model: a transfer network of the painting, for `warm`: an .onnx file, or a style that comes with the package.
        device: where to compute: `cpu`, `cuda`, `mps`, or `auto`, the accelerator if there is one.
        pyramid: of `pyramid` and `warm`, see `PyramidOptions`.
        objective: see `ObjectiveOptions`.
        minimizer: of `pyramid` and `warm`, see `MinimizerOptions`.
        color: see `ColorOptions`.
    """
    require("seconds", seconds, bool(seconds), "one or more times")
    methods = _list_methods(Method(pyramid, objective, minimizer, color), model)
    require("method", method, set(method or []) <= set(methods), f"of {', '.join(methods)} (`warm` needs a model)")
    keep_freed_memory()
    place = select_device(device)
    judge = build_encoder(vgg19, compact).to(place)
    encoder = judge if optimize_with is None else build_encoder(None, optimize_with).to(place)
    pairs = _pair(list_files(photos), list_files(paintings), count)
    times = sorted(seconds)
    print(f"{'method':10}{'seconds':>9}{format_header()}")
    for name in method or methods:
        rows = [_optimize(photo, painting, encoder, methods[name], times) for photo, painting in pairs]
        for at, looks in zip([*times, None], zip(*rows)):
            figures = [_measure(judge, pair, look.picture) for pair, look in zip(pairs, looks)]
            medians = torch.tensor(figures).quantile(0.5, dim=0).tolist()
            taken = torch.tensor([look.seconds for look in looks]).quantile(0.5).item()
            label = f"{at:9.0f}" if at is not None else f"{taken:8.0f}*"
            print(f"{name:10}{label}{format_figures(medians)}", flush=True)
    print("* when it ended")


def _list_methods(pyramid: Method, model: str | None) -> dict[str, Method]:
    plain = replace(pyramid.pyramid, levels=1, iterations=UNLIMITED, refine_iterations=UNLIMITED)
    lbfgs = pyramid._replace(pyramid=plain, objective=replace(pyramid.objective, style_scales={1: 1.0}))
    adam = lbfgs._replace(minimizer=replace(pyramid.minimizer, optimizer="adam"))
    methods = {"lbfgs": lbfgs, "adam": adam, "pyramid": pyramid}
    return methods if model is None else {**methods, "warm": pyramid._replace(model=model)}


def _pair(photos: Sequence[Path], paintings: Sequence[Path], count: int) -> list[tuple[Image.Image, Image.Image]]:
    chosen = choose_evenly(photos, count)
    return [(read_rgb(path), read_rgb(paintings[i % len(paintings)])) for i, path in enumerate(chosen)]


def _optimize(
    photo: Image.Image, painting: Image.Image, encoder: Encoder, method: Method, times: Sequence[float]
) -> list[Look]:
    """The picture at each of the times, and at the end; after its end it stays as it is."""
    start, init, pyramid = time.perf_counter(), None, method.pyramid
    if method.model is not None:
        painter = load_painter(method.model)
        pyramid = painter.adapt(pyramid, photo.size)
        levels = plan_levels(
            photo.size, encoder, pyramid=pyramid, objective=method.objective, minimizer=method.minimizer, warm=True
        )
        init = painter.paint(photo, levels)
    before = time.perf_counter() - start
    looks: list[Look] = []

    def watch(progress: Progress) -> bool:
        elapsed = before + progress.seconds
        while len(looks) < len(times) and elapsed >= times[len(looks)]:
            looks.append(Look(progress.draw(), elapsed))
        return len(looks) == len(times)

    groups: dict[str, Any] = method._replace(pyramid=pyramid)._asdict()
    del groups["model"]
    device = next(encoder.parameters()).device
    made = optimize_picture(photo, [painting], encoder, **groups, init=init, device=device, progress=watch)
    missing = len(times) + 1 - len(looks)
    return [*looks, *[Look(made.picture, before + made.seconds)] * missing]


def _measure(judge: Encoder, pair: tuple[Image.Image, Image.Image], picture: Image.Image) -> list[float]:
    device = next(judge.parameters()).device
    photo, painting, made = (image_to_tensor(image).to(device) for image in (*pair, picture))
    return Evaluator(judge, painting).measure(made, photo)[0].tolist()
