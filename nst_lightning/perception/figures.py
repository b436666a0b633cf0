"""The three figures of quality, of many pictures in one style."""

from collections.abc import Iterator

from torch import Tensor, nn

from nst_lightning.perception.encoders import Encoder
from nst_lightning.perception.metrics import (
    CONTENT_LAYER,
    SCALES,
    SHORT_SIDE,
    STYLE_LAYERS,
    ContentDistance,
    Grit,
    StyleDistance,
)


class Figures(nn.Module):
    """Medians over pictures of content, style across scales and grit, and of the photos' own style.

    Args:
        encoder: must offer relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1; there are no figures otherwise.
        painting: RGB in [0, 1], shape (1, 3, H, W).
        short_side: in pixels, at which everything is compared.
    """

    def __init__(self, encoder: Encoder, painting: Tensor, *, short_side: int = SHORT_SIDE) -> None:
        super().__init__()
        self.metrics = nn.ModuleDict()
        if {CONTENT_LAYER, *STYLE_LAYERS} <= set(encoder.layers):
            self.metrics["content"] = ContentDistance(encoder, short_side=short_side)
            self.metrics["grit"] = Grit(painting, short_side=short_side)
            style = StyleDistance(encoder, painting, short_side=short_side)
            of_photos = StyleDistance(encoder, painting, short_side=short_side, targets=style.targets)
            self.metrics["style"], self.metrics["photo_style"] = style, of_photos

    def add(self, pictures: Tensor, photos: Tensor, *, of_photos: bool) -> None:
        """Add pictures and the photos they were made of, RGB in [0, 1], shape (N, 3, H, W).

        Args:
            pictures: stylized.
            photos: the photos.
            of_photos: whether the photos' own style is measured as well.
        """
        if not self.metrics:
            return
        self.metrics["content"].update(pictures, photos)
        self.metrics["style"].update(pictures)
        self.metrics["grit"].update(pictures)
        if of_photos:
            self.metrics["photo_style"].update(photos)

    def take(self) -> Iterator[tuple[str, Tensor]]:
        """Names and values, such as `style_median` and `style_median_at_2`; the next pictures begin anew."""
        for name, metric in self.metrics.items():
            if not metric.update_called:
                continue
            value, *at_scales = metric.compute().flatten()
            metric.reset()
            yield f"{name}_median", value
            for factor, at_scale in zip(SCALES, at_scales):
                yield f"{name}_median_at_{factor}", at_scale
