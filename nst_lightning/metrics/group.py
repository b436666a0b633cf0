"""Evaluators of one painting that work side by side: at several sizes, and with a second encoder as a judge."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import cast

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from nst_lightning.encoders import Encoder
from nst_lightning.errors import naming
from nst_lightning.metrics.distances import JUDGE_LAYERS, FigureLayers, PictureFeatures, extract_features
from nst_lightning.metrics.evaluator import FIGURES, SHORT_SIDE, Evaluator, resize_pictures

JUDGED = FIGURES[:2]
JUDGE_FIGURES = tuple(f"judge_{name}" for name in JUDGED)
"""Names of the figures that a judge adds: content and style. Grit and color grit don't depend on the encoder."""


class EvaluatorGroup(Metric):
    """The figures of pictures in the style of one painting: at several sizes, and by a judge as well if there is one.

    At 256 pixels, large strokes and the composition count. What people see at 100 % is seen only at the size at which
    pictures were painted.

    Args:
        encoder: the encoder to measure with, see `Evaluator`.
        painting: the style picture, RGB in [0, 1], shape (1, 3, H, W).
        short_sides: short sides at which pictures are compared, in pixels.
        judge: a second encoder, a VGG-16: it adds content and style of its own, at `JUDGE_LAYERS`, with which nothing
            was trained.

    Attributes:
        figures: names of the figures: `FIGURES`, and `JUDGE_FIGURES` if there is a judge.

    Raises:
        UserError: an encoder lacks a layer, or a short side is too small.
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    values: list[Tensor]

    def __init__(
        self,
        encoder: Encoder,
        painting: Tensor,
        *,
        short_sides: Sequence[int] = (SHORT_SIDE,),
        judge: Encoder | None = None,
    ) -> None:
        super().__init__()
        self.add_state("values", default=[], dist_reduce_fx="cat")
        self.short_sides = tuple(short_sides)
        self.figures = FIGURES if judge is None else FIGURES + JUDGE_FIGURES
        evaluators = [Evaluator(encoder, painting, short_side=each) for each in short_sides]
        if judge is not None:
            with naming("judge"):
                evaluators += [Evaluator(judge, painting, short_side=each, layers=JUDGE_LAYERS) for each in short_sides]
        self.evaluators = nn.ModuleList(evaluators)

    def measure(self, pictures: Tensor, photos: Tensor | Mapping[int, Tensor]) -> Tensor:
        """The figures of each picture at each size.

        Args:
            pictures: RGB in [0, 1], shape (N, 3, H, W).
            photos: the photos that the pictures were made from, shape (N, 3, h, w), or `resize_to_each` of them.

        Returns:
            The figures, shape (N, S, F), with sizes in the order of `short_sides` and figures in that of `figures`.
        """
        photos = resize_to_each(photos, self.short_sides) if isinstance(photos, Tensor) else photos
        return self._tabulate([each.measure(pictures, photos[each.short_side]) for each in self._members()])

    def update(self, pictures: Tensor, photos: Tensor | Mapping[int, Tensor]) -> None:
        """Add pictures and the photos that they were made from, see `measure`."""
        self.values.append(self.measure(pictures, photos))

    def compute(self) -> dict[int, dict[str, Tensor]]:
        """Medians over all pictures of all processes, by short side and name."""
        medians = dim_zero_cat(self.values).quantile(0.5, dim=0)
        return {short_side: dict(zip(self.figures, row)) for short_side, row in zip(self.short_sides, medians)}

    def _members(self) -> list[Evaluator]:
        return [cast(Evaluator, each) for each in self.evaluators]

    def _tabulate(self, found: Sequence[Tensor]) -> Tensor:
        """One table, (N, S, F), of what the evaluators have found, and then those of the judge if there is one."""
        sizes = len(self.short_sides)
        own, judged = torch.stack([*found[:sizes]], dim=1), [each[:, : len(JUDGED)] for each in found[sizes:]]
        return torch.cat([own, torch.stack(judged, dim=1)], dim=2) if judged else own


@torch.no_grad()
def measure_untouched(groups: Sequence[EvaluatorGroup], photos: Mapping[int, Tensor]) -> list[Tensor]:
    """The figures of the photos themselves for each group, as `measure` gives them; each photo is encoded only once.

    Args:
        groups: the groups.
        photos: the photos at each short side, see `resize_to_each`.
    """

    @cache
    def extract(short_side: int, encoder: Encoder, layers: FigureLayers) -> PictureFeatures:
        return extract_features(photos[short_side], encoder, layers)

    tables = []
    for group in groups:
        features = [(each, extract(each.short_side, each.encoder, each.layers)) for each in group._members()]
        tables.append(group._tabulate([each.compare(found, found.content) for each, found in features]))
    return tables


def resize_to_each(pictures: Tensor, short_sides: Iterable[int]) -> dict[int, Tensor]:
    """Resize pictures of shape (N, 3, H, W) to each of several short sides in pixels, as `Evaluator` does."""
    return {short_side: resize_pictures(pictures, short_side) for short_side in short_sides}


def list_short_sides(painted: int) -> tuple[int, ...]:
    """The short sides at which pictures are compared, in pixels: 256, and the one that was painted if it is larger."""
    return (SHORT_SIDE, painted) if painted > SHORT_SIDE else (SHORT_SIDE,)
