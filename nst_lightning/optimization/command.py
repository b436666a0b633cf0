"""The command `optimize`: the best single picture of a photo and a painting."""

import json
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from nst_lightning import __version__
from nst_lightning.images import WRITABLE, PictureError, atomic_path, read_picture, read_rgb, write_picture
from nst_lightning.optimization import OptimizeOptions, Progress, optimize_picture
from nst_lightning.perception.compact import BUNDLED, encoder_of


def optimize(
    photo: str,
    style: list[str],
    output: str,
    style_share: list[float] | None = None,
    vgg19: str | None = None,
    compact: str | None = BUNDLED,
    device: str = "cpu",
    **options: Any,
) -> None:
    """Optimize one picture: a photo painted in the style of one or several paintings.

    Beside the picture, a .json file keeps all settings and the losses of every iteration.

    Args:
        photo: the photo.
        style: a painting; given several times, their styles are blended.
        output: the picture to write: .png, .jpg, .webp or .tif.
        style_share: of each painting in the blend, as often as `style`; by default all the same.
        vgg19: weights of VGG-19, for best fidelity: `imagenet`, `caffe`, or a file, which may end early.
        compact: weights of a compact encoder for the layers that VGG-19 does not offer: `bundled`, a file, or `null`.
        device: where to compute: `cpu`, `cuda` or `mps`.
        **options: see `OptimizeOptions`.
    """
    settings = OptimizeOptions(**options)
    target = _writable(Path(output))
    source, paintings = read_picture(photo), [read_rgb(path) for path in style]
    encoder = encoder_of(vgg19, compact)
    result = optimize_picture(
        source.rgb, paintings, encoder, options=settings, shares=style_share, device=device, progress=_Meter()
    )
    alpha = source.alpha.resize(result.picture.size) if source.alpha else None
    write_picture(target, replace(source, rgb=result.picture, alpha=alpha))
    record = {
        "version": __version__,
        "photo": photo,
        "style": style,
        "encoder": encoder.description,
        "options": asdict(settings),
        "seconds": result.seconds,
        "iterations": result.history,
    }
    with atomic_path(target.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(record, indent=1), encoding="utf-8")
    print(f"{target} ({result.seconds:.0f} s)")


def _writable(path: Path) -> Path:
    """Refuse a file that can't be written before any work is done."""
    if path.suffix.lower() not in WRITABLE:
        raise PictureError(f"output: {path}: can't write this kind of file; endings allowed: {', '.join(WRITABLE)}")
    with atomic_path(path.with_name(f".{path.name}.try")) as temporary:
        temporary.touch()
    path.with_name(f".{path.name}.try").unlink()
    return path


class _Meter:
    """One line on the terminal: level, losses, time left."""

    def __init__(self) -> None:
        self._shown = 0.0

    def __call__(self, progress: Progress) -> None:
        last = progress.share >= 1
        if not last and time.perf_counter() - self._shown < 0.5:
            return
        self._shown = time.perf_counter()
        left = progress.seconds * (1 / max(progress.share, 1e-6) - 1)
        losses = "  ".join(f"{name} {value:.4f}" for name, value in progress.losses.items())
        line = f"level {progress.level}/{progress.levels}  {progress.share:4.0%}  {losses}  {left:.0f} s left"
        print(f"\r{line:<110}", end="\n" if last else "", file=sys.stderr, flush=True)
