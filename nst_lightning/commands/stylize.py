"""The command `stylize`: stylizing photos and folders; pictures have the names of their photos."""

import os
import re
import warnings
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from nst_lightning.commands.command_line import command_line
from nst_lightning.commands.folder_report import FolderReport
from nst_lightning.commands.pictures import expand_argument, find_pictures, name_picture, plan_targets
from nst_lightning.commands.stylize_photos import FORESEEN, PhotoPainter, describe, painting, plan_workers
from nst_lightning.commands.stylize_video import plan_video, write_video
from nst_lightning.commands.types import NonNegativeInt, UnitInterval
from nst_lightning.commands.worker_pool import Job, Saving
from nst_lightning.errors import Notice, UserError, WorkError, naming, require, require_above
from nst_lightning.extras import require_extra
from nst_lightning.images import (
    ANIMATED,
    WRITABLE,
    Metadata,
    PictureError,
    WritingOptions,
    refuse_overwriting_inputs,
    require_folder,
    writable_format,
)
from nst_lightning.inference import DEFAULT_MODEL, Stylizer, check_short_side, check_strokes

GB = 1e9
_ENDING = re.compile(r"\.[A-Za-z]\w{1,4}")
"""What looks like the ending of a file's name, unlike the end of `out-1.5`."""


def stylize(
    photos: list[str],
    model: str = DEFAULT_MODEL,
    output: str = "out",
    style: str | list[str] | None = None,
    strength: UnitInterval = 1.0,
    preserve_color: UnitInterval = 0.0,
    short_side: int | None = None,
    strokes: float | str = 1.0,
    format: Literal["keep", "jpg", "png", "webp", "tif", "gif"] = "keep",
    quality: int = 95,
    metadata: Metadata = "keep",
    frames: Literal["first", "all"] = "first",
    steady: bool = False,
    provider: str | None = None,
    threads: NonNegativeInt = 0,
    workers: NonNegativeInt = 0,
    max_memory: float | None = None,
    skip_existing: bool = False,
    engine: Literal["local", "ray"] = "local",
) -> None:
    """Stylize photos, or a video, with an ONNX file.

    Names, transparency and EXIF data of photos are kept; their colors are converted to sRGB.

    Args:
        photos: picture files, and folders that are searched recursively. Wildcards may be in quotes. Or a single video.
        model: an .onnx file, or the name of a bundled network, such as `styles`, which has many styles.
        output: folder to write to; it gets the sub-folders of searched folders, too. For a single photo, it may also be
            the file to write: .jpg, .png, .webp or .tif, or .gif for all frames. A slash at the end makes any name a
            folder's. For a video, the file to write, .mp4, .mov, .mkv or .webm, or a folder.
        style: one of the network's styles, by default the first, or a blend: `great_wave:2,starry_night:1`, or several
            `--style`. The command `styles` lists the styles.
        strength: strength of the style, from 0, the photo itself, to 1.
        preserve_color: from 0, the painting's colors, to 1, the photo's own.
        short_side: short side in pixels to scale photos to before they are stylized; by default they keep their size.
        strokes: size of strokes in photos larger than those that the network was trained on, and than 512 pixels,
            relative to the painting's: 0.5 is finer, 2 bolder. `native` paints in a single pass, with strokes of a
            fixed size in pixels.
        format: format of the pictures in the folder; `keep` writes the format of each photo, or PNG where that format
            can't be written; `gif` is for all frames only.
        quality: quality of JPEG and WebP files, and of videos, from 1 to 100. From 90 on, JPEG files keep colors at
            full size; 100 makes WebP files lossless.
        metadata: `keep` copies each photo's EXIF data and resolution, `no-location` all but the place and the maker's
            notes; `none` leaves only transparency and sRGB's profile.
        frames: paint the first frame or page of an animation (GIF, WebP, PNG) or TIFF, or `all`, with their times.
        steady: lower the flicker of a video, or of all frames: strokes move with what they were painted on.
        provider: what the network runs on, such as `cpu`, `cuda` or `openvino`; the guide to apps lists them. By
            default CUDA where it is installed and works, or else the CPU.
        threads: number of processor threads to use; 0 for all that this process may use.
        workers: number of photos to paint at once, each in a process of its own, which share the threads. 0 for as many
            as pay off and fit the memory.
        max_memory: memory for all processes, in GB of 10^9 bytes. Photos that need more are painted in strips, with the
            same result. By default 1.1 GB beyond what a process uses, or more where strips need it.
        skip_existing: leave out photos whose pictures exist already, such as after an interruption. Pictures of other
            settings count, too.
        engine: `ray` paints a folder on a cluster, with Ray Data: that of RAY_ADDRESS, or this machine's processors.
            The folder and `--output` may be anywhere that Ray reads, such as `s3://bucket/photos`.
    """
    arguments = dict(locals())
    require_above(0, max_memory=max_memory)
    writing = WritingOptions(quality=quality, metadata=metadata)
    check_short_side(short_side)
    check_strokes(strokes)
    remote = [place for place in (*photos, output) if "://" in place and not Path(place).exists()]
    require("engine", engine, engine == "ray" or not remote, f"ray for {', '.join(remote)}")
    video = plan_video(photos, output, format)
    _check_together(photos, video is not None, format=format, frames=frames, steady=steady, engine=engine)
    animated = ANIMATED if frames == "all" else {}
    jobs = [video] if video else _plan(photos, output, format, animated) if engine == "local" else []
    blend = ",".join(style) if isinstance(style, list) else style
    controls: dict[str, Any] = {"style": blend, "strength": strength, "preserve_color": preserve_color}
    scaling: dict[str, Any] = {"short_side": short_side, "strokes": strokes}
    limit = None if max_memory is None else max_memory * GB
    painter = PhotoPainter(model, threads, scaling, controls, writing, limit, frames, steady, provider)
    stylizer = painter.stylizer
    stylizer.controls(**controls)  # refuses wrong values before any work
    _say_if_ignored(strokes, stylizer, blend)
    again = command_line(stylize, arguments | {"skip_existing": True}, positional=photos, leave_out=("photos",))
    if engine == "ray":
        from nst_lightning.commands.stylize_ray import stylize_on_ray  # which needs an extra

        naming_pictures = partial(name_picture, file_format=format, writable={*WRITABLE, *animated})
        stylize_on_ray(
            painter,
            photos[0],
            output,
            name_picture=naming_pictures,
            workers=workers,
            skip_existing=skip_existing,
            again=again,
        )
        return
    if skip_existing:
        jobs = _leave_out_existing(jobs)
    if video and jobs:
        write_video(*video, lambda frame: stylizer(frame, **scaling, **controls), writing, steady=steady)
    elif len(jobs) == 1:
        _stylize_one(painter, jobs[0])
    elif jobs:
        _stylize_several(painter, jobs, workers, again)


