"""The style loss at one scale: statistics of a picture's features compared with those of paintings."""

from collections.abc import Callable, Mapping
from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional as F

from nst_lightning.encoders.base import stride_of
from nst_lightning.losses.functional import covariance_root, gram_loss, mean_std_loss, wasserstein_loss
from nst_lightning.losses.layers import Pair, layers_of_pairs
from nst_lightning.losses.options import ObjectiveOptions
from nst_lightning.losses.statistics import Moments, moments

Statistics = dict[Pair, Moments]
"""Moments of each pair of layers."""


class StyleLoss:
    """Measures the statistics of features, and compares them with a painting's.

    Statistics are sums: those of tiles add up to those of the picture, and averaged ones of paintings to a blend.

    Args:
        pairs: pairs of layers and their weights, see `style_pairs`.
        options: which statistics to compare, and how.
    """

    def __init__(self, pairs: Mapping[Pair, float], options: ObjectiveOptions) -> None:
        self.pairs, self.options = pairs, options
        self.layers = layers_of_pairs(self.pairs)

    def measure(
        self,
        features: Mapping[str, Tensor],
        *,
        crop: Callable[[Tensor, int], Tensor] | None = None,
        mask: Tensor | None = None,
    ) -> Statistics:
        """Measure statistics: sums over the positions of each picture.

        Args:
            features: features at `layers`, each of shape (N, C, H, W).
            crop: function of features and their stride that returns the features to use; by default all are used.
            mask: mask as large as the cropped picture, shape (1, 1, H, W), which multiplies features, as in Gatys et
                al. 2017.
        """
        crop = crop or _keep_all
        prepared = {layer: self._prepare(features[layer]) for layer in self.layers}
        found = {}
        for shallow, deep in self.pairs:
            stride, others = stride_of(shallow), None
            if deep != shallow:
                others = crop(_enlarge(prepared[deep], stride_of(deep) // stride, prepared[shallow]), stride)
            weights = None if mask is None else _pool_mask(mask, stride).square()
            exact = self.options.style_loss != "gram"  # variances are differences, in which rounding errors would show
            found[shallow, deep] = moments(crop(prepared[shallow], stride), others, weights, exact=exact)
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
            weight * self._distance(found[pair].averaged(), targets[pair], roots.get(pair))
            for pair, weight in self.pairs.items()
        )
        return reduce(torch.add, losses)

    def _distance(self, found: Moments, target: Moments, root: Tensor | None) -> Tensor:
        normalization = self.options.normalization
        if self.options.style_loss == "gram":
            return gram_loss(found.second, target.second, normalization)
        if self.options.style_loss == "wasserstein":
            return wasserstein_loss(found, target, normalization, root=root)
        return mean_std_loss(found, target, normalization)

    def _prepare(self, features: Tensor) -> Tensor:
        if self.options.activation_shift:
            features = features + self.options.activation_shift
        return _blur(features) if self.options.blur else features


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
