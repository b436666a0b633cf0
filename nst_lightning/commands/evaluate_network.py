"""The command `rate`: how good a transfer network's pictures are, style by style, beside optimized ones."""

import itertools
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from PIL import Image

from nst_lightning.encoders import Encoder, build_encoder, image_to_tensor
from nst_lightning.errors import UserError, suggest_names
from nst_lightning.images import (
    check_writable,
    draw_labeled,
    expand_path,
    list_pictures,
    read_rgb,
    refuse_overwriting_inputs,
    resize_short_side,
    write_picture,
)
from nst_lightning.inference import MINIMUM_SIZE, Stylizer
from nst_lightning.metrics.distances import CONTENT_LAYER, SHORT_SIDE, STYLE_LAYERS
from nst_lightning.metrics.evaluator import Figures
from nst_lightning.optimization import OptimizeOptions, optimize_picture
from nst_lightning.system import keep_freed_memory

COLUMNS = {
    "content": "content_median",
    "style": "style_median",
    "at 1": "style_median_at_1",
    "at 1/2": "style_median_at_2",
    "at 1/4": "style_median_at_4",
    "grit": "grit_median",
}


def evaluate_network(
    model: str,
    photos: str,
    paintings: list[str],
    vgg19: str | None = "imagenet",
    compact: str | None = None,
    count: int | None = None,
    optimized: int = 0,
    size: int = SHORT_SIDE,
    network_size: int | None = None,
    only: list[str] | None = None,
    sheet: str | None = None,
) -> None:
    """Print content, style across scales and grit of a network's pictures, beside the photos' own and optimized ones.

    Medians over photos, for each of the network's styles. Below 0.45 of content the subject is there; style should be a
    small part of the photos' own; grit near 1 is as fine as the painting. Figures depend on the encoder.

    Args:
        model: the .onnx file, or the name of a bundled network.
        photos: folder of photos.
        paintings: files and folders in which the paintings are: `great_wave.jpg` or `hokusai_great_wave.jpg` for the
            style `great_wave`, or `great_wave=FILE`.
        vgg19: weights of VGG-19: `imagenet`, `caffe`, or a file, which may end early beside `compact`; `null` for none.
        compact: weights file of a compact encoder, for the layers that VGG-19's file does not have.
        count: how many photos, evenly chosen; by default all.
        optimized: how many of these are optimized as well, which takes a while.
        size: short side in pixels at which everything is compared, and optimized.
        network_size: short side in pixels of the photos that the network paints; by default what each style was trained
            for.
        only: some of the network's styles, to rate no others.
        sheet: a picture to write, of the network's pictures beside the optimized ones.
    """
    for name, value, least in (
        ("count", count, 1),
        ("optimized", optimized, 0),
        ("size", size, 128),
        ("network_size", network_size, MINIMUM_SIZE),
    ):
        if value is not None and value < least:
            raise UserError(f"{name}: {value} is not allowed; it must be {least} or more")
    if sheet is not None and not optimized:
        raise UserError(f"sheet: {sheet} would be empty; give optimized, the number of photos in it")
    target = None if sheet is None else check_writable(sheet)
    keep_freed_memory()
    stylizer, encoder = Stylizer(model), build_encoder(vgg19, compact)
    encoder.require([CONTENT_LAYER, *STYLE_LAYERS])
    files = _files_of(stylizer.styles, paintings, only=_chosen(stylizer.styles, only))
    chosen = _some(list_pictures(expand_path(photos)), count)
    if target is not None:
        refuse_overwriting_inputs([target], [*chosen, *files.values()])
    sizes = {style: network_size or stylizer.trained_size(style) or size for style in files}
    contents, larger = [], []
    for image in map(read_rgb, chosen):  # photos may be large: none is kept as it is
        contents.append(resize_short_side(image, size))
        larger.append(resize_short_side(image, max(sizes.values())))
    few = _some(contents, optimized)
    width = max(15, *map(len, files)) + 1
    rows = []
    print(f"{'style':{width}}{'pictures':>16}" + "".join(f"{name:>9}" for name in COLUMNS))
    for style, file in files.items():
        painting = resize_short_side(read_rgb(file), size)
        name = style if stylizer.styles else None
        made = [
            stylizer(image, size=sizes[style], style=name).resize(photo.size, Image.Resampling.LANCZOS)
            for image, photo in zip(larger, contents)
        ]
        show = partial(_print, f"{style:{width}}", painting, encoder)
        show("photos", contents, contents)
        show("network", contents, made)
        if few:
            ours = _some(made, optimized)
            show(f"network ({len(few)})", few, ours)
            theirs = [_optimized(photo, painting, encoder) for photo in few]
            show(f"optimize ({len(few)})", few, theirs)
            cells = zip(
                [("", photo) for photo in few], [("network", x) for x in ours], [("optimize", x) for x in theirs]
            )
            rows.append([*itertools.chain(*cells), (style, painting)])
        if target is not None:
            write_picture(target, draw_labeled(rows, height=size))  # after each style: optimizing takes long
    if target is not None:
        print(target)


