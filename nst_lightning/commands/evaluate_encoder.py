"""The command `compare`: how far compact encoders can stand in for VGG-19."""

import time
from dataclasses import replace

import torch
from PIL import Image

from nst_lightning.commands.evaluate_pictures import Judge
from nst_lightning.encoders import VGG19, CompactEncoder, Encoder, EncoderChain, image_to_tensor
from nst_lightning.errors import UserError
from nst_lightning.images import expand_path, list_pictures, read_rgb, resize_short_side
from nst_lightning.metrics.distances import STYLE_LAYERS, ChannelCorrelation
from nst_lightning.optimization import OptimizeOptions, optimize_picture


def evaluate_encoder(
    encoders: list[str],
    photos: str,
    paintings: str,
    vgg19: str = "imagenet",
    deep: str | None = None,
    size: int = 256,
    count: int = 8,
    iterations: int = 40,
) -> None:
    """Print how well compact encoders agree with VGG-19, and how good pictures are that are optimized against them.

    First the median correlation of channels, over photos. Then pictures are optimized against the reference (VGG-19)
    and against each encoder alone, with style compared at one scale, as Gatys et al. did, and at three, as `optimize`
    does; the style of all, across scales, is measured by the reference: a ratio of 1 would be as good. The speed is
    that of a forward and backward pass of four pictures of 256 pixels.

    Args:
        encoders: weights of compact encoders: `bundled`, or files.
        photos: folder of photos.
        paintings: folder of paintings, taken in turns with the photos.
        vgg19: weights of VGG-19: `imagenet`, `caffe`, or a file, which may end early beside `deep`.
        deep: weights file of a compact encoder that the reference takes the layers from which VGG-19's file lacks.
        size: short side of photos and paintings in pixels.
        count: how many pictures are optimized.
        iterations: on each, at each level of the pyramid.
    """
    for name, value, least in (("size", size, 128), ("count", count, 1), ("iterations", iterations, 1)):
        if value < least:
            raise UserError(f"{name}: {value} is not allowed; it must be {least} or more")
    exact = VGG19(vgg19)
    reference = EncoderChain([exact, CompactEncoder(deep)]) if deep is not None else exact
    reference.require(STYLE_LAYERS)
    compact = {name: CompactEncoder(name) for name in encoders}
    for encoder in compact.values():
        encoder.require(STYLE_LAYERS)
    contents = [resize_short_side(read_rgb(path), size) for path in list_pictures(expand_path(photos))]
    styles = [resize_short_side(read_rgb(path), size) for path in list_pictures(expand_path(paintings))]
    _print_correlations(compact, exact, contents)
    _print_speed({"reference": reference, **compact})
    chosen = [contents[i * len(contents) // count] for i in range(count)]
    pairs = [(photo, styles[i % len(styles)]) for i, photo in enumerate(chosen)]
    options = OptimizeOptions(size=0, iterations=iterations)
    encoders = {"reference": reference, **compact}
    _print_optimized("at one scale", encoders, pairs, replace(options, scales={1: 1.0}))
    _print_optimized("at three scales, as optimize does", encoders, pairs, options)


def _print_correlations(compact: dict[str, Encoder], exact: Encoder, photos: list[Image.Image]) -> None:
    layers = [layer for layer in STYLE_LAYERS if layer in exact.layers]
    print(f"correlation with {exact.description}, medians over channels and {len(photos)} photos")
    print("".join(f"{layer:>10}" for layer in layers))
    metrics = {name: {layer: ChannelCorrelation() for layer in layers} for name in compact}
    for photo in map(image_to_tensor, photos):
        with torch.no_grad():
            targets = exact(photo, layers)
            for name, encoder in compact.items():
                for layer, features in encoder(photo, layers).items():
                    metrics[name][layer].update(features, targets[layer])
    for name, of_layers in metrics.items():
        print("".join(f"{metric.compute().item():10.3f}" for metric in of_layers.values()) + f"  {name}")


def _print_speed(encoders: dict[str, Encoder]) -> None:
    print("\npictures a second, forward and backward\n" + f"{'':10}{'ratio':>10}")
    rates = {}
    for name, encoder in encoders.items():
        pictures = torch.rand(4, 3, 256, 256, requires_grad=True)
        times = []
        for _ in range(4):
            start = time.perf_counter()
            sum(features.mean() for features in encoder(pictures, STYLE_LAYERS).values()).backward()
            times.append(time.perf_counter() - start)
        rates[name] = 4 / min(times)
        print(f"{rates[name]:10.1f}{rates[name] / rates['reference']:10.1f}  {name}")


def _print_optimized(
    how: str,
    encoders: dict[str, Encoder],
    pairs: list[tuple[Image.Image, Image.Image]],
    options: OptimizeOptions,
) -> None:
    print(f"\nstyle across scales by the reference, medians over {len(pairs)} pictures optimized {how}")
    print(f"{'style':>10}{'ratio':>10}{'seconds':>10}")
    distances: dict[str, list[float]] = {name: [] for name in ("photo", *encoders)}
    seconds = dict.fromkeys(distances, 0.0)
    for photo, painting in pairs:
        judge = Judge(photo, painting, encoders["reference"], size=min(photo.size))
        distances["photo"].append(judge(photo)[1])
        for name, encoder in encoders.items():
            found = optimize_picture(photo, [painting], encoder, options=options)
            distances[name].append(judge(found.picture)[1])
            seconds[name] += found.seconds / len(pairs)
    against = torch.tensor(distances["reference"])
    for name, of_pictures in distances.items():
        values = torch.tensor(of_pictures)
        style, ratio = values.quantile(0.5).item(), (values / against).quantile(0.5).item()
        print(f"{style:10.4f}{ratio:10.2f}{seconds[name]:10.1f}  {name}")
