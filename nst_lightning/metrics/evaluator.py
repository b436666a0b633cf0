"""The evaluator of stylized pictures, which every command uses."""

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from nst_lightning.encoders import Encoder, resize_tensor
from nst_lightning.errors import require_at_least
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
"""The default short side, in pixels, at which photo, painting and picture are compared."""
LEAST_SHORT_SIDE = 128
"""The shortest short side, in pixels: relu5_1 needs it at a quarter of the size."""
FIGURES = ("content", "style", *(f"style_at_{factor}" for factor in SCALES), "grit")
"""Names of the figures of a picture. `style` is the mean of the style at 1, 1/2 and 1/4 of the size."""


class Evaluator(Metric):
    """Content, style across scales and grit of pictures in the style of one painting.

    Photos and painting are scaled to the same short side (bicubic, antialiased), and pictures to the scaled size of
    their photo. Figures depend on the encoder: compare only figures of the same encoder.

    Args:
        encoder: the encoder to measure with; it must offer relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1.
        painting: the style picture, RGB in [0, 1], shape (1, 3, H, W).
        short_side: short side of the pictures that are compared, in pixels, at least 128.

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
        painting = resize_tensor(painting, short_side)
        self._style = style_features(painting, encoder).grams
        self._energy = fine_energy(painting).clamp_min(1e-8)

    @torch.no_grad()
    def measure(self, pictures: Tensor, photos: Tensor) -> Tensor:
        """The figures of each picture.

        Args:
            pictures: RGB in [0, 1], shape (N, 3, H, W).
            photos: the photos that the pictures were made from, shape (N, 3, h, w).

        Returns:
            The figures in the order of `FIGURES`, shape (N, 6).
        """
        photos = resize_tensor(photos, self.short_side)
        pictures = resize_tensor(pictures, self.short_side, size=(photos.shape[-2], photos.shape[-1]))
        found = style_features(pictures, self.encoder)
        targets = self.encoder(photos, [CONTENT_LAYER])[CONTENT_LAYER]
        content = relative_distance(found.content, targets)
        style = style_distance(found.grams, [[gram.to(pictures.device) for gram in grams] for grams in self._style])
        grit = fine_energy(pictures) / self._energy.to(pictures.device)
        return torch.stack([content, style.mean(1), *style.unbind(1), grit], dim=1)

    def update(self, pictures: Tensor, photos: Tensor) -> None:
        """Add pictures and the photos that they were made from, see `measure`."""
        self.values.append(self.measure(pictures, photos))

    def compute(self) -> dict[str, Tensor]:
        """Medians over all pictures of all processes, by the names of `FIGURES`."""
        return dict(zip(FIGURES, dim_zero_cat(self.values).quantile(0.5, dim=0)))
