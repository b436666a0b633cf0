"""Distances that agree with the eye: content, style across scales, and the energy of the finest details and colors."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from nst_lightning.encoders import Encoder
from nst_lightning.images.color import LUMA
from nst_lightning.losses import content_sums, gram_matrix

CONTENT_LAYER = "relu4_1"
STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
SCALES = (1, 2, 4)


class FigureLayers(NamedTuple):
    """The layers of an encoder that are compared.

    Args:
        content: the layer at which a picture's content is compared with that of its photo.
        style: the layers at which its style is compared with that of the painting.
    """

    content: str = CONTENT_LAYER
    style: tuple[str, ...] = STYLE_LAYERS

    @property
    def names(self) -> list[str]:
        """All layers, each once."""
        return [*dict.fromkeys((*self.style, self.content))]


DEFAULT_LAYERS = FigureLayers()
"""The layers that are compared unless others are asked for."""
JUDGE_LAYERS = FigureLayers("relu4_3", ("relu1_2", "relu2_2", "relu3_3", "relu4_3"))
"""The layers of a judge, in VGG-16 the last of each block but the fifth: those of Johnson et al. (2016), with which
nothing here is trained."""


class PictureFeatures(NamedTuple):
    """The measurements by which pictures are compared.

    Args:
        content: features at the content layer, shape (N, C, H, W).
        grams: Gram matrices at the style layers, each of shape (N, C, C), for each of `SCALES`.
        energy: energy of the finest details, see `fine_energy`, shape (N,).
        color_energy: energy of the finest details of the chroma alone, see `to_chroma`, shape (N,).
    """

    content: Tensor
    grams: list[list[Tensor]]
    energy: Tensor
    color_energy: Tensor


@torch.no_grad()
def extract_features(pictures: Tensor, encoder: Encoder, layers: FigureLayers = DEFAULT_LAYERS) -> PictureFeatures:
    """Measure pictures, RGB in [0, 1], shape (N, 3, H, W), at 1, 1/2 and 1/4 of their size.

    Plain averages scale pictures down, unlike in the losses: no gradient has to be smooth here, and the figures stay
    comparable with the published ones.

    Args:
        pictures: the pictures.
        encoder: the encoder to measure with.
        layers: its layers that are compared.
    """
    at_scales = [encoder(F.avg_pool2d(pictures, factor), layers.names) for factor in SCALES]
    grams = [[gram_matrix(features[layer]) for layer in layers.style] for features in at_scales]
    color_energy = fine_energy(to_chroma(pictures))
    return PictureFeatures(at_scales[0][layers.content], grams, fine_energy(pictures), color_energy)


def relative_distance(features: Tensor, targets: Tensor) -> Tensor:
    """|F(y) - F(x)|^2 / |F(x)|^2 of each picture. At relu4_1, pictures from 0.2 to 0.45 look painted and recognizable.

    Args:
        features: F(y), features of pictures, shape (N, C, H, W).
        targets: F(x), features of their photos, same shape.

    Returns:
        The distances, shape (N,).
    """
    difference, energy = content_sums(features, targets)
    return difference / energy.clamp_min(1e-8)


def style_distance(grams: list[list[Tensor]], targets: list[list[Tensor]]) -> Tensor:
    """|G(y) - G(s)|^2 / |G(s)|^2 averaged over layers.

    Args:
        grams: G(y), the `grams` of pictures, see `PictureFeatures`.
        targets: G(s), those of the painting.

    Returns:
        The distances at scales 1, 1/2 and 1/4, shape (N, 3). A good picture is close at all three.
    """
    distances = []
    for found, wanted in zip(grams, targets):
        relative = [(g - s).square().sum((1, 2)) / s.square().sum((1, 2)) for g, s in zip(found, wanted)]
        distances.append(torch.stack(relative).mean(0))
    return torch.stack(distances, dim=1)


def to_chroma(pictures: Tensor) -> Tensor:
    """Cb and Cr of RGB pictures: blue and red minus the luma, each scaled to [-0.5, 0.5] (Rec. 601), (N, 2, H, W)."""
    (of_red, of_green, of_blue), (red, green, blue) = LUMA.tolist(), pictures.unbind(1)
    luma = of_red * red + of_green * green + of_blue * blue
    return torch.stack([(blue - luma) / (2 - 2 * of_blue), (red - luma) / (2 - 2 * of_red)], dim=1)


def fine_energy(pictures: Tensor) -> Tensor:
    """RMS of the finest Laplacian band: the pictures minus their half-size versions, enlarged again; shape (N,).

    Args:
        pictures: pictures with any channels, shape (N, C, H, W).
    """
    height, width = (side // 2 * 2 for side in pictures.shape[-2:])
    pictures = pictures[..., :height, :width]  # halving an odd side would shift the two against each other
    half = F.avg_pool2d(pictures, 2)
    blurred = F.interpolate(half, size=pictures.shape[-2:], mode="bilinear", align_corners=False)
    return (pictures - blurred).square().mean((1, 2, 3)).sqrt()
