"""The one evaluator of stylized pictures, which every command prints from."""

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from nst_lightning.encoders import Encoder
from nst_lightning.errors import require_at_least
from nst_lightning.images import fit_short_side, resize_array
from nst_lightning.metrics.distances import (
    CONTENT_LAYER,
    SCALES,
    STYLE_LAYERS,
    fine_energy,
    relative_distance,
    style_distance,
    style_features,
)

SHORT_SIDE = 256
"""Pixels to which the short sides of photo, painting and picture are brought, unless told otherwise."""
LEAST_SHORT_SIDE = 128
"""Pixels that relu5_1 needs at a quarter of the size."""
FIGURES = ("content", "style", *(f"style_at_{factor}" for factor in SCALES), "grit")
"""What is measured of a picture: style is the mean of those at 1, 1/2 and 1/4 of the size."""


class Evaluator(Metric):
    """Content, style across scales and grit of pictures in the style of one painting.

    Photos are scaled to one short side, pictures to the size that their photo has then, and the painting to the same
    short side, by Lanczos' filter, as everywhere in this package. Figures depend on the encoder: compare only those of one.

    Args:
        encoder: must offer relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1.
        painting: RGB in [0, 1], shape (1, 3, H, W).
        short_side: in pixels, at least 128.

    Raises:
        UserError: the encoder lacks a layer, or the short side is too small.
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    values: list[Tensor]

    @torch.no_grad()
    def __init__(self, encoder: Encoder, painting: Tensor, *, short_side: int = SHORT_SIDE) -> None:
        super().__init__()
        require_at_least(LEAST_SHORT_SIDE, short_side=short_side)
        encoder.require(STYLE_LAYERS)
        self.add_state("values", default=[], dist_reduce_fx="cat")
        self.encoder, self.short_side = encoder, short_side
        painting = resize_pictures(painting, short_side)
        self._style = style_features(painting, encoder).grams
        self._energy = fine_energy(painting).clamp_min(1e-8)

    @torch.no_grad()
    def measure(self, pictures: Tensor, photos: Tensor) -> Tensor:
        """The figures of each picture.

        Args:
            pictures: RGB in [0, 1], shape (N, 3, H, W).
            photos: the photos they were made of, shape (N, 3, h, w).

        Returns:
            Shape (N, 6), in the order of `FIGURES`.
        """
        photos = resize_pictures(photos, self.short_side)
        pictures = _resize(pictures, (photos.shape[3], photos.shape[2]))
        found = style_features(pictures, self.encoder)
        targets = self.encoder(photos, [CONTENT_LAYER])[CONTENT_LAYER]
        content = relative_distance(found.content, targets)
        style = style_distance(found.grams, [[gram.to(pictures.device) for gram in grams] for grams in self._style])
        grit = fine_energy(pictures) / self._energy.to(pictures.device)
        return torch.stack([content, style.mean(1), *style.unbind(1), grit], dim=1)

    def update(self, pictures: Tensor, photos: Tensor) -> None:
        """Add pictures and the photos they were made of, see `measure`."""
        self.values.append(self.measure(pictures, photos))

    def compute(self) -> dict[str, Tensor]:
        """Medians over all pictures, on one process or many, by the names of `FIGURES`."""
        return dict(zip(FIGURES, dim_zero_cat(self.values).quantile(0.5, dim=0)))


def resize_pictures(pictures: Tensor, short_side: int) -> Tensor:
    """Pictures of shape (N, 3, H, W) as they are compared at a short side, in pixels."""
    return _resize(pictures, fit_short_side((pictures.shape[3], pictures.shape[2]), short_side))


def _resize(pictures: Tensor, size: tuple[int, int]) -> Tensor:
    """To a width and height: on the CPU, which has the filter."""
    if size == (pictures.shape[3], pictures.shape[2]):
        return pictures
    resized = [resize_array(picture, size) for picture in pictures.float().cpu().numpy()]
    return torch.from_numpy(np.stack(resized)).to(pictures.device)
