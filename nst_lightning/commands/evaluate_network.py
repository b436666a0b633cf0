"""The command `evaluate network`: the quality of a transfer network's pictures, beside optimized ones."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from nst_lightning.commands.evaluation import choose_evenly, format_figures, format_header
from nst_lightning.commands.paintings import find_paintings
from nst_lightning.commands.pictures import find_files
from nst_lightning.commands.types import NonNegativeInt
from nst_lightning.encoders import build_encoder, image_to_tensor
from nst_lightning.errors import UserError, naming, require_at_least, suggest_names
from nst_lightning.images import (
    check_writable,
    draw_labeled,
    expand_path,
    read_rgb,
    refuse_overwriting_inputs,
    resize_short_side,
    write_picture,
)
from nst_lightning.inference import Stylizer, check_short_side
from nst_lightning.metrics import (
    LEAST_SHORT_SIDE,
    SHORT_SIDE,
    STYLE_LAYERS,
    Evaluator,
    extract_features,
    resize_pictures,
)
from nst_lightning.optimization import PyramidOptions, optimize_picture
from nst_lightning.system import keep_freed_memory, normalize_name


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
            was trained for, or less if a file of a fixed size allows no more.
        only: the styles to evaluate; by default all styles of the network.
        sheet: picture file to write, with the network's pictures beside the optimized ones.
    """
    require_at_least(1, count=count)
    require_at_least(LEAST_SHORT_SIDE, short_side=short_side)
    check_short_side(paint_short_side, "paint_short_side")
    if sheet is not None and not optimized:
        raise UserError(f"sheet needs optimized, the number of photos to draw, got {sheet} without it")
    with naming("sheet"):
        target = None if sheet is None else check_writable(expand_path(sheet))
    keep_freed_memory()
    stylizer, encoder = Stylizer(model), build_encoder(vgg19, compact)
    encoder.require(STYLE_LAYERS)
    files = find_paintings(stylizer.styles, paintings, only=_choose_styles(stylizer.styles, only))
    chosen = choose_evenly(find_files("photos", [photos]), count)
    if target is not None:
        refuse_overwriting_inputs([target], [*chosen, *files.values()])
    sizes = {style: paint_short_side or stylizer.trained_short_side(style) or short_side for style in files}
    with naming("photos"):
        contents = [_Content(path, short_side, max(sizes.values())) for path in chosen]
    for content in contents if paint_short_side else ():
        stylizer.input_shape.check(content.image.size, "paint_short_side")
    indices, width = choose_evenly(range(len(contents)), optimized), max(15, *map(len, files)) + 1
    with naming("paintings"):
        images = {style: read_rgb(file) for style, file in files.items()}
    evaluators = {
        style: Evaluator(encoder, image_to_tensor(image), short_side=short_side) for style, image in images.items()
    }
    untouched = _measure_photos(contents, evaluators)
    rows = []
    print(f"{'style':{width}}{'pictures':>16}{format_header()}")
    for style, painting in images.items():
        name = style if stylizer.styles else None
        pictures = [stylizer(resize_short_side(content.image, sizes[style]), style=name) for content in contents]
        label = f"{style:{width}}"
        print(f"{label}{'photos':>16}{format_figures(untouched[style])}")
        _print_medians(label, "network", evaluators[style], contents, pictures)
        cells = _optimize_some(label, painting, evaluators[style], [(contents[i], pictures[i]) for i in indices])
        rows.append([*cells, (style, painting)])
        if target is not None:
            write_picture(target, draw_labeled(rows, height=short_side))  # after each style, as optimizing is slow
    if target is not None:
        print(target)


def _measure_photos(contents: "Sequence[_Content]", evaluators: Mapping[str, Evaluator]) -> dict[str, list[float]]:
    """The median figures of the untouched photos for each style; each photo is encoded only once."""
    figures: dict[str, list[Tensor]] = {style: [] for style in evaluators}
    for content in contents:
        features = extract_features(content.tensor, next(iter(evaluators.values())).encoder)
        for style, evaluator in evaluators.items():
            figures[style].append(evaluator.compare(features, features.content))
    return {style: torch.cat(rows).quantile(0.5, dim=0).tolist() for style, rows in figures.items()}


def _optimize_some(
    label: str, painting: Image.Image, evaluator: Evaluator, pairs: "Sequence[tuple[_Content, Image.Image]]"
) -> list[tuple[str, Image.Image]]:
    """Optimize some photos, and print the medians of the results beside the network's.

    Returns:
        Photos, the network's pictures of them and the optimized pictures, with labels for the sheet.
    """
    if not pairs:
        return []
    contents, pictures = zip(*pairs)
    _print_medians(label, f"network ({len(pairs)})", evaluator, contents, pictures)
    optimized = [optimize_like(content.compared, painting, evaluator) for content in contents]
    _print_medians(label, f"optimize ({len(pairs)})", evaluator, contents, optimized)
    cells = []
    for content, picture, optimized_picture in zip(contents, pictures, optimized):
        cells += [("", content.image), ("network", picture), ("optimize", optimized_picture)]
    return cells


def optimize_like(photo: Image.Image, painting: Image.Image, evaluator: Evaluator) -> Image.Image:
    """Optimize a photo at its size with the evaluator's encoder, and otherwise with the defaults of `optimize`."""
    painting = resize_short_side(painting, evaluator.short_side)
    pyramid = PyramidOptions(long_side=max(photo.size))
    return optimize_picture(photo, [painting], evaluator.encoder, pyramid=pyramid).picture


class _Content:
    """A photo as `tensor` and `compared` at the size to compare and optimize, and as `image` at the size to paint."""

    def __init__(self, path: Path, short_side: int, paint_short_side: int) -> None:
        image = read_rgb(path)
        self.tensor = resize_pictures(image_to_tensor(image), short_side)
        self.compared = resize_short_side(image, short_side)
        self.image = resize_short_side(image, paint_short_side)


def _choose_styles(styles: Sequence[str], only: Sequence[str] | None) -> Sequence[str]:
    """The styles to evaluate: those in `only`, or all.

    Raises:
        UserError: the network doesn't have a style.
    """
    only = [normalize_name(name) for name in only or ()]
    unknown = sorted({*only} - {*styles})
    if unknown:
        allowed = suggest_names(unknown[0], styles, "styles") if styles else "the network's one style has no name"
        raise UserError(f"only: there is no {unknown[0]!r}; {allowed}")
    return only or styles


def _print_medians(
    label: str, kind: str, evaluator: Evaluator, contents: Sequence[_Content], pictures: Sequence[Image.Image]
) -> None:
    evaluator.reset()
    for content, picture in zip(contents, pictures):
        evaluator.update(image_to_tensor(picture), content.tensor)
    medians = [value.item() for value in evaluator.compute().values()]
    print(f"{label}{kind:>16}{format_figures(medians)}", flush=True)
