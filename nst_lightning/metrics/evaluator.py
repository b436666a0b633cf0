"""The evaluator of stylized pictures, which every command uses."""

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from nst_lightning.encoders import Encoder
from nst_lightning.errors import require_at_least
from nst_lightning.images import fit_short_side
from nst_lightning.metrics.distances import (
    DEFAULT_LAYERS,
    SCALES,
    FigureLayers,
    PictureFeatures,
    extract_features,
    relative_distance,
    style_distance,
)
from nst_lightning.metrics.resampling import resize_lanczos

SHORT_SIDE = 256
"""The default short side, in pixels, at which photo, painting and picture are compared."""
LEAST_SHORT_SIDE = 128
"""The shortest short side, in pixels: relu5_1 needs it at a quarter of the size."""
FIGURES = ("content", "style", *(f"style_at_{factor}" for factor in SCALES), "grit", "color_grit")
"""Names of the figures of a picture. `style` is the mean of the style at 1, 1/2 and 1/4 of the size."""
LEAST_COLOR_ENERGY = 1 / 255
"""The least energy to which color grit is relative, one step of 8 bits: in an ink drawing, chroma is only noise."""


class Evaluator(Metric):
    """Content, style across scales, grit and color grit of pictures in the style of one painting.

    Photos and painting are scaled to the same short side (Lanczos), and pictures to the scaled size of their photo.
    Figures depend on the encoder: compare only figures of the same encoder.

    Args:
        encoder: the encoder to measure with.
        painting: the style picture, RGB in [0, 1], shape (1, 3, H, W).
        short_side: short side of the pictures that are compared, in pixels, at least 128.
        layers: the encoder's layers that are compared; by default content at relu4_1, and style at relu1_1, relu2_1,
            relu3_1, relu4_1 and relu5_1.

    Raises:
        UserError: the encoder lacks a layer, or the short side is too small.
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    values: list[Tensor]

    def __init__(
        self, encoder: Encoder, painting: Tensor, *, short_side: int = SHORT_SIDE, layers: FigureLayers = DEFAULT_LAYERS
    ) -> None:
        super().__init__()
        require_at_least(LEAST_SHORT_SIDE, short_side=short_side)
        encoder.require(layers.names)
        self.add_state("values", default=[], dist_reduce_fx="cat")
        self.encoder, self.short_side, self.layers = encoder, short_side, layers
        self._painting = resize_pictures(painting, short_side)
        self._targets: PictureFeatures | None = None

    @torch.no_grad()
    def measure(self, pictures: Tensor, photos: Tensor) -> Tensor:
        """The figures of each picture.

        Args:
            pictures: RGB in [0, 1], shape (N, 3, H, W).
            photos: the photos that the pictures were made from, shape (N, 3, h, w).

        Returns:
            The figures in the order of `FIGURES`, shape (N, 7).
        """
        photos = resize_pictures(photos, self.short_side)
        pictures = _resize_like(pictures, photos)
        content = self.encoder(photos, [self.layers.content])[self.layers.content]
        return self.compare(extract_features(pictures, self.encoder, self.layers), content)

    def compare(self, features: PictureFeatures, content: Tensor) -> Tensor:
        """Compute figures from features of pictures.

        Args:
            features: features of the pictures, at the size at which they are compared.
            content: features of their photos at the content layer, shape (N, C, H, W).

        Returns:
            The figures in the order of `FIGURES`, shape (N, 7).
        """
        targets = self._targets_on(features.content.device)
        style = style_distance(features.grams, targets.grams)
        grit = features.energy / targets.energy.clamp_min(1e-8)
        color_grit = features.color_energy / targets.color_energy.clamp_min(LEAST_COLOR_ENERGY)
        distance = relative_distance(features.content, content)
        return torch.stack([distance, style.mean(1), *style.unbind(1), grit, color_grit], dim=1)

    def _targets_on(self, device: torch.device) -> PictureFeatures:
        """The painting's features, extracted on a device at first use: a run that only trains is spared them."""
        if self._targets is None or self._targets.energy.device != device:
            with torch.autocast(device.type, enabled=False):
                found = extract_features(self._painting.to(device), self.encoder, self.layers)
            self._targets = found._replace(content=torch.empty(0))  # large, and not compared
        return self._targets

    def update(self, pictures: Tensor, photos: Tensor) -> None:
        """Add pictures and the photos that they were made from, see `measure`."""
        self.values.append(self.measure(pictures, photos))

    def compute(self) -> dict[str, Tensor]:
        """Medians over all pictures of all processes, by the names of `FIGURES`."""
        return dict(zip(FIGURES, dim_zero_cat(self.values).quantile(0.5, dim=0)))


def resize_pictures(pictures: Tensor, short_side: int) -> Tensor:
    """Resize pictures of shape (N, 3, H, W) to a short side in pixels, as `Evaluator` does."""
    return resize_lanczos(pictures, fit_short_side((pictures.shape[3], pictures.shape[2]), short_side))


def _resize_like(pictures: Tensor, others: Tensor) -> Tensor:
    """Resize pictures of shape (N, 3, H, W) to the size of others, as `Evaluator` does."""
    return resize_lanczos(pictures, (others.shape[3], others.shape[2]))
