"""The content and style losses of a picture at one scale, and their gradient, for the whole picture or in tiles."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nst_lightning.encoders import Encoder
from nst_lightning.encoders.base import stride_of
from nst_lightning.losses import (
    Draw,
    ObjectiveOptions,
    Statistics,
    build_style_loss,
    content_divisor,
    content_layers,
    squared_difference,
    style_pairs,
)
from nst_lightning.optimization.tiles import LEAST_TILE, Tile, tiles_of
from nst_lightning.system import give_back_freed_memory


@dataclass(frozen=True)
class Region:
    """A part of the picture, and its style.

    Args:
        paintings: RGB in [0, 1], each of shape (1, 3, h, w); their statistics are blended.
        blend_weights: weight of each painting in the blend; their sum is 1.
        mask: mask of shape (1, 1, H, W), from 0, where the photo stays, to 1; None for the whole picture.
    """

    paintings: Sequence[Tensor]
    blend_weights: Sequence[float]
    mask: Tensor | None = None


class SingleScaleLoss:
    """The content and style losses of a picture at one scale, and their gradient. Targets are computed once.

    Args:
        encoder: the encoder whose features are compared.
        photo: RGB in [0, 1], shape (1, 3, H, W).
        regions: the parts of the picture and their styles.
        options: the layers to compare, and the normalization.
        content_weight: weight of the content loss in the gradient; with 0, the loss isn't computed.
        style_weight: weight of the style loss in the gradient; with 0, the loss isn't computed.
        tile: side in pixels of the tiles that are processed one at a time; None processes the whole picture at once.
            The result is the same.
        draw: random seed of directions, for the sliced Wasserstein distance.
    """

    @torch.no_grad()
    def __init__(
        self,
        encoder: Encoder,
        photo: Tensor,
        regions: Sequence[Region],
        options: ObjectiveOptions,
        *,
        content_weight: float,
        style_weight: float,
        tile: int | None = None,
        draw: Draw = (0,),
    ) -> None:
        self.encoder, self.photo, self.draw = encoder, photo, draw
        self.content_weight, self.style_weight = content_weight, style_weight
        self.content_layers = content_layers(encoder, options) if content_weight else {}
        self.style = build_style_loss(style_pairs(encoder, options) if style_weight else {}, options)
        self.layers = list(dict.fromkeys([*self.content_layers, *self.style.layers]))
        self.tile, self.extra = tile, options.correlation_chain + options.blur
        self.tiles = self._tiles_of(photo, tile)
        regions = regions if self.style.layers else []
        self.masks = [region.mask for region in regions]
        self.targets = [self._target(region) for region in regions]
        self.roots = [self.style.roots(targets) for targets in self.targets]
        # weights by area make the gradient at a pixel independent of other regions
        self.areas = [1.0 if mask is None else mask.square().mean().item() for mask in self.masks]
        self.content_factors = self._content_factors(options)
        self.content_features = self._content_features(self.tiles[0]) if len(self.tiles) == 1 else {}

    def __call__(self, picture: Tensor) -> tuple[float, float, Tensor]:
        """Compute the unweighted content and style losses of a picture, and the gradient of their weighted sum."""
        return self._whole(picture.detach()) if len(self.tiles) == 1 else self._tiled(picture.detach())

    def _whole(self, picture: Tensor) -> tuple[float, float, Tensor]:
        picture.requires_grad_()
        tile = self.tiles[0]
        features = self.encoder(picture, self.layers)
        content = self._content(features, self.content_features, tile)
        style = self._style(self._measure(features, tile))
        loss = self.content_weight * content + self.style_weight * style
        (gradient,) = torch.autograd.grad(loss, picture)
        return content.item(), style.item(), gradient

    def _tiled(self, picture: Tensor) -> tuple[float, float, Tensor]:
        """Sum the statistics of all tiles first; then compute the gradient through each tile's statistics."""
        sums = self._sum(picture, self.tiles, self.masks) if self.style.layers else []
        sums = [self.style.summarize(found, targets) for found, targets in zip(sums, self.targets)]
        for part in (part for statistics in sums for found in statistics.values() for part in found.parts):
            part.requires_grad_()
        style = self._style(sums)
        if sums:
            (self.style_weight * style).backward()
        content, gradient = 0.0, torch.zeros_like(picture)
        for number, tile in enumerate(self.tiles):
            tile_content, slope = self._one_tile(number, picture, sums)
            content += tile_content
            tile.of(gradient).add_(slope)
            give_back_freed_memory()
        return content, style.item(), gradient

    def _one_tile(self, number: int, picture: Tensor, sums: Sequence[Statistics]) -> tuple[float, Tensor]:
        """The content loss and gradient of a tile; nothing else of the tile stays in memory."""
        tile = self.tiles[number]
        seen = tile.of(picture).clone().requires_grad_()
        features = self.encoder(seen, self.layers)
        content = self._content(features, self._content_features(tile), tile)
        loss = self.content_weight * content
        for statistics, measured in zip(sums, self._measure(features, tile), strict=True):
            for pair, found in measured.items():
                loss = loss + statistics[pair].toward(found, number)
        return content.item(), torch.autograd.grad(loss, seen)[0]

    def _measure(self, features: Mapping[str, Tensor], tile: Tile) -> list[Statistics]:
        """The statistics of each region over a tile."""
        measure = functools.partial(self.style.measure, features, crop=tile.crop, draw=self.draw)
        return [measure(mask=tile.of_mask(mask)) for mask in self.masks]

    @torch.no_grad()
    def _sum(self, picture: Tensor, tiles: Sequence[Tile], masks: Sequence[Tensor | None]) -> list[Statistics]:
        """The statistics of each region over all tiles of a picture."""
        sums: list[Statistics] = [{} for _ in masks]
        for tile in tiles:
            features = self.encoder(tile.of(picture), self.style.layers)
            for total, mask in zip(sums, masks):
                _add(total, self.style.measure(features, crop=tile.crop, mask=tile.of_mask(mask), draw=self.draw))
        return sums

    def _style(self, sums: Sequence[Statistics]) -> Tensor:
        style = self.photo.new_zeros(())
        for found, targets, roots, area in zip(sums, self.targets, self.roots, self.areas):
            style = style + area * self.style.compare(found, targets, roots).sum()  # a sum over a batch of one
        return style

    def _target(self, region: Region) -> Statistics:
        blend: Statistics = {}
        largest = max(LEAST_TILE, *self.photo.shape[-2:])  # a painting needs no more memory than the photo
        for painting, weight in zip(region.paintings, region.blend_weights, strict=True):
            tiles = self._tiles_of(painting, self.tile or (largest if max(painting.shape[-2:]) > largest else None))
            (measured,) = self._sum(painting, tiles, [None])
            _add(blend, {pair: found.averaged(weight) for pair, found in measured.items()})
        return blend

    def _tiles_of(self, picture: Tensor, side: int | None) -> list[Tile]:
        height, width = picture.shape[-2:]
        return tiles_of(height, width, self.layers, side=side, extra=self.extra)

    def _content(self, features: Mapping[str, Tensor], targets: Mapping[str, Tensor], tile: Tile) -> Tensor:
        """The tile's part of the content loss (see `content_loss`), whose sums are those of the whole picture."""
        content = self.photo.new_zeros(())
        for layer, factor in self.content_factors.items():
            found, target = (tile.crop(each[layer], stride_of(layer)) for each in (features, targets))
            content = content + factor * squared_difference(found, target)
        return content

    def _content_factors(self, options: ObjectiveOptions) -> dict[str, float]:
        """The factor of each layer's sum of squared differences."""
        energy, count = dict.fromkeys(self.content_layers, 0.0), dict.fromkeys(self.content_layers, 0)
        for tile in self.tiles:
            for layer, features in self._content_features(tile).items():
                core = tile.crop(features, stride_of(layer)).float()
                energy[layer] += core.square().sum().item()
                count[layer] += core.numel()
        return {
            layer: weight / float(content_divisor(energy[layer], count[layer], 1, options.normalization))
            for layer, weight in self.content_layers.items()
        }

    @torch.no_grad()
    def _content_features(self, tile: Tile) -> dict[str, Tensor]:
        return self.encoder(tile.of(self.photo), list(self.content_layers)) if self.content_layers else {}


def _add(total: Statistics, found: Statistics) -> None:
    for pair, part in found.items():
        total[pair] = total[pair] + part if pair in total else part
