"""The style loss at one scale: statistics of a picture's features compared with those of paintings."""

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from nst_lightning.encoders.base import stride_of
from nst_lightning.losses.functional import covariance_root, gram_loss, mean_std_loss, wasserstein_loss
from nst_lightning.losses.layers import Pair, layers_of_pairs
from nst_lightning.losses.options import ObjectiveOptions
from nst_lightning.losses.sliced import Projections, Quantiles, Transport, draw_directions, project, sliced_loss
from nst_lightning.losses.statistics import Moments, moments

Statistics = dict[Pair, Any]
"""For each pair of layers, `Moments`, or, for the sliced distance, `Projections`, their `Quantiles` or `Transport`."""
Draw = tuple[int, ...]
"""The random seed of directions."""
_AS_GRAM = 3.0
"""Values that are off by a small share e make Gram matrices off by 2 e, whose relative squares are 4 e^2. This factor,
less than 4 for distances that aren't small, makes a style weight leave as much content as with Gram matrices."""


def build_style_loss(pairs: Mapping[Pair, float], options: ObjectiveOptions) -> "StyleLoss":
    """Make the style loss that the options ask for, of the arguments of `StyleLoss`."""
    return (SlicedStyleLoss if options.style_loss == "sliced" else StyleLoss)(pairs, options)


