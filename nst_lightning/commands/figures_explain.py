"""The command `figures explain`: what each layer keeps of a photo's content and of a painting's style."""

import sys
from dataclasses import replace
from typing import Any

from PIL import Image

from nst_lightning.commands.pictures import expand_argument, find_picture
from nst_lightning.commands.types import NonNegativeFloat, NonNegativeInt, PositiveInt
from nst_lightning.encoders import Pooling, build_encoder
from nst_lightning.encoders.weights import BUNDLED
from nst_lightning.errors import naming, require
from nst_lightning.images import check_writable, draw_labeled, read_rgb, refuse_overwriting_inputs, write_picture
from nst_lightning.losses import Normalization, ObjectiveOptions
from nst_lightning.optimization import MinimizerOptions, PyramidOptions, optimize_picture, plan_levels
from nst_lightning.optimization.device import select_device
from nst_lightning.system import keep_freed_memory


def figures_explain(
    photo: str,
    style: str,
    output: str,
    layers: list[str] = ["relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"],  # noqa: B006
    long_side: PositiveInt = 256,
    iterations: PositiveInt = 200,
    tv_weight: NonNegativeFloat = 2.0,
    normalization: Normalization = "relative",
    seed: NonNegativeInt = 0,
    vgg19: str | None = BUNDLED,
    compact: str | None = BUNDLED,
    pooling: Pooling = "max",
    device: str = "auto",
    minimizer: MinimizerOptions = MinimizerOptions(),
) -> None:
    """Draw the figure of Gatys et al. 2015: reconstructions of content and style from noise, layer by layer.

    The upper row has pictures with the photo's features at one layer, from shallow to deep: edges and colors are lost,
    objects stay. The lower row has pictures with the painting's style at a growing set of layers: its texture, from
    fine to large.

    Args:
        photo: the photo.
        style: the painting.
        output: the sheet to write: .png, .jpg, .webp or .tif.
        layers: names of the layers, from shallow to deep.
        long_side: long side of each picture in pixels.
        iterations: number of iterations for each picture.
        tv_weight: weight of the total variation loss, against noise.
        normalization: how losses are scaled: `relative` to the target's energy, `gatys`, or `mean`.
        seed: random seed of the noise.
        vgg19: weights of VGG-19: `bundled` (exact to relu3_1, and compressed deep layers), `imagenet` or `caffe` (all
            layers, downloaded once), a file, or `null` for none.
        compact: weights of a compact encoder for the layers that `vgg19` does not offer: `bundled`, a file, which takes
            the place of the compressed layers, too, or `null`.
        pooling: pooling of the encoder: `max`, `average` or `l2`.
        device: device to compute on: `cpu`, `cuda`, `mps`, or `auto`, the accelerator if there is one.
        minimizer: see `MinimizerOptions`.
    """
    require("layers", layers, bool(layers), "one or more names")
    keep_freed_memory()
    with naming("output"):
        target = check_writable(expand_argument("output", output))
    place = select_device(device)
    source, file = find_picture("photo", photo), find_picture("style", style)
    refuse_overwriting_inputs([target], [source, file])
    with naming("photo"):
        content = read_rgb(source)
    with naming("style"):
        painting = read_rgb(file)
    encoder = build_encoder(vgg19, compact, pooling=pooling)
    encoder.require(layers)
    pyramid = PyramidOptions(long_side=long_side, iterations=iterations, levels=1, start="noise", seed=seed)
    plain = ObjectiveOptions(style_scales={1: 1.0}, tv_weight=tv_weight, normalization=normalization)
    deepest = replace(plain, content_layers={layers[-1]: 1.0}, style_weight=0.0)
    plan_levels(content.size, encoder, pyramid=pyramid, objective=deepest)  # refuses small pictures early

    def draw(objective: ObjectiveOptions) -> Image.Image:
        groups: dict[str, Any] = {"pyramid": pyramid, "objective": objective, "minimizer": minimizer}
        return optimize_picture(content, [painting], encoder, device=place, **groups).picture

    above, below = [("the photo", content)], [("the painting", painting)]
    for number, layer in enumerate(layers, 1):
        print(f"{number} of {len(layers)}: {layer}", file=sys.stderr)
        above.append((f"content at {layer}", draw(replace(plain, content_layers={layer: 1.0}, style_weight=0.0))))
        label = f"and at {layer}" if number > 1 else f"style at {layer}"
        style_layers = dict.fromkeys(layers[:number], 1.0)
        below.append((label, draw(replace(plain, style_layers=style_layers, content_weight=0.0))))
    write_picture(target, draw_labeled([above, below], height=above[-1][1].height))
    print(target)
