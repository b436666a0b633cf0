"""The command `evaluate network`: the quality of a transfer network's pictures, beside optimized ones."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from torch import Tensor

from nst_lightning.commands.evaluation import choose_evenly, format_figures, format_header, list_files
from nst_lightning.commands.paintings import find_paintings
from nst_lightning.commands.types import NonNegativeInt
from nst_lightning.encoders import build_encoder, image_to_tensor, resize_tensor
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
from nst_lightning.metrics import LEAST_SHORT_SIDE, SHORT_SIDE, STYLE_LAYERS, Evaluator
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
    """Print content, style across scales and grit of a network's pictures, of the photos, and of optimized pictures.

    The figures are medians over photos, for each of the network's styles. With content below 0.45, the subject is
    recognizable; style should be a small fraction of the photos' own; grit near 1 is as fine as the painting. Figures
    depend on the encoder.

    Args:
        model: the .onnx file, or the name of a bundled network.
        photos: folder of photos, or a single one.
        paintings: files of the paintings, and folders of such files: `great_wave.jpg` or `hokusai_great_wave.jpg` is
            the painting of the style `great_wave`, and so is FILE in `great_wave=FILE`.
        vgg19: weights of VGG-19: `imagenet`, `caffe`, or a file, which may end early if `compact` is given; `null` for
            none.
        compact: weights of a compact encoder for the layers that VGG-19 does not offer: `bundled`, or a file.
        count: number of photos to use, evenly chosen; by default all.
        optimized: number of these photos to optimize as well, which takes a while.
        short_side: short side in pixels at which pictures are compared and optimized.
        paint_short_side: short side in pixels of the photos that the network paints; by default the one that each style
            was trained for.
        only: the styles to evaluate; by default all styles of the network.
        sheet: picture file to write, with the network's pictures beside the optimized ones.
    """
    require_at_least(1, count=count)
    require_at_least(LEAST_SHORT_SIDE, short_side=short_side)
    check_short_side(paint_short_side, "paint_short_side")
    if sheet is not None and not optimized:
        raise UserError(f"sheet needs optimized, the number of photos to draw, got {sheet} without it")
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
    indices, width = choose_evenly(range(len(contents)), optimized), max(15, *map(len, files)) + 1
    rows = []
    print(f"{'style':{width}}{'pictures':>16}{format_header()}")
    for style, file in files.items():
        painting, name = read_rgb(file), style if stylizer.styles else None
        pictures = [stylizer(content.image, short_side=sizes[style], style=name) for content in contents]
        evaluator = Evaluator(encoder, image_to_tensor(painting), short_side=short_side)
        cells = _evaluate_style(f"{style:{width}}", painting, evaluator, contents, pictures, indices)
        rows.append([*cells, (style, painting)])
        if target is not None:
            write_picture(target, draw_labeled(rows, height=short_side))  # now, since optimizing takes long
    if target is not None:
        print(target)


def _evaluate_style(
    label: str,
    painting: Image.Image,
    evaluator: Evaluator,
    contents: "Sequence[_Content]",
    pictures: Sequence[Image.Image],
    indices: Sequence[int],
) -> list[tuple[str, Image.Image]]:
    """Print the rows of one style; the photos at `indices` are optimized as well.

    Returns:
        These photos, the network's pictures of them and the optimized pictures, each with its label.
    """
    _print_medians(label, "photos", evaluator, contents, [content.tensor for content in contents])
    _print_medians(label, "network", evaluator, contents, [*map(image_to_tensor, pictures)])
    if not indices:
        return []
    chosen, network_pictures = [contents[i] for i in indices], [pictures[i] for i in indices]
    _print_medians(label, f"network ({len(indices)})", evaluator, chosen, [*map(image_to_tensor, network_pictures)])
    optimized_pictures = [optimize_like(content.image, painting, evaluator) for content in chosen]
    _print_medians(label, f"optimize ({len(indices)})", evaluator, chosen, [*map(image_to_tensor, optimized_pictures)])
    cells = zip(chosen, network_pictures, optimized_pictures)
    return [
        cell
        for content, picture, optimized in cells
        for cell in (("", content.image), ("network", picture), ("optimize", optimized))
    ]


def optimize_like(photo: Image.Image, painting: Image.Image, evaluator: Evaluator) -> Image.Image:
    """Optimize a photo with the evaluator's short side and encoder, and otherwise with the defaults of `optimize`."""
    photo, painting = (resize_short_side(image, evaluator.short_side) for image in (photo, painting))
    pyramid = PyramidOptions(long_side=max(photo.size))
    return optimize_picture(photo, [painting], evaluator.encoder, pyramid=pyramid).picture


class _Content:
    """A photo at two sizes: `tensor` to compare with, and `image` to paint, no larger than needed."""

    def __init__(self, path: Path, short_side: int, paint_short_side: int) -> None:
        image = read_rgb(path)
        self.tensor = resize_tensor(image_to_tensor(image), short_side)
        self.image = resize_short_side(image, paint_short_side)


def _choose_styles(styles: Sequence[str], only: Sequence[str] | None) -> Sequence[str]:
    """The styles to evaluate: those in `only`, or all.

    Raises:
        UserError: the network doesn't have a style.
    """
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
