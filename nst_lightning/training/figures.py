"""The quality figures of a run's styles on held-out photos: what validation and `test` measure and log."""

from collections.abc import Iterator, Mapping
from typing import cast

import torch
from PIL import Image
from torch import Tensor, nn
from torchmetrics import MeanMetric

from nst_lightning.encoders import Encoder, image_to_tensor
from nst_lightning.metrics import SHORT_SIDE, EvaluatorGroup, build_yardstick, list_short_sides


class StyleFigures(nn.Module):
    """Measures the pictures of each style at 256 pixels and at the size of training, and the photos if asked to.

    Args:
        paintings: the paintings by the names of their styles.
        short_side: longest side, in pixels, of the parts of pictures that losses compare.
        judge: a second encoder, see `EvaluatorGroup`; None for none.

    Raises:
        UserError: the judge lacks a layer.
    """

    def __init__(self, paintings: Mapping[str, Image.Image], *, short_side: int, judge: Encoder | None) -> None:
        super().__init__()
        self.yardstick, self.judge = build_yardstick(), judge
        self.short_sides = list_short_sides(short_side)
        self._paintings = [image_to_tensor(painting) for painting in paintings.values()]
        self.evaluators = self._build()
        self.photo_evaluators = nn.ModuleList()
        self.contents = nn.ModuleList(MeanMetric() for _ in paintings)

    def measure_photos(self, measured: bool) -> None:
        """Begin to measure the photos themselves as well, or leave them out of what comes next."""
        self.photo_evaluators = self._build() if measured else nn.ModuleList()

    def update(self, style: int, pictures: Tensor, photos: Tensor, contents: Tensor) -> None:
        """Add pictures.

        Args:
            style: number of the style.
            pictures: pictures in this style, RGB in [0, 1], shape (N, 3, H, W).
            photos: the photos that they were made from, same shape.
            contents: numerators and denominators of their contents as the loss compares them, shape (N, 2).
        """
        numerators, energies = contents.unbind(1)
        cast(MeanMetric, self.contents[style]).update(numerators / energies.clamp_min(1e-8), energies)
        for prefix, evaluator in self._evaluators_of(style):
            evaluator.update(photos if prefix else pictures, photos)

    def medians(self, style: int) -> dict[str, Tensor]:
        """Medians of the pictures' figures, and of the photos' style if measured, by name; what was added is reset."""
        return dict(self._medians(style))

    def content(self, style: int) -> Tensor:
        """The mean content of the pictures of a style, weighted by energy, as the loss compares it; it is reset."""
        metric = cast(MeanMetric, self.contents[style])
        content = metric.compute()
        metric.reset()
        return content

    def mean_style(self, medians: Mapping[str, Tensor]) -> Tensor:
        """The style figure, averaged over the sizes at which pictures are compared."""
        return torch.stack([medians[f"style_{_suffix(short_side)}"] for short_side in self.short_sides]).mean()

    def _medians(self, style: int) -> Iterator[tuple[str, Tensor]]:
        for prefix, group in self._evaluators_of(style):
            if group.update_called:
                for short_side, figures in group.compute().items():
                    for name, value in figures.items():
                        if not prefix or "style" in name:
                            yield f"{prefix}{name}_{_suffix(short_side)}", value
                group.reset()

    def _build(self) -> nn.ModuleList:
        """An evaluator for each style."""
        return nn.ModuleList(
            EvaluatorGroup(self.yardstick, painting, short_sides=self.short_sides, judge=self.judge)
            for painting in self._paintings
        )

    def _evaluators_of(self, style: int) -> list[tuple[str, EvaluatorGroup]]:
        """The evaluators of the pictures in a style and of the photos, with the prefix of their figures."""
        groups = {"": self.evaluators, "photo_": self.photo_evaluators}
        return [(prefix, cast(EvaluatorGroup, group[style])) for prefix, group in groups.items() if len(group)]


def _suffix(short_side: int) -> str:
    return "median" if short_side == SHORT_SIDE else f"{short_side}px_median"
