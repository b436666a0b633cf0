"""The perceptual loss that transfer networks are trained with."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from nst_lightning.encoders import Encoder
from nst_lightning.errors import UserError, require, require_at_least
from nst_lightning.losses.downsample import shrink
from nst_lightning.losses.functional import (
    Normalization,
    content_loss,
    grid_loss,
    shares_of,
    style_loss,
    total_variation_loss,
)
from nst_lightning.losses.statistics import gram_matrix


class PerceptualLoss(nn.Module):
    """Content, style at several scales, total variation and grid, weighted (Gatys et al. 2015; Johnson et al. 2016).

    The paintings' Gram matrices are computed once. Show them at the size at which their strokes should appear: the
    larger they are, the larger these are.

    Args:
        encoder: whose features are compared.
        paintings: the style pictures, RGB in [0, 1], each of shape (1, 3, H, W).
        content_layers: layer names and their weights.
        style_layers: layer names and their weights.
        scales: factors by which picture and painting are shrunk before their styles are compared, and the weight of
            each; large factors make large strokes.
        content_scale: factor by which picture and photo are shrunk before their contents are compared.
        content_weight: weight of the content loss (Gatys' alpha).
        style_weight: weight of the style loss (Gatys' beta).
        tv_weight: weight of the total variation loss, against noise and dots.
        grid_weight: weight of the grid loss, for networks that make pixels in pairs.
        normalization: `relative`, `gatys` or `mean`, see `content_loss` and `style_loss`. Weights of layers and scales
            are divided by their sum, so that `style_weight` means the same for any number of them.

    Raises:
        UserError: a weight is negative or all are zero, a layer is unknown, or the painting is too small.
    """

    def __init__(
        self,
        encoder: Encoder,
        paintings: Sequence[Tensor],
        *,
        content_layers: Mapping[str, float],
        style_layers: Mapping[str, float],
        scales: Mapping[int, float],
        content_scale: int = 1,
        content_weight: float = 1.0,
        style_weight: float = 10.0,
        tv_weight: float = 0.0,
        grid_weight: float = 0.0,
        normalization: Normalization = "relative",
    ) -> None:
        super().__init__()
        require_at_least(0, content_weight=content_weight, style_weight=style_weight)
        require_at_least(0, tv_weight=tv_weight, grid_weight=grid_weight)
        self.encoder = encoder
        self.content_layers = shares_of("content_layers", content_layers)
        self.style_layers = shares_of("style_layers", style_layers)
        self.scales = shares_of("scales", scales)
        require("scales", list(self.scales), all(factor >= 1 for factor in self.scales), ">= 1")
        require_at_least(1, content_scale=content_scale)
        self.content_scale = content_scale
        encoder.require([*self.content_layers, *self.style_layers])
        self.content_weight, self.style_weight = content_weight, style_weight
        self.tv_weight, self.grid_weight = tv_weight, grid_weight
        self.normalization: Normalization = normalization
        for painting in paintings:
            self._check_size("the painting", painting, self._for_style)
        for factor in self.scales:
            grams = [self._grams(shrink(painting, factor)) for painting in paintings]
            for layer in self.style_layers:
                of_layer = torch.cat([of_painting[layer] for of_painting in grams])
                self.register_buffer(f"gram_{layer}_at_{factor}", of_layer, persistent=False)

    def forward(
        self, pictures: Tensor, photos: Tensor, *, styles: Tensor | None = None, style_shares: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Losses of stylized pictures against their photos.

        Args:
            pictures: RGB in [0, 1], shape (N, 3, H, W).
            photos: the photos they were made of, same shape.
            styles: which painting each picture should resemble, integers of shape (N,); by default the first.
            style_shares: of `style_weight` for each picture, shape (N,); by default 1.

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
                style = style + self.scales[factor] * self._style(features, factor, styles, style_shares)
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
        self, features: Mapping[str, Tensor], factor: int, styles: Tensor, style_shares: Tensor | None
    ) -> Tensor:
        loss = 0
        for layer, weight in self.style_layers.items():
            targets = self.get_buffer(f"gram_{layer}_at_{factor}")[styles]
            loss = loss + weight * style_loss(gram_matrix(features[layer]), targets, self.normalization, style_shares)
        return loss

    @property
    def smallest(self) -> int:
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
