"""The command `optimize`: the best single picture of a photo and a painting."""

import inspect
import json
import math
import platform
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image

from nst_lightning import __version__
from nst_lightning.images import (
    WRITABLE,
    Picture,
    PictureError,
    array_to_image,
    atomic_path,
    image_to_array,
    list_pictures,
    read_picture,
    read_rgb,
    writable_format,
    write_picture,
)
from nst_lightning.optimization import Interrupted, Optimized, OptimizeOptions, Progress, optimize_picture
from nst_lightning.optimization.device import device_named, free_memory, used_memory
from nst_lightning.optimization.memory import GB
from nst_lightning.optimization.plan import Level, foretold, plan
from nst_lightning.perception import Encoder
from nst_lightning.perception.compact import BUNDLED, encoder_of
from nst_lightning.perception.encoders import Pooling

USABLE = 0.8
"""Of the memory that is free, unless told otherwise: the estimate is no bound, and others need some."""
WARM_LEVELS = 2
"""From a picture that is painted already: smaller levels would forget it."""


def optimize(
    photo: str,
    style: list[str],
    output: str,
    style_share: list[float] | None = None,
    mask: list[str] | None = None,
    init: str | None = None,
    vgg19: str | None = None,
    compact: str | None = BUNDLED,
    pooling: Pooling = "max",
    device: str = "auto",
    max_memory: float | None = None,
    bits: Literal[8, 16] = 8,
    preview: int = 0,
    resume: bool = False,
    **options: Any,
) -> None:
    """Optimize one picture: a photo painted in the style of one or several paintings.

    The photo's transparency, colour profile and EXIF data are kept. Beside the picture, a .json file keeps all
    settings, the command that makes it again and the losses of every iteration. Ctrl-C writes the picture so far, and a
    .state file from which `--resume` goes on exactly.

    Args:
        photo: the photo, or a folder of photos.
        style: a painting; given several times, their styles are blended, or go where their masks say.
        output: the picture to write: .png, .jpg, .webp or .tif; for a folder of photos, a folder.
        style_share: of each painting in the blend, as often as `style`; by default all the same.
        mask: where a painting's style goes, white on black, as large as the photo or of its aspect ratio; as often as
            `style`. Elsewhere the photo stays.
        init: start from this picture, or from what this transfer network (.onnx) makes of the photo; with two levels,
            unless `levels` says otherwise.
        vgg19: weights of VGG-19, for best fidelity: `imagenet`, `caffe`, or a file, which may end early.
        compact: weights of a compact encoder for the layers that VGG-19 does not offer: `bundled`, a file, or `null`.
        pooling: of the encoder: `max`, `average` or `l2`.
        device: where to compute: `cpu`, `cuda`, `mps`, or `auto`, the accelerator if there is one.
        max_memory: in GB of 10^9 bytes, for the whole process; pictures that need more are worked on in tiles, with the
            same result. By default 80 % of what is free.
        bits: a channel; 16 for .png and .tif only.
        preview: write the picture so far every so many iterations; 0 never.
        resume: go on from where Ctrl-C ended the same command; of a folder, make what is missing.
        **options: see `OptimizeOptions`.
    """
    given = {**locals()}
    settings = OptimizeOptions(**options)
    if not preview >= 0:
        raise ValueError(f"preview: {preview} is not allowed; it must be 0 or more")
    if init is not None and settings.levels is None:
        settings = replace(settings, levels=WARM_LEVELS)
    jobs = _jobs(Path(photo), Path(output), bits)
    place = device_named(device)
    memory = used_memory(place) + USABLE * free_memory(place) if max_memory is None else max_memory * GB
    studio = _Studio(
        given=given,
        options=settings,
        encoder=encoder_of(vgg19, compact, pooling=pooling).to(place),
        pictures={
            "styles": [read_rgb(path) for path in style],
            "masks": None if mask is None else [read_rgb(path) for path in mask],
            "shares": style_share,
            "max_memory": memory,
            "device": place,
        },
    )
    failed = 0
    for source, target in jobs:
        state = target.with_suffix(".state")
        if resume and len(jobs) > 1 and target.with_suffix(".json").exists() and not state.exists():
            continue  # the record is written last
        try:
            studio.make(source, target, state if resume and (state.exists() or len(jobs) == 1) else None)
        except ValueError as error:  # bad photos don't cost the others
            if len(jobs) == 1:
                raise
            print(f"nst-lightning: {source}: {error}", file=sys.stderr)
            failed += 1
    if failed:
        raise RuntimeError(f"{failed} of {len(jobs)} photos could not be optimized, see above")


@dataclass(frozen=True)
class _Studio:
    """What is the same for all photos of a command.

    Args:
        given: the command's arguments.
        options: how to optimize.
        encoder: against which.
        pictures: further arguments of `optimize_picture`.
    """

    given: dict[str, Any]
    options: OptimizeOptions
    encoder: Encoder
    pictures: dict[str, Any]

    def make(self, source: Path, target: Path, state: Path | None) -> None:
        """Optimize one photo and write the picture and its record."""
        bits = self.given["bits"]
        photo = read_picture(source, bits=bits)
        image = array_to_image(photo.rgb) if bits == 16 else photo.rgb
        command = command_line(self.given | {"photo": str(source), "output": str(target)})
        masks = len(self.pictures["masks"] or ())
        levels = plan(image.size, self.encoder, self.options, masks=masks, max_memory=self.pictures["max_memory"])
        print(foretold(levels, self.encoder, self.options, masks=masks), file=sys.stderr)

        def keep(result: Optimized) -> None:
            _write(target, result.pixels, photo, bits)
            _write_record(target, result, self.options, self.encoder, command)

        try:
            result = optimize_picture(
                photo.rgb,
                encoder=self.encoder,
                options=self.options,
                init=_initial(self.given["init"], image, levels[-1]),
                progress=_Meter(self.given["preview"], lambda pixels: _write(target, pixels, photo, bits)),
                state=None if state is None else _read_state(state, command),
                **self.pictures,
            )
        except Interrupted as interrupted:
            keep(interrupted.result)
            raise
        keep(result)


