"""Content, style and total variation losses: pure functions, and the perceptual loss composed of them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from nst_lightning.perception.encoders import Encoder
from nst_lightning.perception.statistics import Moments, gram_matrix, shrink

Normalization = Literal["relative", "gatys", "mean"]
"""How losses are scaled: by the target's energy, as Gatys et al. 2015 wrote them, or by 1 / (4 n_H n_W n_C)."""

_EPSILON = 1e-8
_FLAT = 1e-4  # second differences, of 1, below which no grid is seen


def content_loss(features: Tensor, target: Tensor, normalization: Normalization = "relative") -> Tensor:
    """Content loss between features F of the picture and P of the photo.

    - `relative`: sum (F - P)^2 / sum P^2, sums over the whole batch, so that a nearly flat photo with little energy of
      its own doesn't outweigh the others.
    - `gatys`: 1/2 sum (F - P)^2 of each picture (Gatys et al. 2015, equation 1), averaged over the batch.
    - `mean`: 1 / (4 n_H n_W n_C) sum (F - P)^2 of each picture, averaged over the batch.

    Args:
        features: shape (N, C, H, W).
        target: same shape.
        normalization: one of the three above.

    Returns:
        A scalar.
    """
    features, target = _precise(features), _precise(target)
    squares = (features - target).square()
    if normalization == "relative":
        return squares.sum() / (target.square().sum() + _EPSILON)
    if normalization == "gatys":
        return squares.sum() / (2 * len(features))
    return squares.mean() / 4


def style_loss(
    gram: Tensor, target: Tensor, normalization: Normalization = "relative", weights: Tensor | None = None
) -> Tensor:
    """Style loss of one layer, between Gram matrices averaged over positions (see `gram_matrix`).

    - `relative`: sum (G - A)^2 / sum A^2, averaged over the batch.
    - `gatys` and `mean`: 1 / (4 N_l^2) sum (G - A)^2, which is Gatys' 1 / (4 N_l^2 M_l^2) sum (G - A)^2 for Gram
      matrices summed over the M_l positions, N_l being the channels; averaged over the batch. N_l^2 is N_l N_k for
      matrices between two layers.

    Args:
        gram: of the pictures, shape (N, C, C), or (N, C, D) between two layers.
        target: of the painting, same shape, or one for all.
        normalization: one of the three above.
        weights: of the pictures, shape (N,); by default 1.

    Returns:
        A scalar.
    """
    squares = (gram - target).square().sum(dim=(1, 2))
    if normalization == "relative":
        losses = squares / (target.square().sum(dim=(1, 2)) + _EPSILON)
    else:
        losses = squares / (4 * gram.shape[1] * gram.shape[2])
    return (losses if weights is None else losses * weights).mean()


def mean_std_loss(found: Moments, target: Moments, normalization: Normalization = "relative") -> Tensor:
    """Squared differences of the channels' means and standard deviations (Li et al. 2017, Demystifying Neural Style).

    Args:
        found: averaged moments of the picture's features with themselves.
        target: of the painting's.
        normalization: `relative` divides by the sum of the target's squares; otherwise by the number of channels.

    Returns:
        A scalar.
    """
    deviation, of_target = (
        (x.second.diagonal() - x.first.square()).clamp_min(_EPSILON).sqrt() for x in (found, target)
    )
    squares = (found.first - target.first).square().sum() + (deviation - of_target).square().sum()
    if normalization == "relative":
        return squares / (target.first.square().sum() + of_target.square().sum() + _EPSILON)
    return squares / len(deviation)


def wasserstein_loss(
    found: Moments, target: Moments, normalization: Normalization = "relative", *, root: Tensor | None = None
) -> Tensor:
    """Squared 2-Wasserstein distance between the Gaussians that have the features' means and covariances.

    |m - n|^2 + tr(C + D - 2 (D^1/2 C D^1/2)^1/2) (Olkin & Pukelsheim 1982). The roots come from eigenvalues in float64:
    for 512 channels on a CPU a third of the time that Newton-Schulz iterations take to come within 0.1 %.

    Args:
        found: averaged moments of the picture's features with themselves.
        target: of the painting's.
        normalization: `relative` divides by |n|^2 + tr D; otherwise by the number of channels.
        root: `covariance_root` of the target, where it is known already.

    Returns:
        A scalar.
    """
    covariance, of_target = (_covariance(x) for x in (found, target))
    root = covariance_root(target) if root is None else root
    between = root @ covariance @ root
    with torch.no_grad():  # d tr M^1/2 = 1/2 tr M^-1/2 dM; directions without variance have no slope that is finite
        values, vectors = torch.linalg.eigh(between)
        middle = values.clamp_min(0).sqrt().sum()
        least = 1e-8 * between.trace().clamp_min(_EPSILON)
        slope = (vectors * (values.clamp_min(least).rsqrt() / 2)) @ vectors.T
    middle = middle + (slope * (between - between.detach())).sum()
    spread = covariance.trace() + of_target.trace() - 2 * middle
    distance = (found.first - target.first).square().sum() + spread.to(found.first)
    if normalization == "relative":
        return distance / (target.second.trace() + _EPSILON)
    return distance / len(covariance)


