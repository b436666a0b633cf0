"""The command `evaluate encoder`: how well small encoders can replace VGG-19."""

import time

import torch
from PIL import Image
from torch import Tensor

from nst_lightning.commands.evaluation import choose_evenly
from nst_lightning.commands.pictures import find_files
from nst_lightning.commands.types import PositiveInt
from nst_lightning.encoders import (
    VGG16,
    VGG19,
    CompactEncoder,
    CompressedVGG,
    Encoder,
    EncoderChain,
    build_encoder,
    image_to_tensor,
)
from nst_lightning.encoders.weights import BUNDLED, read_tensors
from nst_lightning.errors import require_at_least
from nst_lightning.images import expand_path, read_rgb, resize_short_side
from nst_lightning.losses import ObjectiveOptions
from nst_lightning.metrics import FIGURES, LEAST_SHORT_SIDE, SHORT_SIDE, STYLE_LAYERS, ChannelCorrelation, Evaluator
from nst_lightning.optimization import PyramidOptions, optimize_picture

RUNS, BATCH = 4, 4
"""How often the speed of each encoder is measured, of which the fastest run counts, and on how many pictures."""


def evaluate_encoder(
    encoders: list[str],
    photos: str,
    paintings: str,
    vgg19: str = BUNDLED,
    vgg16: str | None = None,
    compact: str | None = BUNDLED,
    short_side: int = SHORT_SIDE,
    count: PositiveInt = 8,
    iterations: PositiveInt = 40,
) -> None:
    """Print how well encoders agree with VGG-19, and how good the pictures optimized against them are.

    First, the median correlation of channels is measured on photos. Then pictures are optimized against the reference
    (VGG-19) and against each encoder alone, with style compared at one scale, as Gatys et al. did, and at three, as
    `optimize` does. The reference measures the style of all of them; a ratio of 1 is as good as the reference. By
    default, its deep layers are those of the bundled compact encoder, which favors that one: `--vgg19 imagenet` has
    exact layers throughout, and `--vgg16` exact deep ones. The speed is that of a forward and backward pass of four
    pictures of 256x256 pixels.

    Args:
        encoders: `default`, for the encoder of `optimize`, `bundled`, for the compact encoder, or files that `distill`
            wrote.
        photos: folder of photos.
        paintings: folder of paintings, of which each photo takes the next.
        vgg19: weights of VGG-19: `bundled` (exact to relu3_1), `imagenet` or `caffe` (all layers, downloaded once), or
            a file.
        vgg16: weights of VGG-16, `imagenet` or a file, for the layers that `vgg19` does not offer, which are those that
            the deep layers of the default encoder imitate; `null` for none.
        compact: weights of a compact encoder, from which the reference takes the layers that neither offers: `bundled`,
            a file, or `null`.
        short_side: short side of photos and paintings in pixels.
        count: number of pictures to optimize.
        iterations: number of iterations at each level of the pyramid.
    """
    require_at_least(LEAST_SHORT_SIDE, short_side=short_side)
    exact: Encoder = VGG19(vgg19) if vgg16 is None else EncoderChain([VGG19(vgg19), VGG16(vgg16)])
    reference: Encoder = EncoderChain([exact, CompactEncoder(compact)]) if compact is not None else exact
    reference.require(STYLE_LAYERS)
    compared = {name: _load(name) for name in encoders}
    for encoder in compared.values():
        encoder.require(STYLE_LAYERS)
    contents = [resize_short_side(read_rgb(path), short_side) for path in find_files("photos", [photos])]
    styles = [resize_short_side(read_rgb(path), short_side) for path in find_files("paintings", [paintings])]
    _print_correlations(compared, exact, contents)
    all_encoders: dict[str, Encoder] = {"reference": reference, **compared}
    _print_speed(all_encoders)
    chosen = choose_evenly(contents, count)
    pairs = [(photo, styles[i % len(styles)]) for i, photo in enumerate(chosen)]
    pyramid = PyramidOptions(long_side=0, iterations=iterations)
    _print_optimized("at one scale", all_encoders, pairs, pyramid, ObjectiveOptions(style_scales={1: 1.0}))
    _print_optimized("at three scales, as optimize does", all_encoders, pairs, pyramid, ObjectiveOptions())


