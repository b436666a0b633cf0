"""Three figures that agree with the eye: content, style across scales, and grit (medians over pictures)."""

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from nst_lightning.perception.encoders import Encoder
from nst_lightning.perception.statistics import gram_matrix, resize_to, shrink

CONTENT_LAYER = "relu4_1"
STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
SCALES = (1, 2, 4)
SHORT_SIDE = 256


def content_distance(pictures: Tensor, photos: Tensor, encoder: Encoder) -> Tensor:
    """|F(y) - F(x)|^2 / |F(x)|^2 at relu4_1 of each picture: 0.2 to 0.45 is painted and recognisable.

    Args:
        pictures: RGB in [0, 1], shape (N, 3, H, W).
        photos: the photos they were made of, same shape.
        encoder: must offer relu4_1.

    Returns:
        Shape (N,).
    """
    features, targets = (encoder(x, [CONTENT_LAYER])[CONTENT_LAYER].float() for x in (pictures, photos))
    return (features - targets).square().sum((1, 2, 3)) / targets.square().sum((1, 2, 3)).clamp_min(1e-8)


def style_grams(pictures: Tensor, encoder: Encoder) -> list[list[Tensor]]:
    """Gram matrices at relu1_1 ... relu5_1, of pictures of shape (N, 3, H, W) at 1, 1/2 and 1/4 of their size."""
    return [
        [gram_matrix(features) for features in encoder(shrink(pictures, factor), STYLE_LAYERS).values()]
        for factor in SCALES
    ]


def style_distance(grams: list[list[Tensor]], targets: list[list[Tensor]]) -> Tensor:
    """|G(y) - G(s)|^2 / |G(s)|^2 averaged over layers, between the `style_grams` of pictures and painting.

    Returns:
        Shape (N, 3): at scales 1, 1/2 and 1/4. A good picture is low at all three.
    """
    of_scales = []
    for of_scale, target in zip(grams, targets):
        of_layers = [(g - s).square().sum((1, 2)) / s.square().sum((1, 2)) for g, s in zip(of_scale, target)]
        of_scales.append(torch.stack(of_layers).mean(0))
    return torch.stack(of_scales, dim=1)


def fine_energy(pictures: Tensor) -> Tensor:
    """RMS of the finest Laplacian band: the picture minus its half-size self, enlarged again; shape (N,)."""
    height, width = (side // 2 * 2 for side in pictures.shape[-2:])
    pictures = pictures[..., :height, :width]  # halving an odd side would shift one against the other
    half = F.avg_pool2d(pictures, 2)
    blurred = F.interpolate(half, size=pictures.shape[-2:], mode="bilinear", align_corners=False)
    return (pictures - blurred).square().mean((1, 2, 3)).sqrt()


def channel_correlation(features: Tensor, targets: Tensor) -> Tensor:
    """Pearson's correlation over positions of each channel: 0 where features are constant, NaN where targets are.

    Args:
        features: shape (N, C, H, W).
        targets: same shape.

    Returns:
        Shape (N, C).
    """
    a, b = (x.double().flatten(2) - x.double().flatten(2).mean(2, keepdim=True) for x in (features, targets))
    energy_a, energy_b = a.square().sum(2), b.square().sum(2)
    found = (a * b).sum(2) / (energy_a * energy_b).sqrt().clamp_min(1e-30)
    return torch.where(energy_b > 0, found, torch.nan)


class _Median(Metric):
    """The median of a figure over all pictures seen, on one process or many."""

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    values: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("values", default=[], dist_reduce_fx="cat")

    def compute(self) -> Tensor:
        """The median over pictures: a scalar, or one per column."""
        return dim_zero_cat(self.values).quantile(0.5, dim=0)


class ContentDistance(_Median):
    """Median of `content_distance`, pictures and photos brought to the same short side.

    Args:
        encoder: must offer relu4_1.
        short_side: in pixels.
    """

    def __init__(self, encoder: Encoder, *, short_side: int = SHORT_SIDE) -> None:
        super().__init__()
        encoder.require([CONTENT_LAYER])
        self.encoder, self.short_side = encoder, short_side

    @torch.no_grad()
    def update(self, pictures: Tensor, photos: Tensor) -> None:
        """Add pictures and their photos, RGB in [0, 1], both of shape (N, 3, H, W)."""
        resized = (resize_to(x, self.short_side) for x in (pictures, photos))
        self.values.append(content_distance(*resized, self.encoder))


class StyleDistance(_Median):
    """Medians of `style_distance` to a painting, shape (4,): of its mean over scales, and at scales 1, 1/2 and 1/4.

    Args:
        encoder: must offer relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1.
        painting: RGB in [0, 1], shape (1, 3, H, W), brought to the same short side as the pictures.
        short_side: in pixels.
        targets: the painting's `style_grams` at that size, where they are known.
    """

    def __init__(
        self,
        encoder: Encoder,
        painting: Tensor,
        *,
        short_side: int = SHORT_SIDE,
        targets: list[list[Tensor]] | None = None,
    ) -> None:
        super().__init__()
        encoder.require(STYLE_LAYERS)
        self.encoder, self.short_side = encoder, short_side
        with torch.no_grad():
            self.targets = style_grams(resize_to(painting, short_side), encoder) if targets is None else targets

    @torch.no_grad()
    def update(self, pictures: Tensor) -> None:
        """Add pictures, RGB in [0, 1], shape (N, 3, H, W)."""
        grams = style_grams(resize_to(pictures, self.short_side), self.encoder)
        targets = [[gram.to(pictures.device) for gram in of_scale] for of_scale in self.targets]
        distances = style_distance(grams, targets)
        self.values.append(torch.cat([distances.mean(1, keepdim=True), distances], dim=1))


class Grit(_Median):
    """Median of the pictures' `fine_energy` over the painting's own: above 1.3 is noise, below 0.7 is blur.

    Args:
        painting: RGB in [0, 1], shape (1, 3, H, W), brought to the same short side as the pictures.
        short_side: in pixels.
    """

    def __init__(self, painting: Tensor, *, short_side: int = SHORT_SIDE) -> None:
        super().__init__()
        self.short_side = short_side
        self._reference = fine_energy(resize_to(painting, short_side)).item()

    @torch.no_grad()
    def update(self, pictures: Tensor) -> None:
        """Add pictures, RGB in [0, 1], shape (N, 3, H, W)."""
        self.values.append(fine_energy(resize_to(pictures, self.short_side)) / max(self._reference, 1e-8))


class ChannelCorrelation(_Median):
    """Median, over pictures, of the median correlation of an encoder's channels with another's."""

    higher_is_better = True

    @torch.no_grad()
    def update(self, features: Tensor, targets: Tensor) -> None:
        """Add features of pictures and what they should be, both of shape (N, C, H, W)."""
        self.values.append(channel_correlation(features, targets).nanmedian(dim=1).values)