@torch.no_grad()
def covariance_root(target: Moments) -> Tensor:
    """The symmetric root of the covariance of averaged moments, float64 on the CPU."""
    values, vectors = torch.linalg.eigh(_covariance(target))
    return (vectors * values.clamp_min(0).sqrt()) @ vectors.T


def _covariance(averaged: Moments) -> Tensor:
    """In float64 on the CPU, where eigenvalues of matrices of this size are quick, and to be had."""
    return (averaged.second - torch.outer(averaged.first, averaged.first)).cpu().double()


def total_variation_loss(pictures: Tensor) -> Tensor:
    """Mean squared difference between neighbours, down plus across, of pictures of shape (N, C, H, W); a scalar.

    Values from 0 (flat) to 2 (a chessboard of pixels); photographs have about 0.01.
    """
    pictures = _precise(pictures)
    down = (pictures[..., 1:, :] - pictures[..., :-1, :]).square().mean()
    across = (pictures[..., :, 1:] - pictures[..., :, :-1]).square().mean()
    return down + across


def grid_loss(pictures: Tensor) -> Tensor:
    """How unlike odd and even rows, and columns, are: of networks that make pixels in pairs, which is seen as a grid.

    Squared logarithm of the ratio of their mean second differences, averaged over the batch and both directions, of
    pictures of shape (N, C, H, W), at least 4x4; a scalar. Photographs have about 0.001, a visible grid 0.03 and more.
    """
    pictures = _precise(pictures)
    ratios = []
    for bends in (pictures.diff(n=2, dim=2).abs().mean((1, 3)), pictures.diff(n=2, dim=3).abs().mean((1, 2))):
        odd, even = (bends[:, first::2].mean(1) + _FLAT for first in (0, 1))
        ratios.append(odd / even)
    return torch.cat(ratios).log().square().mean()


