"""Content and style of a picture at one size, against a photo's features and the statistics of paintings."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from nst_lightning.encoders import Encoder
from nst_lightning.encoders.base import ALL_LAYERS, stride_of
from nst_lightning.errors import UserError
from nst_lightning.losses import (
    Moments,
    covariance_root,
    mean_std_loss,
    moments,
    shares_of,
    style_loss,
    wasserstein_loss,
)
from nst_lightning.optimization.options import Layers, OptimizeOptions
from nst_lightning.optimization.tiles import LEAST_TILE, Tile, area_pooled, tiles_of
from nst_lightning.system import give_back_freed_memory

Pair = tuple[str, str]


@dataclass(frozen=True)
class Region:
    """A part of the picture, and the style that it takes.

    Args:
        paintings: RGB in [0, 1], each of shape (1, 3, h, w); their statistics are blended.
        shares: of each painting in the blend; their sum is 1.
        mask: shape (1, 1, H, W), from 0 (the photo stays) to 1 (stylized); None for all of the picture.
    """

    paintings: Sequence[Tensor]
    shares: Sequence[float]
    mask: Tensor | None = None


class SingleScaleLoss:
    """The content and style losses of a picture at one size, and their gradient. What stays the same is computed once.

    Args:
        encoder: whose features are compared.
        photo: RGB in [0, 1], shape (1, 3, H, W).
        regions: which styles go where.
        options: layers and normalization.
        content_weight: weight of the content loss in the gradient.
        style_weight: weight of the style loss in the gradient.
        tile: side of the tiles in pixels that are held in memory one at a time; None takes the whole picture at once.
            The result is the same.
    """

    @torch.no_grad()
    def __init__(
        self,
        encoder: Encoder,
        photo: Tensor,
        regions: Sequence[Region],
        options: OptimizeOptions,
        *,
        content_weight: float,
        style_weight: float,
        tile: int | None = None,
    ) -> None:
        self.encoder, self.options, self.photo = encoder, options, photo
        self.content_weight, self.style_weight = content_weight, style_weight
        self.content_layers = content_shares(encoder, options) if content_weight else {}
        self.pairs = style_shares(encoder, options) if style_weight else {}
        self.layers = list(dict.fromkeys(layer for pair in self.pairs for layer in pair))
        self.tile, self.tiles = tile, self._tiles_of(photo, tile)
        self.masks = [region.mask for region in regions]
        self.targets = [self._target(region) for region in regions]
        self.roots = [self._roots(targets) for targets in self.targets]
        # a region's style counts as much as it has of the picture: a pixel's style doesn't depend on the other regions
        self.areas = [1.0 if mask is None else mask.square().mean().item() for mask in self.masks]
        self.content_scales = self._content_scales()
        self.content_features = self._content_features(self.tiles[0]) if len(self.tiles) == 1 else {}

    def __call__(self, picture: Tensor) -> tuple[float, float, Tensor]:
        """Content loss and style loss, unweighted, of a picture of the photo's shape, and the gradient of their sum."""
        return self._whole(picture.detach()) if len(self.tiles) == 1 else self._tiled(picture.detach())

    def _whole(self, picture: Tensor) -> tuple[float, float, Tensor]:
        picture.requires_grad_()
        tile = self.tiles[0]
        features = self.encoder(picture, list(dict.fromkeys([*self.content_layers, *self.layers])))
        content = self._content(features, self.content_features, tile)
        style = self._style([self._moments(features, tile, mask) for mask in self.masks])
        loss = self.content_weight * content + self.style_weight * style
        (gradient,) = torch.autograd.grad(loss, picture)
        return content.item(), style.item(), gradient

    def _tiled(self, picture: Tensor) -> tuple[float, float, Tensor]:
        """Statistics of the whole picture first, tile by tile; then the loss's gradient through each tile's part."""
        sums = self._sums(picture, self.tiles, self.masks) if self.layers else []
        parts = [part for of_region in sums for found in of_region.values() for part in (found.second, found.first)]
        for part in parts:
            part.requires_grad_()
        style = self._style(sums)
        slopes = torch.autograd.grad(style, parts, allow_unused=True) if parts else []
        slopes = [0 if slope is None else self.style_weight * slope for slope in slopes]
        content, gradient = 0.0, torch.zeros_like(picture)
        for tile in self.tiles:
            of_tile, slope = self._one_tile(tile, picture, slopes)
            content += of_tile
            tile.of(gradient).add_(slope)
            give_back_freed_memory()
        return content, style.item(), gradient

    def _one_tile(self, tile: Tile, picture: Tensor, slopes: Sequence[Tensor]) -> tuple[float, Tensor]:
        """A tile's content loss and gradient; on return, nothing else of it stays in memory."""
        seen = tile.of(picture).clone().requires_grad_()
        features = self.encoder(seen, list(dict.fromkeys([*self.content_layers, *self.layers])))
        content = self._content(features, self._content_features(tile), tile)
        found = [self._moments(features, tile, mask) for mask in self.masks]
        own = [part for of_region in found for m in of_region.values() for part in (m.second, m.first)]
        loss = self.content_weight * content + sum((part * slope).sum() for part, slope in zip(own, slopes))
        return content.item(), torch.autograd.grad(loss, seen)[0]

    @torch.no_grad()
    def _sums(
        self, picture: Tensor, tiles: Sequence[Tile], masks: Sequence[Tensor | None]
    ) -> list[dict[Pair, Moments]]:
        sums: list[dict[Pair, Moments]] = [{} for _ in masks]
        for tile in tiles:
            features = self.encoder(tile.of(picture), self.layers)
            for of_region, mask in zip(sums, masks):
                for pair, found in self._moments(features, tile, mask).items():
                    of_region[pair] = of_region[pair] + found if pair in of_region else found
        return sums

    def _moments(self, features: dict[str, Tensor], tile: Tile, mask: Tensor | None) -> dict[Pair, Moments]:
        """Moments of each pair of layers over a tile; a mask multiplies features, as in Gatys et al. 2017."""
        prepared = {layer: self._prepared(features[layer]) for layer in self.layers}
        found = {}
        for shallow, deep in self.pairs:
            stride, others, weights = stride_of(shallow), None, None
            if deep != shallow:
                enlarged = _enlarged(prepared[deep], stride_of(deep) // stride, prepared[shallow])
                others = tile.crop(enlarged, stride)
            if mask is not None:
                weights = area_pooled(mask[..., tile.core[0], tile.core[1]], stride).square()
            found[shallow, deep] = moments(tile.crop(prepared[shallow], stride), others, weights)
        return found

    def _prepared(self, features: Tensor) -> Tensor:
        if self.options.activation_shift:
            features = features + self.options.activation_shift
        return _blurred(features) if self.options.blur else features

    def _style(self, sums: Sequence[dict[Pair, Moments]]) -> Tensor:
        style = self.photo.new_zeros(())
        for of_region, targets, roots, area in zip(sums, self.targets, self.roots, self.areas):
            for pair, share in self.pairs.items():
                distance = self._distance(of_region[pair].averaged(), targets[pair], roots.get(pair))
                style = style + area * share * distance
        return style

    def _distance(self, found: Moments, target: Moments, root: Tensor | None) -> Tensor:
        normalization = self.options.normalization
        if self.options.style_loss == "gram":
            return style_loss(found.second[None], target.second[None], normalization)
        if self.options.style_loss == "wasserstein":
            return wasserstein_loss(found, target, normalization, root=root)
        return mean_std_loss(found, target, normalization)

    def _target(self, region: Region) -> dict[Pair, Moments]:
        blend: dict[Pair, Moments] = {}
        largest = max(LEAST_TILE, *self.photo.shape[-2:])  # a painting needs no more memory than the photo
        for painting, share in zip(region.paintings, region.shares, strict=True):
            tiles = self._tiles_of(painting, self.tile or (largest if max(painting.shape[-2:]) > largest else None))
            (of_painting,) = self._sums(painting, tiles, [None]) if self.layers else [{}]
            for pair, found in of_painting.items():
                averaged = found.averaged(share)
                blend[pair] = blend[pair] + averaged if pair in blend else averaged
        return blend

    def _roots(self, targets: dict[Pair, Moments]) -> dict[Pair, Tensor]:
        if self.options.style_loss != "wasserstein":
            return {}
        return {pair: covariance_root(target) for pair, target in targets.items()}

    def _tiles_of(self, picture: Tensor, side: int | None) -> list[Tile]:
        extra = self.options.correlation_chain + self.options.blur
        return tiles_of(*picture.shape[-2:], [*self.content_layers, *self.layers], side=side, extra=extra)

    def _content(self, features: dict[str, Tensor], targets: dict[str, Tensor], tile: Tile) -> Tensor:
        """The tile's part of the content loss (see `content_loss`), whose sums are those of the whole picture."""
        content = self.photo.new_zeros(())
        for layer, scale in self.content_scales.items():
            difference = tile.crop(features[layer] - targets[layer], stride_of(layer)).float()
            content = content + scale * difference.square().sum()
        return content

    def _content_scales(self) -> dict[str, float]:
        """What each layer's sum of squared differences is multiplied by."""
        energy, count = dict.fromkeys(self.content_layers, 1e-8), dict.fromkeys(self.content_layers, 0)
        for tile in self.tiles:
            for layer, features in self._content_features(tile).items():
                own = tile.crop(features, stride_of(layer)).float()
                energy[layer] += own.square().sum().item()
                count[layer] += own.numel()
        of_layer = {
            "relative": lambda layer: 1 / energy[layer],
            "gatys": lambda layer: 1 / 2,
            "mean": lambda layer: 1 / (4 * count[layer]),
        }[self.options.normalization]
        return {layer: share * of_layer(layer) for layer, share in self.content_layers.items()}

    @torch.no_grad()
    def _content_features(self, tile: Tile) -> dict[str, Tensor]:
        return self.encoder(tile.of(self.photo), list(self.content_layers)) if self.content_layers else {}


def content_shares(encoder: Encoder, options: OptimizeOptions) -> dict[str, float]:
    """The content layers and their weights, whose sum is 1."""
    weights = _weights("content_layers", encoder, options.content_layers)
    if options.geometric_weights:
        weights = {layer: 2.0**depth for depth, layer in enumerate(weights, 1)}
    return shares_of("content_layers", weights)


def style_shares(encoder: Encoder, options: OptimizeOptions) -> dict[Pair, float]:
    """The pairs of layers whose features style is taken from, a layer with itself or the next, and their weights."""
    weights = _weights("style_layers", encoder, options.style_layers)
    if options.geometric_weights:
        weights = {layer: 2.0 ** (len(weights) - depth) for depth, layer in enumerate(weights, 1)}
    if not options.correlation_chain:
        return {(layer, layer): share for layer, share in shares_of("style_layers", weights).items()}
    if len(weights) < 2:
        raise UserError(f"style_layers must be two or more with correlation_chain, got {list(weights)}")
    return shares_of("style_layers", {pair: weights[pair[1]] for pair in pairwise(weights)})


def _weights(name: str, encoder: Encoder, layers: Layers) -> dict[str, float]:
    """Layers from shallow to deep, without those of weight 0."""
    if layers == "all":
        return {layer: 1.0 for layer in encoder.layers if layer.startswith("relu")}
    encoder.require(layers)
    shares = shares_of(name, layers)
    return {layer: shares[layer] for layer in ALL_LAYERS if layer in shares}


def _enlarged(features: Tensor, factor: int, like: Tensor) -> Tensor:
    """Features of a deeper layer at the size of a shallower one; a scale of the sizes' ratio would differ in tiles."""
    if factor > 1:
        features = F.interpolate(features, scale_factor=factor, mode="bilinear", align_corners=False)
    missing = [large - small for large, small in zip(like.shape[-2:], features.shape[-2:])]
    return F.pad(features, (0, missing[1], 0, missing[0]), mode="replicate") if any(missing) else features


def _blurred(features: Tensor) -> Tensor:
    """Binomial blur of 3x3 positions."""
    kernel = features.new_tensor([1, 2, 1]) / 4
    weight = torch.outer(kernel, kernel).expand(features.shape[1], 1, 3, 3)
    return F.conv2d(F.pad(features, (1, 1, 1, 1), mode="replicate"), weight, groups=features.shape[1])