def _write(target: Path, pixels: np.ndarray, photo: Picture, bits: Literal[8, 16]) -> None:
    """The pixels as picture, with what the photo's file had beside its own."""
    height, width = pixels.shape[1:]
    alpha = photo.alpha.resize((width, height), Image.Resampling.BICUBIC) if photo.alpha else None
    write_picture(target, replace(photo, rgb=pixels, alpha=alpha), bits=bits)


def _write_record(target: Path, result: Optimized, options: OptimizeOptions, encoder: Encoder, command: str) -> None:
    """All about a picture as .json beside it, and the state of one that was interrupted."""
    finite = [{name: x if math.isfinite(x) else None for name, x in entry.items()} for entry in result.history]
    record = {
        "command": command,
        "versions": {"nst-lightning": __version__, "torch": torch.__version__, "python": platform.python_version()},
        "encoder": encoder.description,
        "options": asdict(options),
        "seconds": result.seconds,
        "iterations": finite,
    }
    state = target.with_suffix(".state")
    if result.state is not None:
        with atomic_path(state) as temporary:
            torch.save(result.state | {"command": command}, temporary)
        print(f"\n{target} so far ({result.seconds:.0f} s); the same command with --resume goes on")
    with atomic_path(target.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(record, indent=1, allow_nan=False), encoding="utf-8")
    if result.state is None:
        state.unlink(missing_ok=True)
        print(f"{target} ({result.seconds:.0f} s)")


def command_line(given: dict[str, Any]) -> str:
    """The command that makes the same picture; arguments that have their default values are left out."""
    words = ["python", "-m", "nst_lightning", "optimize", given["photo"]]
    defaults = {name: parameter.default for name, parameter in inspect.signature(optimize).parameters.items()}
    defaults |= {field.name: getattr(OptimizeOptions(), field.name) for field in fields(OptimizeOptions)}
    values = {name: value for name, value in (given | given["options"]).items() if name not in ("photo", "options")}
    for name, value in values.items():
        if name in ("resume", "preview", "device", "max_memory") or value == defaults[name]:
            continue
        for item in value if isinstance(value, list) else [value]:
            text = item if isinstance(item, str) else json.dumps(item)
            words += [f"--{name.replace('_', '-')}", text]
    return shlex.join(words)


def _jobs(photo: Path, output: Path, bits: int) -> list[tuple[Path, Path]]:
    """Photos and the files to write, which are checked before any work is done."""
    folder = photo.is_dir()
    if folder and output.suffix.lower() in WRITABLE:
        raise PictureError(f"output: {output}: {photo} is a folder, so this must be one, too")
    jobs: dict[Path, Path] = {}
    for source in list_pictures(photo) if folder else [photo]:
        if folder and source.resolve().is_relative_to(output.resolve()):
            continue  # the folder holds its own output
        target = output / source.relative_to(photo).with_suffix(".png") if folder else output
        if jobs.setdefault(target, source) != source:
            raise ValueError(f"photo: {jobs[target]} and {source} would both be written to {target}")
        if source.exists() and target.exists() and target.samefile(source):
            raise ValueError(f"output: {target} would overwrite the photo itself")
    return [(source, writable(target, bits)) for target, source in jobs.items()]


def writable(path: Path, bits: int = 8) -> Path:
    """Refuse a file that can't be written."""
    writable_format(path, bits=bits)
    with atomic_path(path.with_name(f".{path.name}.try")) as temporary:
        temporary.touch()
    path.with_name(f".{path.name}.try").unlink()
    return path


def _read_state(path: Path, command: str) -> dict[str, Any]:
    if not path.exists():
        raise ValueError(f"resume: {path} is missing; there is nothing to go on from")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever it stumbles over
        raise ValueError(f"resume: {path} can't be read ({type(error).__name__})") from error
    if state.get("command") != command:
        raise ValueError(f"resume: {path} is not of this command but of: {state.get('command')}")
    return state


def _initial(init: str | None, photo: Image.Image, level: Level) -> Image.Image | None:
    """A picture, or what a transfer network makes of the photo at the level's size."""
    if init is None:
        return None
    if not init.lower().endswith(".onnx"):
        return read_rgb(init)
    from nst_lightning.inference import Stylizer

    return Stylizer(init)(photo.resize((level.width, level.height), Image.Resampling.LANCZOS))


class _Meter:
    """One line on the terminal: level, losses, time left; and a preview now and then."""

    def __init__(self, preview: int, write: Callable[[np.ndarray], None]) -> None:
        self._preview, self._write = preview, write
        self._shown, self._count = 0.0, 0

    def __call__(self, progress: Progress) -> None:
        self._count += 1
        if self._preview and self._count % self._preview == 0:
            self._write(image_to_array(progress.draw()))
        last = progress.share >= 1
        if not last and time.perf_counter() - self._shown < 0.5:
            return
        self._shown = time.perf_counter()
        left = progress.seconds * (1 / max(progress.share, 1e-6) - 1)
        losses = "  ".join(f"{name} {value:.4f}" for name, value in progress.losses.items())
        line = f"level {progress.level}/{progress.levels}  {progress.share:4.0%}  {losses}  {left:.0f} s left"
        print(f"\r{line:<110}", end="\n" if last else "", file=sys.stderr, flush=True)
