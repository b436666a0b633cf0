"""The command `explain`: what each layer keeps of a photo's content and of a painting's style."""

import itertools
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from nst_lightning.encoders import Pooling, build_encoder
from nst_lightning.encoders.weights import BUNDLED
from nst_lightning.errors import require
from nst_lightning.images import check_writable, draw_labeled, read_rgb, refuse_overwriting_inputs, write_picture
from nst_lightning.optimization import OptimizeOptions, optimize_picture
from nst_lightning.optimization.device import select_device
from nst_lightning.optimization.plan import plan
from nst_lightning.system import keep_freed_memory


def figures_explain(
    photo: str,
    style: str,
    output: str,
    layers: list[str] = ["relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"],  # noqa: B006
    size: int = 256,
    iterations: int = 200,
    vgg19: str | None = None,
    compact: str | None = BUNDLED,
    pooling: Pooling = "max",
    device: str = "auto",
    **options: Any,
) -> None:
    """Draw the figure of Gatys et al. 2015: reconstructions of content and style from noise, layer by layer.

    Above, pictures that have the photo's features at one layer, from shallow to deep: edges and colors are lost,
    things stay. Below, pictures that have the painting's style at a growing set of layers: its texture, fine to large.

    Args:
        photo: the photo.
        style: the painting.
        output: the sheet to write: .png, .jpg, .webp or .tif.
        layers: from shallow to deep.
        size: long side of each picture in pixels.
        iterations: on each.
        vgg19: weights of VGG-19: `imagenet`, `caffe`, or a file, which may end early.
        compact: weights of a compact encoder for the layers that VGG-19 does not offer: `bundled`, a file, or `null`.
        pooling: of the encoder: `max`, `average` or `l2`.
        device: where to compute: `cpu`, `cuda`, `mps`, or `auto`, the accelerator if there is one.
        **options: see `OptimizeOptions`.
    """
    require("layers", layers, bool(layers), "one or more names")
    keep_freed_memory()
    target, place = check_writable(output), select_device(device)
    refuse_overwriting_inputs([target], map(Path, [photo, style]))
    content, painting = read_rgb(photo), read_rgb(style)
    encoder = build_encoder(vgg19, compact, pooling=pooling)
    encoder.require(layers)
    plain = OptimizeOptions(size=size, iterations=iterations, start="noise", levels=1, scales={1: 1.0}, **options)
    pairs = [
        (
            replace(plain, content_layers={layer: 1.0}, style_weight=0.0),
            replace(plain, style_layers=dict.fromkeys(layers[:number], 1.0), content_weight=0.0),
        )
        for number, layer in enumerate(layers, 1)
    ]
    for each in itertools.chain(*pairs):
        plan(content.size, encoder, each)  # refused before any work is done
    above, below = [("the photo", content)], [("the painting", painting)]
    for layer, pair in zip(layers, pairs):
        print(f"{len(above)} of {len(layers)}: {layer}", file=sys.stderr)
        name = f"and at {layer}" if len(below) > 1 else f"style at {layer}"
        for row, label, each in zip((above, below), (f"content at {layer}", name), pair):
            made = optimize_picture(content, [painting], encoder, options=each, device=place)
            row.append((label, made.picture))
    write_picture(target, draw_labeled([above, below], height=made.picture.height))
    print(target)