def _chosen(styles: Sequence[str], only: Sequence[str] | None) -> Sequence[str]:
    """Those of the network's styles that are asked for."""
    unknown = sorted({*(only or ())} - {*styles})
    if unknown:
        allowed = suggest_names(unknown[0], styles, "styles") if styles else "the network's one style has no name"
        raise UserError(f"only: there is no {unknown[0]!r}; {allowed}")
    return only or styles


def _optimized(photo: Image.Image, painting: Image.Image, encoder: Encoder) -> Image.Image:
    options = OptimizeOptions(size=max(photo.size))
    return optimize_picture(photo, [painting], encoder, options=options).picture


def _print(
    style: str,
    painting: Image.Image,
    encoder: Encoder,
    made: str,
    photos: Sequence[Image.Image],
    pictures: Sequence[Image.Image],
) -> None:
    figures = Figures(encoder, image_to_tensor(painting), short_side=min(painting.size))
    for photo, picture in zip(photos, pictures):
        figures.add(image_to_tensor(picture), image_to_tensor(photo), of_photos=False)
    found = dict(figures.take())
    print(f"{style}{made:>16}" + "".join(f"{found[name].item():9.3f}" for name in COLUMNS.values()), flush=True)


def _files_of(styles: Sequence[str], paintings: Sequence[str], *, only: Sequence[str]) -> dict[str, Path]:
    """The paintings of some of the styles; that of a network of one style is the only one given."""
    found: list[Path] = []
    named: dict[str, str] = {}
    for given in paintings:
        style, equals, file = given.partition("=")
        path = expand_path(given)
        if style in styles and equals:
            named[style] = file
        elif path.is_dir():
            found += list_pictures(path)
        elif equals and not path.exists():
            known = ", ".join(styles) or "the network's styles, which have no names"
            raise UserError(f"paintings: {given} names no style of {known}")
        else:
            found.append(path)
    if not styles:
        if len(found) != 1:
            raise UserError(f"paintings: the network has one style, and there are {len(found)} paintings; give one")
        return {found[0].stem: found[0]}
    files = {}
    for style in only:
        if style in named:
            files[style] = expand_path(named[style])
            continue
        fitting = [path for path in found if path.stem == style or path.stem.endswith(f"_{style}")]
        if not fitting:
            names = ", ".join(path.name for path in found)
            raise UserError(f"paintings: there is none for the style {style} among {names}")
        exact = [path for path in fitting if path.stem == style] or fitting
        if len(exact) > 1:
            names = ", ".join(map(str, exact))
            raise UserError(f"paintings: {style} could be any of {names}; say which, {style}=FILE")
        files[style] = exact[0]
    return files


def _some(items: Sequence, count: int | None) -> list:
    """So many of them, evenly chosen."""
    count = len(items) if count is None else min(count, len(items))
    return [items[i * len(items) // count] for i in range(count)]
