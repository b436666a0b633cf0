"""The command `evaluate network`: how good a transfer network's pictures are, beside optimized ones."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from torch import Tensor

from nst_lightning.commands.evaluation import choose_evenly, format_figures, format_header, list_files
from nst_lightning.commands.paintings import find_paintings
from nst_lightning.commands.types import NonNegativeInt
from nst_lightning.encoders import build_encoder, image_to_tensor
from nst_lightning.errors import UserError, require_at_least, suggest_names
from nst_lightning.images import (
    check_writable,
    draw_labeled,
    read_rgb,
    refuse_overwriting_inputs,
    resize_short_side,
    write_picture,
)
from nst_lightning.inference import Stylizer, check_short_side
from nst_lightning.metrics import LEAST_SHORT_SIDE, SHORT_SIDE, STYLE_LAYERS, Evaluator, resize_pictures
from nst_lightning.optimization import PyramidOptions, optimize_picture
from nst_lightning.system import keep_freed_memory


def evaluate_network(
    model: str,
    photos: str,
    paintings: list[str],
    vgg19: str | None = "imagenet",
    compact: str | None = None,
    count: int | None = None,
    optimized: NonNegativeInt = 0,
    short_side: int = SHORT_SIDE,
    paint_short_side: int | None = None,
    only: list[str] | None = None,
    sheet: str | None = None,
) -> None:
    """Print content, style across scales and grit of a network's pictures, beside the photos' own and optimized ones.

    Medians over photos, for each of the network's styles. Below 0.45 of content the subject is there; style should be a
    small part of the photos' own; grit near 1 is as fine as the painting. Figures depend on the encoder.

    Args:
        model: the .onnx file, or the name of a bundled network.
        photos: folder of photos, or a single one.
        paintings: files and folders in which the paintings are: `great_wave.jpg` or `hokusai_great_wave.jpg` for the
            style `great_wave`, or `great_wave=FILE`.
        vgg19: weights of VGG-19: `imagenet`, `caffe`, or a file, which may end early beside `compact`; `null` for none.
        compact: weights file of a compact encoder, for the layers that VGG-19's file does not have.
        count: how many photos, evenly chosen; by default all.
        optimized: how many of these are optimized as well, which takes a while.
        short_side: in pixels, at which everything is compared, and optimized.
        paint_short_side: in pixels, of the photos that the network paints; by default what each style was trained for.
        only: some of the network's styles, to evaluate no others.
        sheet: a picture to write, of the network's pictures beside the optimized ones.
    """
    require_at_least(1, count=count)
    require_at_least(LEAST_SHORT_SIDE, short_side=short_side)
    check_short_side(paint_short_side, "paint_short_side")
    if sheet is not None and not optimized:
        raise UserError(f"sheet needs optimized, the number of photos in it, got {sheet} without it")
    target = None if sheet is None else check_writable(sheet)
    keep_freed_memory()
    stylizer, encoder = Stylizer(model), build_encoder(vgg19, compact)
    encoder.require(STYLE_LAYERS)
    files = find_paintings(stylizer.styles, paintings, only=_choose_styles(stylizer.styles, only))
    chosen = choose_evenly(list_files(photos), count)
    if target is not None:
        refuse_overwriting_inputs([target], [*chosen, *files.values()])
    sizes = {style: paint_short_side or stylizer.trained_short_side(style) or short_side for style in files}
    contents = [_Content(path, short_side, max(sizes.values())) for path in chosen]
    few, width = choose_evenly(range(len(contents)), optimized), max(15, *map(len, files)) + 1
    rows = []
    print(f"{'style':{width}}{'pictures':>16}{format_header()}")
    for style, file in files.items():
        painting, name = read_rgb(file), style if stylizer.styles else None
        made = [stylizer(content.image, short_side=sizes[style], style=name) for content in contents]
        evaluator = Evaluator(encoder, image_to_tensor(painting), short_side=short_side)
        cells = _evaluate_style(f"{style:{width}}", painting, evaluator, contents, made, few)
        rows.append([*cells, (style, painting)])
        if target is not None:
            write_picture(target, draw_labeled(rows, height=short_side))  # after each style: optimizing takes long
    if target is not None:
        print(target)


def _evaluate_style(
    label: str,
    painting: Image.Image,
    evaluator: Evaluator,
    contents: "Sequence[_Content]",
    made: Sequence[Image.Image],
    few: Sequence[int],
) -> list[tuple[str, Image.Image]]:
    """Print the rows of one style; the photos numbered `few` are optimized as well.

    Returns:
        Those photos, the network's pictures of them and the optimized ones, each with its label.
    """
    _print_medians(label, "photos", evaluator, contents, [content.tensor for content in contents])
    _print_medians(label, "network", evaluator, contents, [*map(image_to_tensor, made)])
    if not few:
        return []
    chosen, ours = [contents[i] for i in few], [made[i] for i in few]
    _print_medians(label, f"network ({len(few)})", evaluator, chosen, [*map(image_to_tensor, ours)])
    theirs = [optimize_like(content.image, painting, evaluator) for content in chosen]
    _print_medians(label, f"optimize ({len(few)})", evaluator, chosen, [*map(image_to_tensor, theirs)])
    cells = zip(chosen, ours, theirs)
    return [
        cell
        for content, picture, other in cells
        for cell in (("", content.image), ("network", picture), ("optimize", other))
    ]


def optimize_like(photo: Image.Image, painting: Image.Image, evaluator: Evaluator) -> Image.Image:
    """What `optimize` makes of a photo at the size at which pictures are compared, with the encoder that compares."""
    photo, painting = (resize_short_side(image, evaluator.short_side) for image in (photo, painting))
    pyramid = PyramidOptions(long_side=max(photo.size))
    return optimize_picture(photo, [painting], evaluator.encoder, pyramid=pyramid).picture


class _Content:
    """A photo no larger than it is needed, to paint and to compare with."""

    def __init__(self, path: Path, short_side: int, paint_short_side: int) -> None:
        image = read_rgb(path)
        self.tensor = resize_pictures(image_to_tensor(image), short_side)
        self.image = resize_short_side(image, paint_short_side)


def _choose_styles(styles: Sequence[str], only: Sequence[str] | None) -> Sequence[str]:
    """Those of the network's styles that are asked for."""
    unknown = sorted({*(only or ())} - {*styles})
    if unknown:
        allowed = suggest_names(unknown[0], styles, "styles") if styles else "the network's one style has no name"
        raise UserError(f"only: there is no {unknown[0]!r}; {allowed}")
    return only or styles


def _print_medians(
    label: str, kind: str, evaluator: Evaluator, contents: Sequence[_Content], pictures: Sequence[Tensor]
) -> None:
    evaluator.reset()
    for content, picture in zip(contents, pictures):
        evaluator.update(picture, content.tensor)
    medians = [value.item() for value in evaluator.compute().values()]
    print(f"{label}{kind:>16}{format_figures(medians)}", flush=True)
