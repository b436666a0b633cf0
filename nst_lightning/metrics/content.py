"""The content of pictures of one photo alone, without the figures of style: cheap enough to steer by."""

import torch
from torch import Tensor
from torch.nn import functional as F

from nst_lightning.encoders import Encoder
from nst_lightning.errors import require
from nst_lightning.metrics.distances import CONTENT_LAYER, content_sums
from nst_lightning.metrics.evaluator import SHORT_SIDE, resize_like, resize_pictures

LEAST_TARGET, MOST_TARGET = 0.1, 0.9
"""The range of contents to aim at: below it a photo is hardly painted, above it nothing is left of the photo."""


class ContentGauge:
    """Measures the content of pictures of one photo, as `Evaluator` does.

    Args:
        encoder: the encoder to measure with; the figures of the commands are those of a `CompactEncoder`.
        photo: RGB in [0, 1], shape (1, 3, H, W).
        short_side: short side, in pixels, at which photo and pictures are compared.
        mask: how much each place counts, from 0 to 1, shape (1, 1, h, w); None for the whole picture.

    Raises:
        UserError: the encoder lacks relu4_1, or the short side is too small for it.
    """

    @torch.no_grad()
    def __init__(
        self, encoder: Encoder, photo: Tensor, *, short_side: int = SHORT_SIDE, mask: Tensor | None = None
    ) -> None:
        self.encoder, self.photo = encoder, resize_pictures(photo, short_side)
        self.target = self._features(self.photo)
        self.mask = None if mask is None else F.interpolate(mask, self.target.shape[-2:], mode="area")

    @torch.no_grad()
    def __call__(self, picture: Tensor) -> float:
        """The content of a picture, RGB in [0, 1], shape (1, 3, H, W)."""
        features = self._features(resize_like(picture, self.photo))
        difference, energy = content_sums(features, self.target, self.mask)
        return (difference / energy.clamp_min(1e-8)).item()

    def _features(self, pictures: Tensor) -> Tensor:
        return self.encoder(pictures, [CONTENT_LAYER])[CONTENT_LAYER]


def check_content_target(target: float) -> None:
    """Refuse a content to aim at that is out of range.

    Raises:
        UserError: it is.
    """
    require("content_target", target, LEAST_TARGET <= target <= MOST_TARGET, f"from {LEAST_TARGET} to {MOST_TARGET}")
