"""The objective of an optimization: content, style at several scales, and total variation of one picture."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from nst_lightning.encoders import Encoder
from nst_lightning.losses import (
    Draw,
    ObjectiveOptions,
    grid_loss,
    layers_of_pairs,
    minimum_size,
    normalize_weights,
    style_pairs,
    tent_downsample,
    total_variation_loss,
)
from nst_lightning.optimization.single_scale import Region, SingleScaleLoss


class Objective:
    """The loss of one picture at one size, and its gradient: the loss of `PerceptualLoss`, with regions and tiles.

    Args:
        encoder: the encoder whose features are compared.
        photo: RGB in [0, 1], shape (1, 3, H, W).
        regions: the parts of the picture and their styles; where all masks are 0, the photo stays.
        options: what the losses compare, and the weights. Style scales for which the picture or a painting is too small
            are left out.
        tile: side in pixels of the tiles that are processed one at a time; None processes the whole picture at once.
        draw: random seed of directions, for the sliced Wasserstein distance.
    """

    def __init__(
        self,
        encoder: Encoder,
        photo: Tensor,
        regions: Sequence[Region],
        options: ObjectiveOptions,
        *,
        tile: int | None = None,
        draw: Draw = (0,),
    ) -> None:
        self.options, self.photo = options, photo
        masks = [region.mask for region in regions if region.mask is not None]
        self.stylized = torch.cat(masks).sum(0, keepdim=True).clamp(0, 1) if masks else None
        self.stylized_share = 1.0 if self.stylized is None else self.stylized.mean().item()
        shortest = min(min(picture.shape[-2:]) for picture in (photo, *(p for r in regions for p in r.paintings)))
        self.style_scales = _fitting_scales(encoder, options, shortest) if options.style_weight else {}
        factors = [*([options.content_scale] if options.content_weight else []), *self.style_scales]
        self.scale_losses = {
            factor: SingleScaleLoss(
                encoder,
                tent_downsample(photo, factor),
                [_downsample(region, factor) for region in regions],
                options,
                content_weight=options.content_weight if factor == options.content_scale else 0.0,
                style_weight=options.style_weight * self.style_scales.get(factor, 0.0),
                tile=tile,
                draw=draw,
            )
            for factor in dict.fromkeys(factors)
        }

    def __call__(self, pixels: Tensor) -> tuple[dict[str, float], Tensor]:
        """Compute the losses of pixels of the photo's shape, and the gradient of their weighted sum.

        Returns:
            The weighted sum `loss`, and the unweighted `content`, `style`, `variation` and, if it has a weight, `grid`;
            and the gradient.
        """
        options, picture = self.options, self.compose(pixels.detach()).requires_grad_()
        variation = total_variation_loss(picture, color=options.tv_color)
        gradient = torch.autograd.grad(variation, picture)[0].mul_(options.tv_weight)
        losses = {"content": 0.0, "style": 0.0, "variation": variation.item()}
        if options.grid_weight:
            grid = grid_loss(picture)
            gradient += options.grid_weight * torch.autograd.grad(grid, picture)[0]
            losses["grid"] = grid.item()
        for factor, scale_loss in self.scale_losses.items():
            small = tent_downsample(picture, factor)
            content, style, slope = scale_loss(small)
            losses["content"] += content
            losses["style"] += self.style_scales.get(factor, 0.0) * style
            gradient += slope if factor == 1 else torch.autograd.grad(small, picture, slope)[0]
        if self.stylized is not None:
            gradient *= self.stylized
        loss = options.content_weight * losses["content"] + options.style_weight * losses["style"]
        loss += options.tv_weight * losses["variation"] + options.grid_weight * losses.get("grid", 0.0)
        return {"loss": loss, **losses}, gradient

    def weigh_style(self, weight: float) -> None:
        """Change the style weight, which must not have been 0."""
        self.options = replace(self.options, style_weight=weight)
        for factor, scale_loss in self.scale_losses.items():
            scale_loss.style_weight = weight * self.style_scales.get(factor, 0.0)

    def compose(self, pixels: Tensor) -> Tensor:
        """Compose a picture: the pixels where a style goes, and the photo elsewhere."""
        return pixels if self.stylized is None else torch.lerp(self.photo, pixels, self.stylized)


def _fitting_scales(encoder: Encoder, options: ObjectiveOptions, shortest: int) -> dict[int, float]:
    """The style scales at which pictures of a shortest side have features, or else the first; weights sum to 1."""
    least, _ = minimum_size(encoder, layers_of_pairs(style_pairs(encoder, options)))
    fitting = {factor: weight for factor, weight in options.style_scales.items() if shortest // factor >= least}
    return normalize_weights("style_scales", fitting or {min(options.style_scales): 1.0})


def _downsample(region: Region, factor: int) -> Region:
    paintings = [tent_downsample(painting, factor) for painting in region.paintings]
    return replace(
        region, paintings=paintings, mask=None if region.mask is None else tent_downsample(region.mask, factor)
    )
