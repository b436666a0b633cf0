"""The command `evaluate network`: the quality of a transfer network's pictures, beside optimized ones."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from nst_lightning.commands.evaluation import (
    choose_evenly,
    choose_short_sides,
    format_header,
    format_rows,
    load_judge,
)
from nst_lightning.commands.paintings import choose_styles, find_paintings
from nst_lightning.commands.pictures import find_files
from nst_lightning.commands.provider import open_stylizer
from nst_lightning.commands.types import NonNegativeInt
from nst_lightning.encoders import Encoder, build_encoder, image_to_tensor
from nst_lightning.encoders.weights import BUNDLED
from nst_lightning.errors import UserError, naming, require_at_least
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
from nst_lightning.metrics import SHORT_SIDE, EvaluatorGroup, build_yardstick, measure_untouched, resize_to_each
from nst_lightning.optimization import PyramidOptions, optimize_picture
from nst_lightning.system import keep_freed_memory


def evaluate_network(
    model: str,
    photos: str,
    paintings: list[str],
    vgg19: str | None = BUNDLED,
    compact: str | None = BUNDLED,
    judge: str | None = None,
    count: int | None = None,
    optimized: NonNegativeInt = 0,
    short_side: list[int] | None = None,
    paint_short_side: int | None = None,
    only: list[str] | None = None,
    sheet: str | None = None,
    provider: str | None = None,
) -> None:
    """Print content, style across scales, grit and color grit of a network's pictures, photos and optimized pictures.

    The figures are medians over photos, for each of the network's styles. With content below 0.45, the subject is
    recognizable; style should be a small fraction of the photos' own; grit near 1 is as fine as the painting, and so
    is color grit. Figures depend on the encoder and on the size.

    Args:
        model: the .onnx file, or the name of a bundled network.
        photos: folder of photos, or a single one.
        paintings: files of the paintings, and folders of such files: `great_wave.jpg` or `hokusai_great_wave.jpg` is
            the painting of the style `great_wave`, and so is FILE in `great_wave=FILE`.
        vgg19: weights of VGG-19: `bundled` (exact to relu3_1), `imagenet` or `caffe` (all layers, downloaded once), a
            file, or `null` for none.
        compact: weights of a compact encoder for the layers that `vgg19` does not offer: `bundled`, a file, or `null`.
        judge: weights of VGG-16, `imagenet` or a file, for a second content and style, at layers that nothing was
            trained with; `null` for none.
        count: number of photos to use, evenly chosen; by default all.
        optimized: number of these photos to optimize as well, at the largest of the sizes, which takes a while.
        short_side: short side in pixels at which pictures are compared; may be given several times. By default 256, and
            the one at which the network paints if that is larger.
        paint_short_side: short side in pixels of the photos that the network paints; by default the one that each style
            was trained for, or less if a file of a fixed size allows no more. Above this and 512 pixels, photos are
            painted coarse to fine.
        only: the styles to evaluate; by default all styles of the network.
        sheet: picture file to write, with the network's pictures beside the optimized ones.
        provider: what the network runs on, such as `cpu`, `cuda` or `openvino`; the guide to apps lists them. By
            default CUDA where it is installed and works, or else the CPU.
    """
    require_at_least(1, count=count)
    choose_short_sides(short_side, SHORT_SIDE)  # refused before anything is read
    check_short_side(paint_short_side, "paint_short_side")
    if sheet is not None and not optimized:
        raise UserError(f"sheet needs optimized, the number of photos to draw, got {sheet} without it")
    with naming("sheet"):
        target = None if sheet is None else check_writable(expand_path(sheet))
    keep_freed_memory()
    stylizer, yardstick, judging = open_stylizer(model, provider), build_yardstick(vgg19, compact), load_judge(judge)
    encoder = build_encoder(vgg19, compact)
    files = find_paintings(stylizer.styles, paintings, only=choose_styles(stylizer.styles, only))
    chosen = choose_evenly(find_files("photos", [photos]), count)
    if target is not None:
        refuse_overwriting_inputs([target], [*chosen, *files.values()])
    fallback = max(short_side or [SHORT_SIDE])
    sizes = {style: paint_short_side or _choose_painted(stylizer, style, fallback) for style in files}
    compared = {style: choose_short_sides(short_side, size) for style, size in sizes.items()}
    all_compared = {*itertools.chain(*compared.values())}
    with naming("photos"):
        contents = [_Content(path, all_compared, max(sizes.values())) for path in chosen]
    for content in contents if paint_short_side else ():
        stylizer.input_shape.check(content.image.size, "paint_short_side")
    indices, width = choose_evenly(range(len(contents)), optimized), max(15, *map(len, files)) + 1
    with naming("paintings"):
        images = {style: read_rgb(file) for style, file in files.items()}
    groups = {
        style: EvaluatorGroup(yardstick, image_to_tensor(image), short_sides=compared[style], judge=judging)
        for style, image in images.items()
    }
    untouched = _measure_photos(contents, groups)
    rows = []
    print(f"{'style':{width}}{'pictures':>14}{format_header(judged=judging is not None)}")
    for style, painting in images.items():
        name, group = style if stylizer.styles else None, groups[style]
        pictures = [stylizer(resize_short_side(content.image, sizes[style]), style=name) for content in contents]
        label = f"{style:{width}}"
        _print_rows(f"{label}{'photos':>14}", group, untouched[style])
        measured = _measure(group, contents, pictures)
        _print_rows(f"{label}{'network':>14}", group, measured)
        if indices:
            _print_rows(f"{label}{f'network ({len(indices)})':>14}", group, measured[indices])
        cells = _optimize_some(label, painting, group, encoder, [(contents[i], pictures[i]) for i in indices])
        rows.append([*cells, (style, painting)])
        if target is not None:
            write_picture(target, draw_labeled(rows, height=max(all_compared)))  # after each style: optimizing is slow
    if target is not None:
        print(target)


def _measure_photos(contents: "Sequence[_Content]", groups: Mapping[str, EvaluatorGroup]) -> dict[str, Tensor]:
    """The figures of the untouched photos for each style."""
    tables = [measure_untouched([*groups.values()], content.tensors) for content in contents]
    return {style: torch.cat(found) for style, found in zip(groups, zip(*tables))}


def _optimize_some(
    label: str,
    painting: Image.Image,
    group: EvaluatorGroup,
    encoder: Encoder,
    pairs: "Sequence[tuple[_Content, Image.Image]]",
) -> list[tuple[str, Image.Image]]:
    """Optimize some photos with an encoder, and print the medians of the results.

    Returns:
        Photos, the network's pictures of them and the optimized pictures, with labels for the sheet.
    """
    if not pairs:
        return []
    contents, pictures = zip(*pairs)
    optimized = [optimize_like(content.at(group.short_sides[-1]), painting, encoder) for content in contents]
    _print_rows(f"{label}{f'optimize ({len(pairs)})':>14}", group, _measure(group, contents, optimized))
    cells = []
    for content, picture, optimized_picture in zip(contents, pictures, optimized):
        cells += [("", content.image), ("network", picture), ("optimize", optimized_picture)]
    return cells


def optimize_like(photo: Image.Image, painting: Image.Image, encoder: Encoder) -> Image.Image:
    """Optimize a photo at its size with an encoder, and otherwise with the defaults of `optimize`."""
    painting = resize_short_side(painting, min(photo.size))
    return optimize_picture(photo, [painting], encoder, pyramid=PyramidOptions(long_side=max(photo.size))).picture


class _Content:
    """A photo as `tensors` at the sizes to compare, and as `image` at the size to paint."""

    def __init__(self, path: Path, short_sides: Iterable[int], paint_short_side: int) -> None:
        image = read_rgb(path)
        self.path, self.image = path, resize_short_side(image, paint_short_side)
        self.tensors = resize_to_each(image_to_tensor(image), short_sides)

    def at(self, short_side: int) -> Image.Image:
        """The photo at a size to optimize."""
        return resize_short_side(read_rgb(self.path), short_side)


def _choose_painted(stylizer: Stylizer, style: str, fallback: int) -> int:
    """The short side at which a style paints: the one it was trained for, but no more than the file allows."""
    trained = stylizer.trained_short_side(style) or fallback
    return min(stylizer.input_shape.fit((trained, trained)))


def _measure(group: EvaluatorGroup, contents: Sequence[_Content], pictures: Sequence[Image.Image]) -> Tensor:
    pairs = zip(contents, pictures)
    return torch.cat([group.measure(image_to_tensor(picture), content.tensors) for content, picture in pairs])


def _print_rows(label: str, group: EvaluatorGroup, figures: Tensor) -> None:
    for row in format_rows(group, figures):
        print(f"{label}{row}", flush=True)