def _check_together(photos: Sequence[str], video: bool, *, format: str, frames: str, steady: bool, engine: str) -> None:
    """Refuse options that don't go together, or not with photos, or with a video."""
    all_frames = frames == "all"
    require("frames", frames, not (video and all_frames), "first for a video, which is painted whole")
    require("format", format, format != "gif" or all_frames, "keep, jpg, png, webp or tif unless frames is all")
    require("steady", steady, video or all_frames or not steady, "false for photos unless frames is all")
    require("engine", engine, engine == "local" or not video, "local for a video")
    if engine == "ray":
        require_extra("ray")
        require("photos", photos, len(photos) == 1, "a single folder for --engine ray")


def _stylize_one(painter: PhotoPainter, job: Job) -> None:
    try:
        painter.paint(job, Saving())
    except FORESEEN as error:
        raise WorkError(describe(job, error)) from error
    print(job[1])


def _stylize_several(painter: PhotoPainter, jobs: Sequence[Job], workers: int, again: str) -> None:
    plan = plan_workers(painter, jobs, workers=workers)
    with FolderReport(jobs, again) as report, painting(painter, jobs, plan) as outcomes:
        for number, outcome in outcomes:
            report.add(number, outcome)


def _leave_out_existing(jobs: list[Job]) -> list[Job]:
    missing = [(source, target) for source, target in jobs if not target.exists()]
    if found := len(jobs) - len(missing):
        warnings.warn(f"{found} of {len(jobs)} pictures exist already, and are kept", Notice, stacklevel=3)
    return missing


def _say_if_ignored(strokes: float | str, stylizer: Stylizer, style: str | None) -> None:
    """Give a `Notice` if the network paints all photos in a single pass, so that a size of strokes changes nothing."""
    if strokes in (1, "native"):
        return
    if fixed := str(stylizer.input_shape):
        reason = f"has a fixed {fixed}"
    elif stylizer.trained_short_side(style) is None:
        reason = "doesn't say at which size it was trained"
    else:
        return
    problem = f"strokes: {strokes} changes nothing, since the network's file {reason}"
    warnings.warn(f"{problem}: all photos are painted in a single pass", Notice, stacklevel=2)


def _plan(
    given_photos: Sequence[str], given_output: str, file_format: str, animated: Collection[str]
) -> list[tuple[Path, Path]]:
    """Photos and the pictures to write, which are checked before any work is done.

    Endings that are `animated` can be written, too.

    Raises:
        UserError: a photo is missing, or a picture would overwrite a photo or another picture.
    """
    output = expand_argument("output", given_output)
    photos = find_pictures("photos", given_photos, without=output)
    file = not given_output.endswith(("/", os.sep)) and _names_file(output, photos, file_format, animated)
    if not file:
        require_folder(output)
    for given in photos:
        if not given.exists():
            raise PictureError(f"photos: no such file or folder: {given}")
    jobs = plan_targets(
        "photos",
        photos,
        output,
        name_target=lambda name: output if file else output / name_picture(name, file_format, {*WRITABLE, *animated}),
    )
    refuse_overwriting_inputs(jobs, jobs.values())
    return [(source, target) for target, source in jobs.items()]


def _names_file(output: Path, photos: Sequence[Path], file_format: str, animated: Collection[str]) -> bool:
    """Whether `output` is, by its ending, the picture of a single photo rather than a folder.

    Raises:
        UserError: `output` is a file, but there are several photos, or the file can't be written.
    """
    several = len(photos) > 1 or photos[0].is_dir()
    picture = output.suffix.lower() in Image.registered_extensions()
    if output.is_dir() or not (picture or (_ENDING.fullmatch(output.suffix) and not several)):
        return False
    if several:
        raise PictureError(f"output must be a folder for several photos, got the file {output}")
    if not picture:  # mistyped, perhaps
        allowed = f"endings allowed: {', '.join(WRITABLE)}; or {output}{os.sep} for a folder"
        raise PictureError(f"output: {output}: can't write this kind of file; {allowed}")
    if file_format != "keep":
        raise UserError(f"format must be keep, since the ending of {output} tells the format, got {file_format}")
    if output.suffix.lower() not in animated:
        if output.suffix.lower() in ANIMATED.keys() - WRITABLE:
            raise PictureError(f"output: {output}: this kind of file is written only if frames is all")
        with naming("output"):
            writable_format(output)
    return True