def _load(weights: str) -> Encoder:
    """The encoder of a name, or of a file, whose class shows in the names of its tensors."""
    if weights == "default":
        return build_encoder()
    path = expand_path(weights)
    if weights != BUNDLED and path.is_file():
        tensors, _ = read_tensors(path, argument="encoders", advice="use a file that `distill` wrote")
        if "conv5_1.reduce.weight" in tensors:
            return CompressedVGG(weights)
    return CompactEncoder(weights)


def _print_correlations(compared: dict[str, Encoder], exact: Encoder, photos: list[Image.Image]) -> None:
    layers = [layer for layer in STYLE_LAYERS if layer in exact.layers]
    print(f"correlation with {exact.description}: medians over channels and {len(photos)} photos")
    print("".join(f"{layer:>10}" for layer in layers))
    metrics = {name: {layer: ChannelCorrelation() for layer in layers} for name in compared}
    for photo in map(image_to_tensor, photos):
        with torch.no_grad():
            targets = exact(photo, layers)
            for name, encoder in compared.items():
                for layer, features in encoder(photo, layers).items():
                    metrics[name][layer].update(features, targets[layer])
    for name, layer_metrics in metrics.items():
        print("".join(f"{metric.compute().item():10.3f}" for metric in layer_metrics.values()) + f"  {name}")


def _print_speed(encoders: dict[str, Encoder]) -> None:
    print("\npictures per second, forward and backward\n" + f"{'':10}{'ratio':>10}")
    rates = {}
    for name, encoder in encoders.items():
        pictures = torch.rand(BATCH, 3, 256, 256, requires_grad=True)
        times = []
        for _ in range(RUNS):
            start = time.perf_counter()
            sum(features.mean() for features in encoder(pictures, STYLE_LAYERS).values()).backward()
            times.append(time.perf_counter() - start)
        rates[name] = BATCH / min(times)
        print(f"{rates[name]:10.1f}{rates[name] / rates['reference']:10.1f}  {name}")


def _print_optimized(
    description: str,
    encoders: dict[str, Encoder],
    pairs: list[tuple[Image.Image, Image.Image]],
    pyramid: PyramidOptions,
    objective: ObjectiveOptions,
) -> None:
    print(f"\nstyle by the reference: medians over {len(pairs)} pictures optimized {description}")
    print(f"{'style':>10}{'ratio':>10}{'seconds':>10}")
    distances: dict[str, list[float]] = {name: [] for name in ("photo", *encoders)}
    seconds = dict.fromkeys(distances, 0.0)
    for photo, painting in pairs:
        content = image_to_tensor(photo)
        evaluator = Evaluator(encoders["reference"], image_to_tensor(painting), short_side=min(photo.size))
        distances["photo"].append(_measure_style(evaluator, photo, content))
        for name, encoder in encoders.items():
            optimized = optimize_picture(photo, [painting], encoder, pyramid=pyramid, objective=objective)
            distances[name].append(_measure_style(evaluator, optimized.picture, content))
            seconds[name] += optimized.seconds / len(pairs)
    reference = torch.tensor(distances["reference"])
    for name, styles_of_pictures in distances.items():
        values = torch.tensor(styles_of_pictures)
        style, ratio = values.quantile(0.5).item(), (values / reference).quantile(0.5).item()
        print(f"{style:10.4f}{ratio:10.2f}{seconds[name]:10.1f}  {name}")


def _measure_style(evaluator: Evaluator, picture: Image.Image, photo: Tensor) -> float:
    return evaluator.measure(image_to_tensor(picture), photo)[0, FIGURES.index("style")].item()