class StyleLoss:
    """Measures the statistics of features, and compares them with a painting's.

    Statistics are sums: those of tiles add up to those of the picture, and averaged ones of paintings to a blend.

    Args:
        pairs: pairs of layers and their weights, see `style_pairs`.
        options: which statistics to compare, and how.
    """

    draws = 1
    """Number of draws of directions that training alternates between; 1 if nothing is drawn at random."""

    def __init__(self, pairs: Mapping[Pair, float], options: ObjectiveOptions) -> None:
        self.pairs, self.options = pairs, options
        self.layers = layers_of_pairs(self.pairs)

    def measure(
        self,
        features: Mapping[str, Tensor],
        *,
        crop: Callable[[Tensor, int], Tensor] | None = None,
        mask: Tensor | None = None,
        draw: Draw = (0,),
    ) -> Statistics:
        """Measure statistics: sums over the positions of each picture.

        Args:
            features: features at `layers`, each of shape (N, C, H, W).
            crop: function of features and their stride that returns the features to use; by default all are used.
            mask: mask as large as the cropped picture, shape (1, 1, H, W), which multiplies features, as in Gatys et
                al. 2017.
            draw: random seed of the directions, for the sliced Wasserstein distance.
        """
        crop = crop or _keep_all
        prepared = {layer: self._prepare(features[layer]) for layer in self.layers}
        found = {}
        for shallow, deep in self.pairs:
            stride, others = stride_of(shallow), None
            if deep != shallow:
                others = crop(_enlarge(prepared[deep], stride_of(deep) // stride, prepared[shallow]), stride)
            weights = None if mask is None else _pool_mask(mask, stride).square()
            cropped = crop(prepared[shallow], stride)
            found[shallow, deep] = self._measure((shallow, deep), cropped, others, weights, draw)
        return found

    def bytes_of_tiles(self) -> float:
        """The bytes that statistics of all tiles of a picture need, for each of its pixels."""
        return 0.0

    def summarize(self, found: Statistics, targets: Statistics) -> Statistics:
        """Make of the statistics of all tiles what `compare` needs; they can't be used afterwards."""
        return found

    def roots(self, targets: Statistics) -> dict[Pair, Tensor]:
        """What `compare` needs of targets besides their moments, to be computed once."""
        if self.options.style_loss != "wasserstein":
            return {}
        return {pair: covariance_root(target) for pair, target in targets.items()}

    def compare(self, found: Statistics, targets: Statistics, roots: Mapping[Pair, Tensor]) -> Tensor:
        """The loss of each picture, shape (N,).

        Args:
            found: statistics of the pictures.
            targets: statistics of their paintings, averaged.
            roots: the result of `roots` for these targets.
        """
        losses = (
            weight * self._distance(found[pair], targets[pair], roots.get(pair)) for pair, weight in self.pairs.items()
        )
        return reduce(torch.add, losses)

    def _measure(
        self, pair: Pair, features: Tensor, others: Tensor | None, weights: Tensor | None, draw: Draw
    ) -> Moments | Projections:
        exact = self.options.style_loss != "gram"  # variances are differences, in which rounding errors would show
        return moments(features, others, weights, exact=exact)

    def _distance(self, found: Any, target: Any, root: Tensor | None) -> Tensor:
        normalization, found = self.options.normalization, found.averaged()
        if self.options.style_loss == "gram":
            return gram_loss(found.second, target.second, normalization)
        if self.options.style_loss == "wasserstein":
            return wasserstein_loss(found, target, normalization, root=root)
        return mean_std_loss(found, target, normalization)

    def _prepare(self, features: Tensor) -> Tensor:
        if self.options.activation_shift:
            features = features + self.options.activation_shift
        return _blur(features) if self.options.blur else features


class SlicedStyleLoss(StyleLoss):
    """Compares the projections of features on random directions, in place of moments."""

    draws = 4

    def __init__(self, pairs: Mapping[Pair, float], options: ObjectiveOptions) -> None:
        super().__init__(pairs, options)
        self._directions: dict[tuple[Pair, Draw, torch.device], Tensor] = {}

    def bytes_of_tiles(self) -> float:
        """The bytes of projections in half precision, weights, and what sorting one direction takes."""
        return sum((2 * self._count(layer) + 4) / stride_of(layer) ** 2 for layer in self.layers) + 56

    def summarize(self, found: Statistics, targets: Statistics) -> Statistics:
        """Compare the projections of all tiles with their targets, in their place."""
        return {pair: projections.transported(targets[pair]) for pair, projections in found.items()}

    def _measure(
        self, pair: Pair, features: Tensor, others: Tensor | None, weights: Tensor | None, draw: Draw
    ) -> Projections:
        key = pair, draw, features.device
        if key not in self._directions:
            random = np.random.default_rng((*draw, list(self.pairs).index(pair)))
            with torch.inference_mode(False):  # training uses them, too
                drawn = draw_directions(self._count(pair[0]), features.shape[1], random)
                self._directions[key] = drawn.to(features.device)
        return project(features, self._directions[key], weights)

    def _count(self, layer: str) -> int:
        """The number of directions: sorting takes time at each position, of which deep layers have few."""
        return self.options.style_directions * stride_of(layer)

    def _distance(self, found: Projections | Transport, target: Quantiles, root: Tensor | None) -> Tensor:
        return _AS_GRAM * sliced_loss(found, target, self.options.normalization)


def _keep_all(features: Tensor, stride: int) -> Tensor:
    return features


def _pool_mask(mask: Tensor, stride: int) -> Tensor:
    """Scale a mask down to the size of a layer's features."""
    return mask if stride == 1 else F.avg_pool2d(mask, stride)


def _enlarge(features: Tensor, factor: int, like: Tensor) -> Tensor:
    """Enlarge features of a deeper layer to the size of a shallower one, by a factor that is the same in all tiles."""
    if factor > 1:
        features = F.interpolate(features, scale_factor=factor, mode="bilinear", align_corners=False)
    missing = [large - small for large, small in zip(like.shape[-2:], features.shape[-2:])]
    return F.pad(features, (0, missing[1], 0, missing[0]), mode="replicate") if any(missing) else features


def _blur(features: Tensor) -> Tensor:
    """Binomial blur of 3x3 positions."""
    kernel = features.new_tensor([1, 2, 1]) / 4
    weight = torch.outer(kernel, kernel).expand(features.shape[1], 1, 3, 3)
    return F.conv2d(F.pad(features, (1, 1, 1, 1), mode="replicate"), weight, groups=features.shape[1])
