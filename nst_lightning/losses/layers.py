"""The layers of an encoder that an objective compares, and their weights."""

from collections.abc import Iterable
from itertools import pairwise

from nst_lightning.encoders import Encoder
from nst_lightning.encoders.base import ALL_LAYERS
from nst_lightning.errors import UserError, naming
from nst_lightning.losses.functional import normalize_weights
from nst_lightning.losses.options import Layers, ObjectiveOptions

Pair = tuple[str, str]
"""Two layers whose features are multiplied, the shallower one first; usually a layer and itself."""


def content_layers(encoder: Encoder, options: ObjectiveOptions) -> dict[str, float]:
    """The content layers and their weights, whose sum is 1.

    Raises:
        UserError: the encoder lacks a layer, or a weight isn't allowed.
    """
    weights = _weights("content_layers", encoder, options.content_layers)
    if options.geometric_weights:
        weights = {layer: 2.0**depth for depth, layer in enumerate(weights, 1)}
    return normalize_weights("content_layers", weights)


def style_pairs(encoder: Encoder, options: ObjectiveOptions) -> dict[Pair, float]:
    """The pairs of style layers, each layer with itself or with the next, and their weights, whose sum is 1.

    Raises:
        UserError: the encoder lacks a layer, a weight isn't allowed, or a correlation chain has only one layer.
    """
    weights = _weights("style_layers", encoder, options.style_layers)
    if options.geometric_weights:
        weights = {layer: 2.0 ** (len(weights) - depth) for depth, layer in enumerate(weights, 1)}
    if not options.correlation_chain:
        return {(layer, layer): share for layer, share in normalize_weights("style_layers", weights).items()}
    if len(weights) < 2:
        raise UserError(f"style_layers must be two or more layers with correlation_chain, got {list(weights)}")
    return normalize_weights("style_layers", {pair: weights[pair[1]] for pair in pairwise(weights)})


def layers_of_pairs(pairs: Iterable[Pair]) -> list[str]:
    """The layers in pairs, each once, in the order of the pairs."""
    return list(dict.fromkeys(layer for pair in pairs for layer in pair))


def needed_layers(encoder: Encoder, options: ObjectiveOptions) -> list[str]:
    """All layers that are compared; losses of weight 0 need none."""
    content = content_layers(encoder, options) if options.content_weight else {}
    style = style_pairs(encoder, options) if options.style_weight else {}
    return list(dict.fromkeys([*content, *layers_of_pairs(style)]))


def minimum_size(encoder: Encoder, layers: Iterable[str], scale: int = 1) -> tuple[int, str]:
    """The smallest side, in pixels, with which pictures have features at all layers, and the layer that needs it.

    Args:
        encoder: the encoder.
        layers: names of one or more of its layers.
        scale: factor by which pictures are scaled down before.
    """
    return max((encoder.minimum_size(layer) * scale, layer) for layer in layers)


def _weights(name: str, encoder: Encoder, layers: Layers) -> dict[str, float]:
    """The layers from shallow to deep with their weights, without those of weight 0."""
    if layers == "all":
        return {layer: 1.0 for layer in encoder.layers if layer.startswith("relu")}
    with naming(name):
        encoder.require(layers)
    weights = normalize_weights(name, layers)
    return {layer: weights[layer] for layer in ALL_LAYERS if layer in weights}
