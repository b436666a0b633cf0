"""The perceptual loss that transfer networks are trained with."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from nst_lightning.encoders import Encoder
from nst_lightning.errors import UserError
from nst_lightning.losses.downsample import shrink
from nst_lightning.losses.functional import (
    Normalization,
    content_loss,
    grid_loss,
    shares_of,
    style_loss,
    total_variation_loss,
)
from nst_lightning.losses.options import ObjectiveOptions
from nst_lightning.losses.statistics import gram_matrix


class PerceptualLoss(nn.Module):
    """Content, style at several scales, total variation and grid, weighted (Gatys et al. 2015; Johnson et al. 2016).

    The paintings' Gram matrices are computed once. Show them at the size at which their strokes should appear: the
    larger they are, the larger these are.

    Args:
        encoder: whose features are compared.
        paintings: the style pictures, RGB in [0, 1], each of shape (1, 3, H, W).
        options: what is compared, and the weights.

    Raises:
        UserError: the encoder lacks a layer, or a painting is too small.
    """

    def __init__(self, encoder: Encoder, paintings: Sequence[Tensor], options: ObjectiveOptions) -> None:
        super().__init__()
        self.encoder, self.options = encoder, options
        self.content_layers = shares_of("content_layers", options.content_layers)
        self.style_layers = shares_of("style_layers", options.style_layers)
        self.scales = shares_of("style_scales", options.style_scales)
        self.content_scale = options.content_scale
        encoder.require([*self.content_layers, *self.style_layers])
        self.content_weight, self.style_weight = options.content_weight, options.style_weight
        self.tv_weight, self.grid_weight = options.tv_weight, options.grid_weight
        self.normalization: Normalization = options.normalization
        for painting in paintings:
            self._check_size("the painting", painting, self._for_style)
        for factor in self.scales:
            grams = [self._grams(shrink(painting, factor)) for painting in paintings]
            for layer in self.style_layers:
                of_layer = torch.cat([of_painting[layer] for of_painting in grams])
                self.register_buffer(f"gram_{layer}_at_{factor}", of_layer, persistent=False)

    def forward(
        self, pictures: Tensor, photos: Tensor, *, styles: Tensor | None = None, style_factors: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Losses of stylized pictures against their photos.

        Args:
            pictures: RGB in [0, 1], shape (N, 3, H, W).
            photos: the photos they were made of, same shape.
            styles: which painting each picture should resemble, integers of shape (N,); by default the first.
            style_factors: of `style_weight` for each picture, shape (N,); by default 1.

        Returns:
            Scalars `content`, `style`, `variation` and `grid`, unweighted, and `loss`, their weighted sum.
        """
        styles = torch.zeros(len(pictures), dtype=torch.long, device=pictures.device) if styles is None else styles
        self._check_size("a picture", pictures, max(self._for_style, self._for_content))
        with torch.no_grad():
            targets = self.encoder(shrink(photos, self.content_scale), list(self.content_layers))
        content, style = pictures.new_zeros(()), pictures.new_zeros(())
        for factor in {self.content_scale: 0, **self.scales}:
            with_style, with_content = factor in self.scales, factor == self.content_scale
            layers = [*(self.style_layers if with_style else ()), *(self.content_layers if with_content else ())]
            features = self.encoder(shrink(pictures, factor), list(dict.fromkeys(layers)))
            if with_style:
                style = style + self.scales[factor] * self._style(features, factor, styles, style_factors)
            if with_content:
                content = self._content(features, targets)
        variation, grid = total_variation_loss(pictures), grid_loss(pictures)
        loss = self.content_weight * content + self.style_weight * style
        loss = loss + self.tv_weight * variation + self.grid_weight * grid
        return {"loss": loss, "content": content, "style": style, "variation": variation, "grid": grid}

    @torch.no_grad()
    def _grams(self, painting: Tensor) -> dict[str, Tensor]:
        return {name: gram_matrix(found) for name, found in self.encoder(painting, list(self.style_layers)).items()}

    def _content(self, features: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> Tensor:
        return sum(
            weight * content_loss(features[layer], targets[layer], self.normalization)
            for layer, weight in self.content_layers.items()
        )

    def _style(
        self, features: Mapping[str, Tensor], factor: int, styles: Tensor, style_factors: Tensor | None
    ) -> Tensor:
        loss = 0
        for layer, weight in self.style_layers.items():
            targets = self.get_buffer(f"gram_{layer}_at_{factor}")[styles]
            loss = loss + weight * style_loss(gram_matrix(features[layer]), targets, self.normalization, style_factors)
        return loss

    @property
    def minimum_size(self) -> int:
        """Pixels that each side of pictures needs at least."""
        return max(self._for_style, self._for_content)[0]

    @property
    def _for_style(self) -> tuple[int, str, int]:
        return self._least(self.style_layers, max(self.scales))

    @property
    def _for_content(self) -> tuple[int, str, int]:
        return self._least(self.content_layers, self.content_scale)

    def _least(self, layers: Iterable[str], scale: int) -> tuple[int, str, int]:
        """What layers need when pictures are shrunk: the pixels of a side, the layer that needs most, and the scale."""
        return max((self.encoder.minimum_size(layer) * scale, layer, scale) for layer in layers)

    @staticmethod
    def _check_size(what: str, pictures: Tensor, least: tuple[int, str, int]) -> None:
        needed, layer, scale = least
        height, width = pictures.shape[-2:]
        if min(height, width) < needed:
            raise UserError(
                f"{what} of {width}x{height} is too small for {layer} at scale 1/{scale}: at least {needed}x{needed}"
            )
