"""The command `evaluate flicker`: how much a network's pictures change where the photos hardly do."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from PIL import Image
from torch import Tensor

from nst_lightning.commands.evaluation import choose_evenly, format_header, format_rows
from nst_lightning.commands.paintings import choose_styles, find_paintings
from nst_lightning.commands.pictures import expand_argument, find_files
from nst_lightning.commands.provider import open_stylizer
from nst_lightning.commands.types import PositiveInt
from nst_lightning.encoders import image_to_tensor
from nst_lightning.encoders.weights import BUNDLED
from nst_lightning.errors import UserError, naming, require_at_least
from nst_lightning.images import is_video, read_rgb, resize_short_side
from nst_lightning.inference import check_short_side
from nst_lightning.inference.flicker import LARGEST_SHIFT, measure_clip, measure_shaken, shake
from nst_lightning.inference.steady import Steadier
from nst_lightning.metrics import SHORT_SIDE, EvaluatorGroup, build_yardstick


def evaluate_flicker(
    model: str,
    photos: str,
    paintings: list[str],
    vgg19: str | None = BUNDLED,
    compact: str | None = BUNDLED,
    count: int | None = None,
    frames: PositiveInt = 5,
    paint_short_side: int = 512,
    only: list[str] | None = None,
    provider: str | None = None,
) -> None:
    """Print the flicker of photos and of a network's pictures, without and with `stylize --steady`, and their style.

    Flicker is a root mean square in levels of 255, and a mean over clips. Each photo makes a short clip of a shaking
    camera: it is shifted by up to 4 pixels, and gets noise of 0.02. Its pictures are moved back, and compared with that
    of the photo itself. The frames of a video are compared with the ones before, moved as the frames did, where these
    look alike. The other figures are medians of each clip's last frame; `evaluate network` explains them.

    Args:
        model: the .onnx file, or the name of a bundled network.
        photos: folder of photos, or a single one; or a video.
        paintings: files of the paintings, and folders of such files: `great_wave.jpg` or `hokusai_great_wave.jpg` is
            the painting of the style `great_wave`, and so is FILE in `great_wave=FILE`.
        vgg19: weights of VGG-19: `bundled` (exact to relu3_1), `imagenet` or `caffe` (all layers, downloaded once), a
            file, or `null` for none.
        compact: weights of a compact encoder for the layers that `vgg19` does not offer: `bundled`, a file, or `null`.
        count: number of photos to use, evenly chosen; by default all.
        frames: number of frames of each clip, at least 2; of a video, the first ones.
        paint_short_side: short side in pixels to scale photos and frames to.
        only: the styles to evaluate; by default all styles of the network.
        provider: what the network runs on, such as `cpu`, `cuda` or `openvino`; the guide to apps lists them. By
            default CUDA where it is installed and works, or else the CPU.
    """
    require_at_least(1, count=count)
    require_at_least(2, frames=frames)
    check_short_side(paint_short_side, "paint_short_side")
    stylizer, yardstick = open_stylizer(model, provider), build_yardstick(vgg19, compact)
    files = find_paintings(stylizer.styles, paintings, only=choose_styles(stylizer.styles, only))
    with naming("paintings"):
        images = {style: read_rgb(file) for style, file in files.items()}
    clips = _read_clips(photos, count, frames, paint_short_side)
    width = max(5, *map(len, images)) + 1
    print(f"{'style':{width}}{'pictures':>9}{'flicker':>9}{format_header(judged=False)}")
    for style, painting in images.items():
        group = EvaluatorGroup(yardstick, image_to_tensor(painting), short_sides=(SHORT_SIDE,))
        name = style if stylizer.styles else None
        painted = [[stylizer(frame, style=name) for frame in clip.frames] for clip in clips]
        rows = {"photos": [clip.frames for clip in clips], "network": painted, "steady": _steady(clips, painted)}
        for label, pictures in rows.items():
            flicker = sum(clip.measure(made) for clip, made in zip(clips, pictures)) / len(clips)
            (row,) = format_rows(group, _measure_last(group, clips, pictures))
            print(f"{style:{width}}{label:>9}{flicker:9.1f}{row}")


@dataclass(frozen=True)
class _Clip:
    """Frames, and a function that measures the flicker of their pictures."""

    frames: list[Image.Image]
    measure: Callable[[Sequence[Image.Image]], float]


def _read_clips(photos: str, count: int | None, frames: int, short_side: int) -> list[_Clip]:
    if is_video(photos):
        from nst_lightning.inference.video import read_frames  # which needs an extra

        with naming("photos"):
            read = islice(read_frames(expand_argument("photos", photos)), frames)
            seen = [resize_short_side(frame, short_side) for frame in read]
            if len(seen) < 2:
                raise UserError(f"{photos} must have 2 frames or more, got {len(seen)}")
        return [_Clip(seen, lambda pictures: measure_clip(seen, pictures))]
    with naming("photos"):
        images = [read_rgb(file) for file in choose_evenly(find_files("photos", [photos]), count)]
    return [_shake(resize_short_side(image, short_side + 2 * LARGEST_SHIFT), frames) for image in images]


def _shake(photo: Image.Image, frames: int) -> _Clip:
    shaken, shifts = shake(photo, frames)
    return _Clip(shaken, lambda pictures: measure_shaken(pictures, shifts))


def _steady(clips: Sequence[_Clip], painted: Sequence[Sequence[Image.Image]]) -> list[list[Image.Image]]:
    steady = []
    for clip, pictures in zip(clips, painted):
        steadier = Steadier()
        steady.append([steadier(frame, picture) for frame, picture in zip(clip.frames, pictures)])
    return steady


def _measure_last(group: EvaluatorGroup, clips: Sequence[_Clip], pictures: Sequence[Sequence[Image.Image]]) -> Tensor:
    """The figures of each clip's last frame."""
    pairs = ((image_to_tensor(made[-1]), image_to_tensor(clip.frames[-1])) for made, clip in zip(pictures, clips))
    return torch.cat([group.measure(picture, photo) for picture, photo in pairs])
