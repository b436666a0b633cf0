"""The command `gallery`: one photo and two paintings, optimized in every way, on one sheet."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nst_lightning.encoders import build_encoder
from nst_lightning.encoders.weights import BUNDLED
from nst_lightning.errors import UserError
from nst_lightning.images import check_writable, draw_labeled, read_rgb, refuse_overwriting_inputs, write_picture
from nst_lightning.optimization import OptimizeOptions, optimize_picture
from nst_lightning.optimization.device import select_device
from nst_lightning.optimization.single_scale import style_shares
from nst_lightning.system import keep_freed_memory

ALL_LAYERS = "all layers (3.2)"
VARIANTS: dict[str, dict[str, Any]] = {
    "as optimize does it": {},
    "from noise": {"start": "noise"},
    "one size only": {"levels": 1, "iterations": 120},
    "one size, one scale (Gatys)": {"levels": 1, "scales": {1: 1.0}, "iterations": 150},
    "Adam, averaged": {"optimizer": "adam", "average": 0.95},
    "style weight 2": {"style_weight": 2.0},
    "style weight 60": {"style_weight": 60.0},
    "strokes half as large": {"style_scale": 0.5},
    "strokes twice as large": {"style_scale": 2.0},
    "Wasserstein distance": {"style_loss": "wasserstein"},
    "means and deviations": {"style_loss": "mean_std"},
    "color: luminance": {"color": "luminance"},
    "color: histogram": {"color": "histogram"},
    "color: histogram, after": {"color": "histogram", "recolor": "after"},
    "geometric weights (3.1)": {"geometric_weights": True},
    "content in all layers (3.1)": {"content_layers": "all", "geometric_weights": True},
    ALL_LAYERS: {"style_layers": "all"},
    "activation shift -1 (3.3)": {"activation_shift": -1.0},
    "correlation chain (3.5)": {"correlation_chain": True},
    "chain, blurred": {"correlation_chain": True, "blur": True},
}
"""Labels, and how the options differ; the sections are those of Novak & Nikulin 2016."""


def figures_gallery(
    photo: str,
    style: list[str],
    output: str,
    size: int = 320,
    columns: int = 5,
    only: list[str] | None = None,
    vgg19: str | None = None,
    compact: str | None = BUNDLED,
    device: str = "auto",
) -> None:
    """Draw a sheet of one photo, optimized in every way that `optimize` knows.

    Args:
        photo: the photo.
        style: a painting; a second one is for blending and for masks, which give it the right half.
        output: the sheet to write: .png, .jpg, .webp or .tif.
        size: long side of each picture in pixels.
        columns: pictures in a row.
        only: labels of some of the variants, to draw no others.
        vgg19: weights of VGG-19: `imagenet`, `caffe`, or a file, which may end early.
        compact: weights of a compact encoder for the layers that VGG-19 does not offer: `bundled`, a file, or `null`.
        device: where to compute: `cpu`, `cuda`, `mps`, or `auto`, the accelerator if there is one.
    """
    unknown = sorted({*(only or ())} - {*VARIANTS})
    if unknown:
        raise UserError(f"only must be some of {', '.join(VARIANTS)}; got {unknown[0]!r}")
    keep_freed_memory()
    target = check_writable(output)
    refuse_overwriting_inputs([target], map(Path, [photo, *style]))
    place = select_device(device)
    content, paintings = read_rgb(photo), [read_rgb(path) for path in style]
    encoder = build_encoder(vgg19, compact)
    plain = OptimizeOptions(size=size)
    cells = [("the photo", content), *((f"painting {i}", painting) for i, painting in enumerate(paintings, 1))]
    variants = {label: replace(plain, **VARIANTS[label]) for label in only or VARIANTS}
    every = variants.get(ALL_LAYERS)
    if every is not None and style_shares(encoder, every) == style_shares(encoder, plain):
        reason = f"{ALL_LAYERS}: this encoder has only the usual ones; vgg19 has more"
        if only:
            raise UserError(f"only: {reason}")
        del variants[ALL_LAYERS]
        print(f"without {reason}", file=sys.stderr)
    jobs = [(label, paintings[:1], options, None) for label, options in variants.items()]
    if len(paintings) > 1 and not only:
        jobs += [("both paintings, blended", paintings[:2], plain, None)]
        jobs += [("one painting each half", paintings[:2], plain, _halves(content.size))]
    for number, (label, styles, options, masks) in enumerate(jobs, 1):
        print(f"{number} of {len(jobs)}: {label}", file=sys.stderr)
        made = optimize_picture(content, styles, encoder, options=options, masks=masks, device=place)
        cells.append((label, made.picture))
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    write_picture(target, draw_labeled(rows, height=made.picture.height))
    print(target)


def _halves(size: tuple[int, int]) -> list[Image.Image]:
    """Masks for the left and the right half, with a soft edge a tenth as wide as the picture."""
    right = np.clip((np.linspace(0, 1, size[0]) - 0.45) / 0.1, 0, 1)
    rows = [np.tile((255 * side).astype(np.uint8), (size[1], 1)) for side in (1 - right, right)]
    return [Image.fromarray(row) for row in rows]