class PerceptualLoss(nn.Module):
    """Content, style at several scales, total variation and grid, weighted (Gatys et al. 2015; Johnson et al. 2016).

    The paintings' Gram matrices are computed once. Show them at the size at which their strokes should appear: the
    larger they are, the larger these are.

    Args:
        encoder: whose features are compared.
        paintings: the style pictures, RGB in [0, 1], each of shape (1, 3, H, W).
        content_layers: layer names and their weights.
        style_layers: layer names and their weights.
        scales: factors by which picture and painting are shrunk before their styles are compared, and the weight of
            each; large factors make large strokes.
        content_scale: factor by which picture and photo are shrunk before their contents are compared.
        content_weight: weight of the content loss (Gatys' alpha).
        style_weight: weight of the style loss (Gatys' beta).
        tv_weight: weight of the total variation loss, against noise and dots.
        grid_weight: weight of the grid loss, for networks that make pixels in pairs.
        normalization: `relative`, `gatys` or `mean`, see `content_loss` and `style_loss`. Weights of layers and scales
            are divided by their sum, so that `style_weight` means the same for any number of them.

    Raises:
        ValueError: a weight is negative or all are zero, a layer is unknown, or the painting is too small.
    """

    def __init__(
        self,
        encoder: Encoder,
        paintings: Sequence[Tensor],
        *,
        content_layers: Mapping[str, float],
        style_layers: Mapping[str, float],
        scales: Mapping[int, float],
        content_scale: int = 1,
        content_weight: float = 1.0,
        style_weight: float = 10.0,
        tv_weight: float = 0.0,
        grid_weight: float = 0.0,
        normalization: Normalization = "relative",
    ) -> None:
        super().__init__()
        for name, value in (
            ("content_weight", content_weight),
            ("style_weight", style_weight),
            ("tv_weight", tv_weight),
            ("grid_weight", grid_weight),
        ):
            if not value >= 0:
                raise ValueError(f"{name}: {value} is not allowed; it must be 0 or more")
        self.encoder = encoder
        self.content_layers = shares_of("content_layers", content_layers)
        self.style_layers = shares_of("style_layers", style_layers)
        self.scales = shares_of("scales", scales)
        if any(factor < 1 for factor in self.scales):
            raise ValueError(f"scales: {list(self.scales)} are not allowed; pictures are shrunk by 1 or more")
        if content_scale < 1:
            raise ValueError(f"content_scale: {content_scale} is not allowed; pictures are shrunk by 1 or more")
        self.content_scale = content_scale
        encoder.require([*self.content_layers, *self.style_layers])
        self.content_weight, self.style_weight = content_weight, style_weight
        self.tv_weight, self.grid_weight = tv_weight, grid_weight
        self.normalization: Normalization = normalization
        for painting in paintings:
            self._check_size("the painting", painting, self._for_style)
        for factor in self.scales:
            grams = [self._grams(shrink(painting, factor)) for painting in paintings]
            for layer in self.style_layers:
                of_layer = torch.cat([of_painting[layer] for of_painting in grams])
                self.register_buffer(f"gram_{layer}_at_{factor}", of_layer, persistent=False)

    def forward(
        self, pictures: Tensor, photos: Tensor, *, styles: Tensor | None = None, style_shares: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Losses of stylized pictures against their photos.

        Args:
            pictures: RGB in [0, 1], shape (N, 3, H, W).
            photos: the photos they were made of, same shape.
            styles: which painting each picture should resemble, integers of shape (N,); by default the first.
            style_shares: of `style_weight` for each picture, shape (N,); by default 1.

        Returns:
            Scalars `content`, `style`, `variation` and `grid`, unweighted, and `loss`, their weighted sum.
        """
        styles = torch.zeros(len(pictures), dtype=torch.long, device=pictures.device) if styles is None else styles
        self._check_size("a picture", pictures, max(self._for_style, self._for_content))
        with torch.no_grad():
            targets = self.encoder(shrink(photos, self.content_scale), list(self.content_layers))
        content, style = pictures.new_zeros(()), pictures.new_zeros(())
        for factor in {self.content_scale: 0, **self.scales}:
            with_style, with_content = factor in self.scales, factor == self.content_scale
            layers = [*(self.style_layers if with_style else ()), *(self.content_layers if with_content else ())]
            features = self.encoder(shrink(pictures, factor), list(dict.fromkeys(layers)))
            if with_style:
                style = style + self.scales[factor] * self._style(features, factor, styles, style_shares)
            if with_content:
                content = self._content(features, targets)
        variation, grid = total_variation_loss(pictures), grid_loss(pictures)
        loss = self.content_weight * content + self.style_weight * style
        loss = loss + self.tv_weight * variation + self.grid_weight * grid
        return {"loss": loss, "content": content, "style": style, "variation": variation, "grid": grid}

    @torch.no_grad()
    def _grams(self, painting: Tensor) -> dict[str, Tensor]:
        return {name: gram_matrix(found) for name, found in self.encoder(painting, list(self.style_layers)).items()}

    def _content(self, features: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> Tensor:
        return sum(
            weight * content_loss(features[layer], targets[layer], self.normalization)
            for layer, weight in self.content_layers.items()
        )

    def _style(
        self, features: Mapping[str, Tensor], factor: int, styles: Tensor, style_shares: Tensor | None
    ) -> Tensor:
        loss = 0
        for layer, weight in self.style_layers.items():
            targets = self.get_buffer(f"gram_{layer}_at_{factor}")[styles]
            loss = loss + weight * style_loss(gram_matrix(features[layer]), targets, self.normalization, style_shares)
        return loss

    @property
    def smallest(self) -> int:
        """Pixels that each side of pictures needs at least."""
        return max(self._for_style, self._for_content)[0]

    @property
    def _for_style(self) -> tuple[int, str, int]:
        return self._least(self.style_layers, max(self.scales))

    @property
    def _for_content(self) -> tuple[int, str, int]:
        return self._least(self.content_layers, self.content_scale)

    def _least(self, layers: Iterable[str], scale: int) -> tuple[int, str, int]:
        """What layers need when pictures are shrunk: the pixels of a side, the layer that needs most, and the scale."""
        return max((self.encoder.minimum_size(layer) * scale, layer, scale) for layer in layers)

    @staticmethod
    def _check_size(what: str, pictures: Tensor, least: tuple[int, str, int]) -> None:
        needed, layer, scale = least
        height, width = pictures.shape[-2:]
        if min(height, width) < needed:
            raise ValueError(
                f"{what} of {width}x{height} is too small for {layer} at scale 1/{scale}: at least {needed}x{needed}"
            )


def _precise(x: Tensor) -> Tensor:
    """At least float32: sums of squares overflow, and small differences vanish, in float16."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def shares_of(name: str, weights: Mapping) -> dict:
    """The weights divided by their sum."""
    total = sum(weights.values())
    if not weights or any(not weight >= 0 for weight in weights.values()) or total == 0:
        raise ValueError(f"{name}: {dict(weights)} is not allowed; weights must be 0 or more, and one of them above 0")
    return {key: weight / total for key, weight in weights.items() if weight > 0}
