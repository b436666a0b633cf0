"""The command `optimize`: the best single picture for a photo and a painting."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from PIL import Image

from nst_lightning.commands.command_line import command_line
from nst_lightning.commands.optimize_files import Files, beside, sole_maker
from nst_lightning.commands.optimize_progress import Meter
from nst_lightning.commands.pictures import expand_argument, find_pictures, plan_targets
from nst_lightning.commands.types import NonNegativeInt
from nst_lightning.commands.warm_start import Painter, load_init
from nst_lightning.encoders import Encoder, Pooling, build_encoder
from nst_lightning.encoders.weights import BUNDLED
from nst_lightning.errors import UserError, WorkError, describe_error, naming, renaming, require, require_above
from nst_lightning.images import (
    WRITABLE,
    PictureError,
    WritingOptions,
    check_writable,
    read_mask,
    read_picture,
    read_rgb,
    refuse_overwriting_inputs,
    require_folder,
    resize_array,
    writable_format,
)
from nst_lightning.losses import ObjectiveOptions, needed_layers
from nst_lightning.optimization import (
    ColorOptions,
    Interrupted,
    Level,
    MinimizerOptions,
    OptimizationError,
    PyramidOptions,
    UnexpectedError,
    estimate_cost,
    optimize_picture,
    plan_levels,
    shorten_for_warm_start,
)
from nst_lightning.optimization.balance import check_target
from nst_lightning.optimization.device import free_memory, is_out_of_memory, select_device, used_memory
from nst_lightning.optimization.memory import GB
from nst_lightning.optimization.scene import check_counts
from nst_lightning.system import ALL_BLOCKS, is_disk_full, keep_freed_memory

Read = TypeVar("Read")
_SINGULAR = {"blend_weights": "blend_weight", "masks": "mask"}
"""Names of options that are given once for each painting, by the names that their values have in the library."""
_UNRECORDED = ("photo", "resume", "preview", "device")
"""Arguments that make no other picture, and the photo, which comes first."""
USABLE = 0.8
"""The fraction of free memory to use by default: the estimate is not exact, and other processes need memory, too."""
LARGE_BLOCK = 2**25
"""Size in bytes from which freed blocks are returned to the system if there are tiles: kept ones would add up."""


def optimize(
    photo: str,
    style: list[str],
    output: str,
    blend_weight: list[float] | None = None,
    mask: list[str] | None = None,
    init: str | None = None,
    content_target: float | None = None,
    vgg19: str | None = BUNDLED,
    compact: str | None = BUNDLED,
    fast: bool = False,
    pooling: Pooling = "max",
    device: str = "auto",
    max_memory: float | None = None,
    preview: NonNegativeInt = 0,
    resume: bool = False,
    pyramid: PyramidOptions = PyramidOptions(),
    objective: ObjectiveOptions = ObjectiveOptions(),
    minimizer: MinimizerOptions = MinimizerOptions(),
    color: ColorOptions = ColorOptions(),
    writing: WritingOptions = WritingOptions(),
) -> None:
    """Paint a photo in the style of one or several paintings, by optimizing the picture.

    The photo's transparency and EXIF data are kept; colors are converted to sRGB. The file `picture.png.json` beside
    `picture.png` records all settings, the command that makes the picture again, and the losses of every iteration.
    After Ctrl-C, SIGTERM, SIGHUP or an error, the picture so far is written, and `picture.png.state`, from which
    `--resume` continues exactly.

    Args:
        photo: the photo, or a folder of photos, or a pattern with wildcards in quotes.
        style: a painting. If given several times, the styles are blended, or each goes where its mask is white.
        output: the picture to write: .png, .jpg, .webp or .tif; for a folder of photos, a folder.
        blend_weight: weight of a painting in the blend, given once for each `style`; by default all are the same.
        mask: mask of a painting, given once for each `style`: a picture with the photo's aspect ratio, white where the
            style goes and black elsewhere. Where all masks are black, the photo stays.
        init: start from this picture, or from the picture that a transfer network makes of the photo: an .onnx file, or
            a style that comes with the package, such as `great_wave`. Unless `levels` is given, a picture gets two
            levels, and a network paints the first level of 260 pixels or more, close to its training size.
        content_target: content loss that the picture is to have, from 0.1 to 0.9: 0.3 tints, 0.5 paints, 0.8 paints
            boldly. The style weight, which is then only the first one to try, is adapted while the picture grows. With
            masks, only the part of the picture where a style goes counts.
        vgg19: weights of VGG-19: `bundled` (exact to relu3_1, and compressed deep layers), `imagenet` or `caffe` (all
            layers, downloaded once), a file, or `null` for none.
        compact: weights of a compact encoder for the layers that `vgg19` does not offer: `bundled`, a file, which takes
            the place of the compressed layers, too, or `null`.
        fast: compare with the compact encoder alone: half the time, but the picture is not as close to the painting.
        pooling: pooling of the encoder: `max`, `average` or `l2`.
        device: device to compute on: `cpu`, `cuda`, `mps`, or `auto`, the accelerator if there is one.
        max_memory: memory for the whole process, in GB of 10^9 bytes. Pictures that need more are processed in tiles,
            with the same result; if tiles would be small, L-BFGS remembers fewer steps. By default 80 % of the free
            memory.
        preview: number of iterations between two previews, which write the picture so far; 0 for none.
        resume: continue where a signal stopped the same command; for a folder, make the missing pictures.
        pyramid: the sizes at which the picture is optimized in turn.
        objective: what the losses compare, and the weights.
        minimizer: the optimizer and its settings.
        color: whose colors the picture has.
        writing: how the picture is written.
    """
    style = [str(path) for path in find_pictures("style", style)]
    mask = None if mask is None else [str(path) for path in find_pictures("mask", mask)]
    arguments = dict(locals())
    require_above(0, max_memory=max_memory)
    possible = vgg19 in (BUNDLED, None) and compact is not None
    require("fast", fast, not fast or possible, "left out if vgg19 is given, or if compact is null")
    with renaming(**_SINGULAR):
        check_counts(len(style), masks=None if mask is None else len(mask), blend_weights=blend_weight)
    inputs = [*map(Path, [*style, *(mask or [])]), *([expand_argument("init", init)] if init else [])]
    target = expand_argument("output", output)
    photos = find_pictures("photo", [photo], without=target)
    jobs = _plan_jobs(photos, target, writing.bits, inputs=inputs)
    place = select_device(device)
    encoder = build_encoder(None if fast else vgg19, compact, pooling=pooling).to(place)
    if content_target is not None:
        check_target(content_target, objective)
    needed_layers(encoder, objective)  # refuses unknown layers once, not for every photo
    if "all" in (objective.style_layers, objective.content_layers):
        layers = [layer for layer in encoder.layers if layer.startswith("relu")]
        print(f"all layers: the encoder has {len(layers)} of VGG-19's 16, {', '.join(layers)}", file=sys.stderr)
    studio = _Studio(
        arguments=arguments,
        encoder=encoder,
        paintings=_read_each("style", style, read_rgb),
        masks=None if mask is None else _read_each("mask", mask, read_mask),
        init=None if init is None else _read_each("init", [init], load_init)[0],
        device=place,
        max_memory=used_memory(place) + USABLE * free_memory(place) if max_memory is None else max_memory * GB,
    )
    if len(photos) > 1 or photos[0].is_dir():
        _optimize_all(studio, jobs, resume=resume)
    else:
        ((source, target),) = jobs
        studio.make(source, target, resume=resume)


def _optimize_all(studio: "_Studio", jobs: Sequence[tuple[Path, Path]], *, resume: bool) -> None:
    """Optimize several photos; photos that fail don't stop the others, unless the disk is full.

    Raises:
        WorkError: a photo could not be optimized.
        Exception: the first error that nobody foresaw, after the other photos.
    """
    failed, full, bug = 0, False, None
    for source, target in jobs:
        unfinished = beside(target, "state").exists()
        if resume and not unfinished and studio.has_made(source, target):
            continue
        try:
            studio.make(source, target, resume=resume and unfinished)
        except Exception as error:
            print(f"nst-lightning: {source}: {describe_error(error)}", file=sys.stderr)
            failed += 1
            foreseen = isinstance(error, UserError | WorkError | OSError) or is_out_of_memory(error)
            bug = bug or (None if foreseen else error)
            full = is_disk_full(error)
        if full:
            break
    if bug is not None:
        raise bug
    if full:
        raise WorkError("the disk is full; the same command with --resume goes on")
    if failed:
        raise WorkError(f"{failed} of {len(jobs)} photos could not be optimized, see above")


@dataclass(frozen=True)
class _Studio:
    """The settings of a command, which are the same for all of its photos.

    Args:
        arguments: the command's arguments by name.
        encoder: the encoder whose features are compared.
        paintings: the style pictures, RGB.
        masks: the masks of the paintings, if there are any.
        init: a picture to start from, or a network that paints one; None to start as the pyramid says.
        device: device to compute on.
        max_memory: memory for the whole process, in bytes.
    """

    arguments: dict[str, Any]
    encoder: Encoder
    paintings: list[Image.Image]
    masks: list[Image.Image] | None
    init: Image.Image | Painter | None
    device: torch.device
    max_memory: float

    def has_made(self, source: Path, target: Path) -> bool:
        """Whether the same command has finished this picture already."""
        try:
            record = json.loads(beside(target, "json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        if not target.exists() or not record.get("finished"):
            return False
        return record.get("resumes") == self._resumable_command(source, target)

    def make(self, source: Path, target: Path, *, resume: bool) -> None:
        """Optimize one photo and write the picture and its record, unless another process does so."""
        with sole_maker(target):
            self._make(source, target, resume=resume)

    def _make(self, source: Path, target: Path, *, resume: bool) -> None:
        writing, masks = self.arguments["writing"], len(self.masks or ())
        with naming("photo"):
            photo = read_picture(source, bits=writing.bits)
        image = photo.image
        settings = self._settings(image.size)
        warm = self.init is not None
        levels = plan_levels(image.size, self.encoder, **settings, masks=masks, warm=warm, max_memory=self.max_memory)
        tiled = any(level.tile for level in levels)
        keep_freed_memory(below=LARGE_BLOCK if tiled else ALL_BLOCKS)
        size = levels[-1].width, levels[-1].height
        writable_format(target, bits=writing.bits, size=size)
        if writing.bits == 16:
            photo = replace(photo, rgb=resize_array(photo.array, size))  # frees the photo at full size
        files = Files(target, photo, writing, self._describe(source, target, settings), levels)
        state = files.read_state() if resume else None
        print(estimate_cost(levels, self.encoder, **settings, masks=masks), file=sys.stderr)
        meter = Meter(self.arguments["preview"], files.write_preview)
        try:
            with renaming(**_SINGULAR):
                result = optimize_picture(
                    photo.rgb,
                    self.paintings,
                    self.encoder,
                    **settings,
                    color=self.arguments["color"],
                    content_target=self.arguments["content_target"],
                    blend_weights=self.arguments["blend_weight"],
                    masks=self.masks,
                    init=self._paint_init(image, levels) if state is None else None,
                    levels=levels,
                    device=self.device,
                    progress=meter,
                    state=state,
                )
        except (Interrupted, OptimizationError, UnexpectedError) as stopped:
            meter.end()
            files.write_unfinished(stopped.result)
            raise
        meter.end()
        try:
            files.write(result)
        except BaseException:  # whatever the error was, keep the work
            files.write_state(result)
            raise

    def _settings(self, size: tuple[int, int]) -> dict[str, Any]:
        """The groups of options that determine levels and their cost, for a photo of a size."""
        pyramid = self.arguments["pyramid"]
        if isinstance(self.init, Painter):
            pyramid = self.init.adapt(pyramid, size)
        elif self.init is not None:
            pyramid = shorten_for_warm_start(pyramid, size, network=False)
        return {"pyramid": pyramid} | {name: self.arguments[name] for name in ("objective", "minimizer")}

    def _paint_init(self, photo: Image.Image, levels: list[Level]) -> Image.Image | None:
        return self.init.paint(photo, levels) if isinstance(self.init, Painter) else self.init

    def _command(self, source: Path, target: Path, **changes: Any) -> str:
        arguments = self.arguments | {"output": str(target), **changes}
        return command_line(optimize, arguments, positional=[str(source)], leave_out=_UNRECORDED)

    def _resumable_command(self, source: Path, target: Path) -> str:
        """The command without `--max-memory`, which may change when the command is resumed."""
        return self._command(source, target, max_memory=None)

    def _describe(self, source: Path, target: Path, settings: dict[str, Any]) -> dict[str, Any]:
        groups = settings | {name: self.arguments[name] for name in ("color", "writing")}
        return {
            "command": self._command(source, target),
            "resumes": self._resumable_command(source, target),
            "folder": str(Path.cwd()),
            "arguments": {name: value for name, value in self.arguments.items() if name not in groups},
            "options": {name: asdict(group) for name, group in groups.items()},
            "encoder": self.encoder.description,
            "device": str(self.device),
        }


def _plan_jobs(photos: Sequence[Path], output: Path, bits: int, *, inputs: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Photos and the pictures to write, which are checked before any work is done.

    Raises:
        UserError: a picture can't be written, or would overwrite an input or another picture.
    """
    several = len(photos) > 1 or photos[0].is_dir()
    if several and output.suffix.lower() in WRITABLE:
        reason = f"since {photos[0]} is a folder" if len(photos) == 1 else f"for {len(photos)} photos"
        raise PictureError(f"output must be a folder, {reason}, got {output}")
    if several:
        require_folder(output)
    jobs = plan_targets(
        "photo", photos, output, name_target=lambda name: output / name.with_suffix(".png") if several else output
    )
    refuse_overwriting_inputs(jobs, [*jobs.values(), *inputs])
    with naming("output"):
        return [(source, check_writable(target, bits=bits)) for target, source in jobs.items()]


def _read_each(argument: str, files: Sequence[str], read: Callable[[str], Read]) -> list[Read]:
    """Read an argument's files; errors begin with its name."""
    with naming(argument):
        return [read(file) for file in files]
