"""The options of the objective: what losses compare, and the weights."""

from dataclasses import dataclass, field
from typing import Literal, get_args

from nst_lightning.errors import UserError, require, require_at_least
from nst_lightning.losses.functional import Normalization

Layers = dict[str, float] | Literal["all"]
StyleStatistic = Literal["gram", "wasserstein", "mean_std", "sliced"]
LEAST_TARGET, MOST_TARGET = 0.1, 0.9
"""The range of contents to aim at: below it a photo is hardly painted, above it nothing is left of the photo."""


@dataclass(frozen=True)
class ObjectiveOptions:
    """What the losses compare, and the weights; the same for training and optimization.

    Args:
        content_weight: weight of the content loss (Gatys' alpha); 0 makes a texture of the style alone.
        style_weight: weight of the style loss (Gatys' beta): 2 tints, 12 paints, 60 lets the style reshape the scene.
            Networks want less: 5 keeps the subject, 12 begins to dissolve it.
        tv_weight: weight of the total variation loss, against noise and dots; more of it blurs.
        tv_color: how many times the variation of the colors, Cb and Cr, is added to that of red, green and blue in the
            total variation loss, against speckles of color, which encoders hardly see; 0 for the usual loss.
        grid_weight: weight of the grid loss, the difference between odd and even rows and columns, for networks that
            make pixels in pairs: 1 for a `MultiStyleNet`, unless `freeze_shared` is on.
        content_layers: layers whose features keep the photo's content, and their weights, or `all`: relu3_1 keeps
            edges, relu4_1 keeps objects.
        style_layers: layers whose statistics carry the style, and their weights, or `all` (Novak & Nikulin 2016, 3.2).
        style_scales: factors by which pictures and paintings are scaled down before their styles are compared, and the
            weight of each: 1 makes texture, larger factors make strokes. Factors for which a picture is too small are
            left out by `optimize`, and refused in training.
        content_scale: factor by which pictures and photos are scaled down before their contents are compared.
        style_loss: the statistics of style features to compare: `gram` matrices, means and covariances (`wasserstein`
            distance), means and standard deviations (`mean_std`), or whole distributions (`sliced` Wasserstein
            distance: Heitz et al. 2021).
        style_directions: number of random directions along which `sliced` compares the first layers; layers at half of
            their size have twice as many, and so on.
        normalization: how losses are scaled: `relative` to the target's energy, `gatys`, or `mean`. The last two need
            other weights, such as a style weight of 1000 for `gatys` (100 keeps the photo, 10,000 dissolves it).
        geometric_weights: replace the layers' weights by 2^(D-d) for style layers and 2^d for content layers, d being a
            layer's place among the D layers used (Novak & Nikulin 2016, 3.1).
        activation_shift: number that is added to features before their products; -1 in Novak & Nikulin 2016, 3.3.
        correlation_chain: compare Gram matrices between each style layer and the next, the deeper one enlarged, in
            place of those within layers; a pair has the weight of its deeper layer (Novak & Nikulin 2016, 3.5).
        blur: blur features before their products (Novak & Nikulin 2016).

    Raises:
        UserError: a value isn't allowed.
    """

    content_weight: float = 1.0
    style_weight: float = 12.0
    tv_weight: float = 2.0
    tv_color: float = 10.0
    grid_weight: float = 0.0
    content_layers: Layers = field(default_factory=lambda: {"relu3_1": 1.0, "relu4_1": 4.0})
    style_layers: Layers = field(default_factory=lambda: {f"relu{block}_1": 1.0 for block in range(1, 6)})
    style_scales: dict[int, float] = field(default_factory=lambda: {1: 1.0, 2: 1.0, 4: 1.0})
    content_scale: int = 1
    style_loss: StyleStatistic = "gram"
    style_directions: int = 32
    normalization: Normalization = "relative"
    geometric_weights: bool = False
    activation_shift: float = 0.0
    correlation_chain: bool = False
    blur: bool = False

    def __post_init__(self) -> None:
        for name, allowed in (("style_loss", StyleStatistic), ("normalization", Normalization)):
            require(name, getattr(self, name), getattr(self, name) in get_args(allowed), " or ".join(get_args(allowed)))
        require_at_least(0, content_weight=self.content_weight, style_weight=self.style_weight)
        require_at_least(0, tv_weight=self.tv_weight, tv_color=self.tv_color, grid_weight=self.grid_weight)
        require_at_least(1, content_scale=self.content_scale, style_directions=self.style_directions)
        if self.style_weight == self.content_weight == 0:
            raise UserError("style_weight or content_weight must be > 0, got 0 for both")
        good = bool(self.style_scales) and all(
            factor >= 1 and weight > 0 for factor, weight in self.style_scales.items()
        )
        require("style_scales", self.style_scales, good, "factors >= 1 with weights > 0")
        good = not self.correlation_chain or self.style_loss == "gram"
        require("style_loss", self.style_loss, good, "gram with correlation_chain")


def check_content_target(target: float) -> None:
    """Refuse a content to aim at that is out of range.

    Raises:
        UserError: it is.
    """
    require("content_target", target, LEAST_TARGET <= target <= MOST_TARGET, f"from {LEAST_TARGET} to {MOST_TARGET}")
