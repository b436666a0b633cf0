"""The command `benchmark`: how good pictures are after so many seconds, by several methods, in one run."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image

from nst_lightning.commands.evaluate_pictures import Judge
from nst_lightning.commands.warm_start import network_of, paint_first_level, warm_start_options
from nst_lightning.encoders import build_encoder
from nst_lightning.errors import require
from nst_lightning.images import expand_path, list_pictures, read_rgb
from nst_lightning.optimization import Interrupted, OptimizeOptions, Progress, optimize_picture
from nst_lightning.optimization.device import select_device
from nst_lightning.optimization.plan import plan
from nst_lightning.system import keep_freed_memory

NEVER = 10**9


def evaluate_optimizer(
    photos: str,
    paintings: str,
    vgg19: str | None = "imagenet",
    compact: str | None = None,
    own_compact: str | None = None,
    method: list[str] | None = None,
    seconds: list[float] = [15, 30, 60, 120],  # noqa: B006
    count: int = 4,
    model: str | None = None,
    size: int = 384,
    device: str = "auto",
    **options: float | str,
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
        own_compact: optimize against this compact encoder alone, `bundled` or a file, not the one that judges.
        method: which of the four, given once or several times; by default all, `warm` if there is a `model`.
        seconds: at which pictures are looked at.
        count: how many pictures are optimized.
        model: a transfer network of the painting, for `warm`: an .onnx file, or a style that comes with the package.
        size: long side of the pictures in pixels.
        device: where to compute: `cpu`, `cuda`, `mps`, or `auto`, the accelerator if there is one.
        **options: see `OptimizeOptions`; of the pyramid and `warm`.
    """
    require("seconds", seconds, bool(seconds) and min(seconds) > 0, "one or more times > 0")
    keep_freed_memory()
    place = select_device(device)
    reference = build_encoder(vgg19, compact).to(place)
    encoder = reference if own_compact is None else build_encoder(None, own_compact).to(place)
    chosen = _options(OptimizeOptions(size=size, **options), warm=model is not None)
    require("method", method, set(method or []) <= set(chosen), f"of {', '.join(chosen)} (`warm` needs a model)")
    chosen = {name: chosen[name] for name in method or chosen}
    pairs = _pairs(photos, paintings, count)
    judges = [Judge(photo, painting, reference) for photo, painting in pairs]
    print(f"{'method':10}{'seconds':>9}{'content':>9}{'style':>9}{'at 1':>9}{'at 1/2':>9}{'at 1/4':>9}{'grit':>9}")
    for name, of_method in chosen.items():
        looks = []
        for photo, painting in pairs:
            start, init, of_photo = time.perf_counter(), None, of_method
            if name == "warm":
                network = network_of(model)
                of_photo = warm_start_options(of_method, photo.size, network)
                init = paint_first_level(network, photo, plan(photo.size, encoder, of_photo, warm=True))
            watch = _Watch(sorted(seconds), before=time.perf_counter() - start)
            try:
                found = optimize_picture(
                    photo, [painting], encoder, options=of_photo, init=init, device=place, progress=watch
                )
            except Interrupted as interrupted:
                if not watch.done:
                    raise
                found = interrupted.result
            looks.append(watch.ended(found.picture, found.seconds))
        for at, pictures in zip([*sorted(seconds), None], zip(*looks)):
            of_pictures = [judge(picture) for judge, (picture, _) in zip(judges, pictures)]
            figures = torch.tensor(of_pictures).quantile(0.5, dim=0).tolist()
            taken = torch.tensor([elapsed for _, elapsed in pictures]).quantile(0.5).item()
            label = f"{at:9.0f}" if at is not None else f"{taken:8.0f}*"
            print(f"{name:10}{label}" + "".join(f"{figure:9.3f}" for figure in figures), flush=True)
    print("* when it ended")


def _options(pyramid: OptimizeOptions, *, warm: bool) -> dict[str, OptimizeOptions]:
    plain = replace(pyramid, levels=1, scales={1: 1.0}, iterations=NEVER)
    chosen = {"lbfgs": plain, "adam": replace(plain, optimizer="adam"), "pyramid": pyramid}
    return {**chosen, "warm": pyramid} if warm else chosen


def _pairs(photos: str, paintings: str, count: int) -> list[tuple[Image.Image, Image.Image]]:
    contents, styles = (_list(path) for path in (photos, paintings))
    chosen = [contents[i * len(contents) // count] for i in range(min(count, len(contents)))]
    return [(read_rgb(path), read_rgb(styles[i % len(styles)])) for i, path in enumerate(chosen)]


def _list(path: str) -> list[Path]:
    expanded = expand_path(path)
    return list_pictures(expanded) if expanded.is_dir() else [expanded]


class _Watch:
    """Looks at a picture when so many seconds have passed, and ends the optimization after the last look."""

    def __init__(self, seconds: Sequence[float], *, before: float) -> None:
        self._seconds, self._before, self._looks = list(seconds), before, []

    @property
    def done(self) -> bool:
        return len(self._looks) == len(self._seconds)

    def __call__(self, progress: Progress) -> None:
        elapsed = self._before + progress.seconds
        while not self.done and elapsed >= self._seconds[len(self._looks)]:
            self._looks.append((progress.draw(), elapsed))
        if self.done:
            raise KeyboardInterrupt

    def ended(self, picture: Image.Image, seconds: float) -> list[tuple[Image.Image, float]]:
        """All looks; after its end a picture stays as it is."""
        missing = len(self._seconds) + 1 - len(self._looks)
        return [*self._looks, *[(picture, self._before + seconds)] * missing]
