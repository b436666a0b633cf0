"""The command `figures gallery`: one photo, optimized in many ways, on one sheet."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from PIL import Image

from nst_lightning.commands.pictures import expand_argument, find_picture, find_pictures
from nst_lightning.commands.types import PositiveInt
from nst_lightning.encoders import Encoder, build_encoder
from nst_lightning.encoders.weights import BUNDLED
from nst_lightning.errors import UserError, naming
from nst_lightning.images import check_writable, draw_labeled, read_rgb, refuse_overwriting_inputs, write_picture
from nst_lightning.losses import ObjectiveOptions
from nst_lightning.optimization import ColorOptions, MinimizerOptions, PyramidOptions, optimize_picture
from nst_lightning.optimization.device import select_device
from nst_lightning.system import keep_freed_memory


class Variant(NamedTuple):
    """One way to optimize a picture."""

    pyramid: PyramidOptions = PyramidOptions()
    objective: ObjectiveOptions = ObjectiveOptions()
    minimizer: MinimizerOptions = MinimizerOptions()
    color: ColorOptions = ColorOptions()


Job = tuple[str, Variant, list[Image.Image], list[Image.Image] | None]
"""Label, options, paintings and masks."""
PLAIN = Variant()
ALL_LAYERS = "all layers (3.2)"
VARIANTS: dict[str, Variant] = {
    "as optimize does it": PLAIN,
    "from noise": Variant(PyramidOptions(start="noise")),
    "one size only": Variant(PyramidOptions(levels=1, iterations=120)),
    "one size, one scale (Gatys)": Variant(
        PyramidOptions(levels=1, iterations=150), ObjectiveOptions(style_scales={1: 1.0})
    ),
    "Adam, averaged": Variant(minimizer=MinimizerOptions(optimizer="adam", average=0.95)),
    "style weight 2": Variant(objective=ObjectiveOptions(style_weight=2.0)),
    "style weight 60": Variant(objective=ObjectiveOptions(style_weight=60.0)),
    "strokes half as large": Variant(PyramidOptions(painting_scale=0.5)),
    "strokes twice as large": Variant(PyramidOptions(painting_scale=2.0)),
    "sliced Wasserstein distance": Variant(objective=ObjectiveOptions(style_loss="sliced")),
    "Wasserstein distance": Variant(objective=ObjectiveOptions(style_loss="wasserstein")),
    "means and deviations": Variant(objective=ObjectiveOptions(style_loss="mean_std")),
    "the photo's colors: luminance": Variant(color=ColorOptions(preserve_color="luminance")),
    "the photo's colors: linear": Variant(color=ColorOptions(preserve_color="linear")),
    "the photo's colors: linear, after": Variant(color=ColorOptions(preserve_color="linear", recolor="after")),
    "geometric weights (3.1)": Variant(objective=ObjectiveOptions(geometric_weights=True)),
    "content in all layers (3.1)": Variant(objective=ObjectiveOptions(content_layers="all", geometric_weights=True)),
    ALL_LAYERS: Variant(objective=ObjectiveOptions(style_layers="all")),
    "activation shift -1 (3.3)": Variant(objective=ObjectiveOptions(activation_shift=-1.0)),
    "correlation chain (3.5)": Variant(objective=ObjectiveOptions(correlation_chain=True)),
    "chain, blurred": Variant(objective=ObjectiveOptions(correlation_chain=True, blur=True)),
}
"""Labels of the variants, and their options. Section numbers are those of Novak & Nikulin 2016."""


def figures_gallery(
    photo: str,
    style: list[str],
    output: str,
    long_side: PositiveInt = 320,
    columns: PositiveInt = 5,
    only: list[str] | None = None,
    vgg19: str | None = BUNDLED,
    compact: str | None = BUNDLED,
    device: str = "auto",
) -> None:
    """Draw a sheet of one photo, optimized with many options of `optimize`.

    Args:
        photo: the photo.
        style: a painting; a second painting is blended with the first, and in another picture gets the right half.
        output: the sheet to write: .png, .jpg, .webp or .tif.
        long_side: long side of each picture in pixels.
        columns: number of pictures in each row.
        only: labels of the variants to draw; by default all.
        vgg19: weights of VGG-19: `bundled` (exact to relu3_1, and compressed deep layers), `imagenet` or `caffe` (all
            layers, downloaded once), a file, or `null` for none.
        compact: weights of a compact encoder for the layers that `vgg19` does not offer: `bundled`, a file, which takes
            the place of the compressed layers, too, or `null`.
        device: device to compute on: `cpu`, `cuda`, `mps`, or `auto`, the accelerator if there is one.
    """
    unknown = sorted({*(only or ())} - {*VARIANTS})
    if unknown:
        raise UserError(f"only must be some of {', '.join(VARIANTS)}; got {unknown[0]!r}")
    keep_freed_memory()
    with naming("output"):
        target = check_writable(expand_argument("output", output))
    place = select_device(device)
    source, files = find_picture("photo", photo), find_pictures("style", style)
    refuse_overwriting_inputs([target], [source, *files])
    with naming("photo"):
        content = read_rgb(source)
    with naming("style"):
        paintings = [read_rgb(path) for path in files]
    encoder = build_encoder(vgg19, compact)
    labels = _choose_variants(only, encoder)
    jobs: list[Job] = [(label, VARIANTS[label], paintings[:1], None) for label in labels]
    if len(paintings) > 1 and not only:
        jobs += [("both paintings, blended", PLAIN, paintings[:2], None)]
        jobs += [("one painting each half", PLAIN, paintings[:2], _draw_halves(content.size))]
    cells = [("the photo", content), *((f"painting {i}", painting) for i, painting in enumerate(paintings, 1))]
    for number, (label, variant, styles, masks) in enumerate(jobs, 1):
        print(f"{number} of {len(jobs)}: {label}", file=sys.stderr)
        resized = variant._replace(pyramid=replace(variant.pyramid, long_side=long_side))
        result = optimize_picture(content, styles, encoder, **resized._asdict(), masks=masks, device=place)
        cells.append((label, result.picture))
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    write_picture(target, draw_labeled(rows, height=result.picture.height))
    print(target)


def _choose_variants(only: Sequence[str] | None, encoder: Encoder) -> list[str]:
    """The labels of the variants to draw, without `ALL_LAYERS` if the encoder has only the default layers.

    Raises:
        UserError: `only` asks for `ALL_LAYERS`, and the encoder has only the default layers.
    """
    relus = {layer for layer in encoder.layers if layer.startswith("relu")}
    if not relus <= {*ObjectiveOptions().style_layers}:
        return list(only or VARIANTS)
    reason = f"{ALL_LAYERS}: this encoder has only the default layers; use vgg19 for more"
    if only and ALL_LAYERS in only:
        raise UserError(f"only: {reason}")
    if not only:
        print(f"without {reason}", file=sys.stderr)
    return [label for label in only or VARIANTS if label != ALL_LAYERS]


def _draw_halves(size: tuple[int, int]) -> list[Image.Image]:
    """Draw masks for the left and the right half, with a soft edge a tenth as wide as the picture."""
    right = np.clip((np.linspace(0, 1, size[0]) - 0.45) / 0.1, 0, 1)
    rows = [np.tile((255 * side).astype(np.uint8), (size[1], 1)) for side in (1 - right, right)]
    return [Image.fromarray(row) for row in rows]
