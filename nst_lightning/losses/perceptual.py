"""The objective as a module: the loss that transfer networks are trained with."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn

from nst_lightning.encoders import Encoder
from nst_lightning.errors import UserError, naming
from nst_lightning.losses.downsample import tent_downsample
from nst_lightning.losses.functional import (
    content_divisor,
    content_sums,
    grid_loss,
    normalize_weights,
    total_variation_loss,
)
from nst_lightning.losses.layers import Pair, content_layers, minimum_size, style_pairs
from nst_lightning.losses.options import ObjectiveOptions
from nst_lightning.losses.style import Statistics, build_style_loss

_EPSILON = 1e-8


class PerceptualLoss(nn.Module):
    """Content, style at several scales, total variation and grid, weighted (Gatys et al. 2015; Johnson et al. 2016).

    This is the objective of `optimize`, for batches of pictures of the same size, which may have different paintings.
    The statistics of paintings are computed once, with the first pictures, on their device. The larger the paintings,
    the larger the strokes.

    Args:
        encoder: the encoder whose features are compared.
        paintings: the style pictures, RGB in [0, 1], each of shape (1, 3, H, W).
        options: what the losses compare, and the weights. Weights of layers and scales are divided by their sum, so
            that `style_weight` means the same for any number of layers and scales.

    Raises:
        UserError: a weight isn't allowed, a layer is unknown, or a painting is too small.
    """

    def __init__(self, encoder: Encoder, paintings: Sequence[Tensor], options: ObjectiveOptions) -> None:
        super().__init__()
        self.encoder, self.options = encoder, options
        self.content_layers = content_layers(encoder, options)
        self.style = build_style_loss(style_pairs(encoder, options), options)
        self.scales = normalize_weights("style_scales", options.style_scales)
        for painting in paintings:
            with naming("paintings"):
                self._check_size("a painting", painting, self.style.layers, max(self.scales))
        self._paintings = list(paintings)
        self._targets: dict[tuple[int, int], Statistics] = {}
        self._roots: dict[tuple[int, int], dict[Pair, Tensor]] = {}
        self._measured_on: dict[int, torch.device] = {}

    def forward(
        self,
        pictures: Tensor,
        photos: Tensor,
        *,
        styles: Tensor | None = None,
        style_factors: Tensor | None = None,
        draw: int = 0,
    ) -> dict[str, Tensor]:
        """Losses of stylized pictures against their photos.

        Args:
            pictures: RGB in [0, 1], shape (N, 3, H, W).
            photos: the photos that the pictures were made from, same shape.
            styles: number of the painting that each picture should resemble, integers of shape (N,); by default the
                first painting.
            style_factors: factors of `style_weight` for each picture, shape (N,); by default 1.
            draw: chooses the random directions of the sliced Wasserstein distance; they recur after a few draws.

        Returns:
            Scalars `content`, `style`, `variation` and `grid`, unweighted, and `loss`, their weighted sum; and

        Raises:
            UserError: the pictures are too small.
        """
        options, scale = self.options, self.options.content_scale
        styles = torch.zeros(len(pictures), dtype=torch.long, device=pictures.device) if styles is None else styles
        self._check_size("a picture", pictures, self.content_layers, scale)
        self._check_size("a picture", pictures, self.style.layers, max(self.scales))
        draw %= self.style.draws
        self._measure_paintings(pictures.device, draw)
        with torch.no_grad():
            targets = self.encoder(tent_downsample(photos, scale), list(self.content_layers))
        content, style, of_each = pictures.new_zeros(()), pictures.new_zeros(()), pictures.new_zeros(len(pictures))
        for factor in dict.fromkeys([scale, *self.scales]):
            layers = [
                *(self.content_layers if factor == scale else ()),
                *(self.style.layers if factor in self.scales else ()),
            ]
            features = self.encoder(tent_downsample(pictures, factor), list(dict.fromkeys(layers)))
            if factor == scale:
                content, content_of_each = self._content(features, targets)
            if factor in self.scales:
                style_losses = self._style(features, factor, styles, draw)
                of_each = of_each + self.scales[factor] * style_losses.detach()
                style_losses = style_losses if style_factors is None else style_losses * style_factors
                style = style + self.scales[factor] * style_losses.mean()
        variation, grid = total_variation_loss(pictures, color=options.tv_color), grid_loss(pictures)
        loss = options.content_weight * content + options.style_weight * style
        loss = loss + options.tv_weight * variation + options.grid_weight * grid
        parts = {"content": content, "style": style, "variation": variation, "grid": grid}
        return {"loss": loss, **parts, "style_of_each": of_each, "content_of_each": content_of_each}

    @property
    def minimum_size(self) -> int:
        """The smallest width and height of pictures, in pixels."""
        content, _ = minimum_size(self.encoder, self.content_layers, self.options.content_scale)
        style, _ = minimum_size(self.encoder, self.style.layers, max(self.scales))
        return max(content, style)

    def _content(self, features: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The content loss, and `content_of_each`."""
        losses, of_each = [], []
        for layer, weight in self.content_layers.items():
            target = targets[layer]
            squares, energy = content_sums(features[layer], target)
            divisor = content_divisor(energy.sum(), target.numel(), len(target), self.options.normalization)
            losses.append(weight * squares.sum() / divisor)
            of_each.append(weight * torch.stack([squares.detach(), energy], dim=1) / energy.sum().clamp_min(_EPSILON))
        return reduce(torch.add, losses), reduce(torch.add, of_each)

    def _style(self, features: Mapping[str, Tensor], factor: int, styles: Tensor, draw: int) -> Tensor:
        targets = {pair: target[styles] for pair, target in self._targets[factor, draw].items()}
        roots = {pair: root[styles.cpu()] for pair, root in self._roots[factor, draw].items()}
        return self.style.compare(self.style.measure(features, draw=(draw,)), targets, roots)

    def _measure_paintings(self, device: torch.device, draw: int) -> None:
        """Measure the paintings at each scale on a device, in float32, unless that has been done."""
        if self._measured_on.get(draw) == device:
            return
        # validation may come first: what inference mode makes can't take part in training
        with torch.inference_mode(False), torch.no_grad(), torch.autocast(device.type, enabled=False):
            for factor in self.scales:
                measured = [self._measure(painting.to(device), factor, draw) for painting in self._paintings]
                targets = {pair: _concatenate([each[pair] for each in measured]) for pair in self.style.pairs}
                self._targets[factor, draw], self._roots[factor, draw] = targets, self.style.roots(targets)
        self._measured_on[draw] = device

    def _measure(self, painting: Tensor, factor: int, draw: int) -> Statistics:
        features = self.encoder(tent_downsample(painting, factor), self.style.layers)
        return {pair: found.averaged() for pair, found in self.style.measure(features, draw=(draw,)).items()}

    def _check_size(self, name: str, pictures: Tensor, layers: Iterable[str], scale: int) -> None:
        needed, layer = minimum_size(self.encoder, layers, scale)
        height, width = pictures.shape[-2:]
        if min(height, width) < needed:
            raise UserError(
                f"{name} of {width}x{height} is too small for {layer} at scale 1/{scale}: at least {needed}x{needed}"
            )


def _concatenate(parts: Sequence[Any]) -> Any:
    """Join the statistics of several batches into those of one batch."""
    names = [field.name for field in fields(parts[0])]
    return type(parts[0])(*(torch.cat([getattr(part, name) for part in parts]) for name in names))
