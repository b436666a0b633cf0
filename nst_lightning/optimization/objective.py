"""What an optimization makes small: content, style at several scales, and total variation of one picture."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from nst_lightning.encoders import Encoder
from nst_lightning.losses import shares_of, tent_downsample
from nst_lightning.optimization.options import OptimizeOptions
from nst_lightning.optimization.single_scale import Region, SingleScaleLoss


class Objective:
    """The loss of one picture at one size, and its gradient.

    Args:
        encoder: whose features are compared.
        photo: RGB in [0, 1], shape (1, 3, H, W).
        regions: which styles go where; where no mask reaches, the photo stays.
        options: layers, scales, weights and normalization. Scales at which the picture is smaller than `least` are left
            out.
        least: shortest side in pixels of a picture that has features at all layers.
        tile: side of the tiles in pixels that are held in memory one at a time; None takes the whole picture at once.
    """

    def __init__(
        self,
        encoder: Encoder,
        photo: Tensor,
        regions: Sequence[Region],
        options: OptimizeOptions,
        *,
        least: int = 32,
        tile: int | None = None,
    ) -> None:
        self.options, self.photo = options, photo
        masks = [region.mask for region in regions]
        self.stylized = None if masks[0] is None else torch.cat(masks).sum(0, keepdim=True).clamp(0, 1)
        self.stylized_share = 1.0 if self.stylized is None else self.stylized.mean().item()
        shortest = min(min(picture.shape[-2:]) for picture in (photo, *(p for r in regions for p in r.paintings)))
        fitting = {factor: weight for factor, weight in options.scales.items() if shortest // factor >= least}
        self.scales = shares_of("scales", fitting) if fitting and options.style_weight else {1: 1.0}
        self.of_scales = {
            factor: SingleScaleLoss(
                encoder,
                tent_downsample(photo, factor),
                [_downsampled(region, factor) for region in regions],
                options,
                content_weight=options.content_weight if factor == 1 else 0.0,
                style_weight=options.style_weight * share,
                tile=tile,
            )
            for factor, share in self.scales.items()
        }

    def __call__(self, pixels: Tensor) -> tuple[dict[str, float], Tensor]:
        """`loss` and, unweighted, `content`, `style`, `variation` of pixels of the photo's shape; the gradient."""
        picture = self.composed(pixels.detach())
        variation, gradient = _variation(picture)
        gradient *= self.options.tv_weight
        losses = {"content": 0.0, "style": 0.0, "variation": variation}
        picture.requires_grad_()
        for factor, of_scale in self.of_scales.items():
            small = tent_downsample(picture, factor)
            content, style, slope = of_scale(small)
            losses["content"] += content
            losses["style"] += self.scales[factor] * style
            gradient += slope if factor == 1 else torch.autograd.grad(small, picture, slope)[0]
        if self.stylized is not None:
            gradient *= self.stylized
        options = self.options
        loss = options.content_weight * losses["content"] + options.style_weight * losses["style"]
        return {"loss": loss + options.tv_weight * losses["variation"], **losses}, gradient

    def composed(self, pixels: Tensor) -> Tensor:
        """The pixels where a style goes, the photo elsewhere."""
        return pixels if self.stylized is None else torch.lerp(self.photo, pixels, self.stylized)


def _variation(picture: Tensor) -> tuple[float, Tensor]:
    """`total_variation_loss` and its gradient, with a third of the memory of autograd, which large pictures need."""
    variation, gradient = 0.0, torch.zeros_like(picture)
    for axis in (-2, -1):
        difference, last = picture.diff(dim=axis), picture.shape[axis] - 1
        variation += difference.square().mean().item()
        difference *= 2 / difference.numel()
        gradient.narrow(axis, 1, last).add_(difference)
        gradient.narrow(axis, 0, last).sub_(difference)
    return variation, gradient


def _downsampled(region: Region, factor: int) -> Region:
    paintings = [tent_downsample(painting, factor) for painting in region.paintings]
    return replace(
        region, paintings=paintings, mask=None if region.mask is None else tent_downsample(region.mask, factor)
    )
