"""The settings of an optimization, with the defaults that look best."""

from dataclasses import dataclass, field
from typing import Literal, get_args

from nst_lightning.errors import UserError, require, require_above, require_at_least
from nst_lightning.images import ColorMatch
from nst_lightning.losses import Normalization

Layers = dict[str, float] | Literal["all"]
StyleStatistic = Literal["gram", "wasserstein", "mean_std"]
Optimizer = Literal["lbfgs", "adam"]
Start = Literal["content", "noise", "style"]
Color = Literal["style", "luminance", "histogram"]
Recolor = Literal["before", "after"]


@dataclass(frozen=True)
class OptimizeOptions:
    """How one picture is optimized.

    Args:
        size: long side of the picture in pixels; 0 keeps the photo's own.
        style_weight: of the style loss (Gatys' beta): 2 tints, 12 paints, 60 lets the style reshape the scene.
        content_weight: of the content loss (Gatys' alpha); 0 makes a texture of the style alone.
        tv_weight: of the total variation loss, against noise.
        style_scale: enlarges the paintings, and with them the strokes, relative to the photo.
        content_layers: layers whose features keep the photo's content, and their weights, or `all`.
        style_layers: layers whose statistics carry the style, and their weights, or `all` (Novak & Nikulin 2016, 3.2).
        scales: factors by which picture and paintings are shrunk before their styles are compared, and the weight of
            each; those that a level is too small for are left out. Content is compared at scale 1, which must be there.
        style_loss: what is compared of the style's features: the `gram` matrix, means and covariances by `wasserstein`
            distance, or means and deviations, `mean_std`.
        normalization: of the losses: `relative` to the target's energy, `gatys`, or `mean`; those two want other
            weights, such as a style weight of 1000 for `gatys` (100 keeps the photo, 10,000 dissolves it).
        geometric_weights: style layers count 2^(D-d), content layers 2^d, d being the layer's place among the D used
            (Novak & Nikulin 2016, 3.1), in place of the weights given.
        activation_shift: added to features before their products; -1 in Novak & Nikulin 2016, 3.3.
        correlation_chain: Gram matrices between each style layer and the next, the deeper one enlarged, in place of
            those within layers; a pair has the deeper one's weight (Novak & Nikulin 2016, 3.5).
        blur: blur features before their products (Novak & Nikulin 2016).
        levels: sizes that the picture is optimized at, each larger than the one before: the small ones lay out large
            strokes, the last one details. 1 is Gatys' own method; by default the first has about 100 pixels.
        factor: between the sizes of two levels.
        iterations: at each level; one is one evaluation of loss and gradient.
        refine_above: levels whose long side has more pixels than this only refine.
        refine_iterations: at each of those.
        optimizer: `lbfgs` (Gatys et al. 2016) or `adam`, whose state goes on from level to level.
        history: past steps that `lbfgs` remembers.
        learning_rate: of `adam`, in units of RGB in [0, 1].
        average: of `adam`'s iterates: the picture is their moving average with this decay, such as 0.99; 0 is the last.
        start: from the photo's `content`, from `noise`, or from noise of the `style`'s mean and covariance of colors.
        color: the `style`'s colors, or the photo's: `luminance` transfers brightness alone, `histogram` recolors to
            the photo's mean and covariance of colors (Gatys et al. 2016, Preserving Color).
        color_match: how `histogram` recolors: `pca`, `cholesky` or `symmetric`.
        recolor: paintings `before` the transfer, or the picture `after` it.
        margin: pixels beyond each border that are optimized too and cut off at the end, so that nothing odd is left
            along the borders.
        seed: of the noise.
    """

    size: int = 512
    style_weight: float = 12.0
    content_weight: float = 1.0
    tv_weight: float = 2.0
    style_scale: float = 1.0
    content_layers: Layers = field(default_factory=lambda: {"relu3_1": 1.0, "relu4_1": 4.0})
    style_layers: Layers = field(default_factory=lambda: {f"relu{block}_1": 1.0 for block in range(1, 6)})
    scales: dict[int, float] = field(default_factory=lambda: {1: 1.0, 2: 1.0, 4: 1.0})
    style_loss: StyleStatistic = "gram"
    normalization: Normalization = "relative"
    geometric_weights: bool = False
    activation_shift: float = 0.0
    correlation_chain: bool = False
    blur: bool = False
    levels: int | None = None
    factor: float = 2**0.5
    iterations: int = 40
    refine_above: int = 1024
    refine_iterations: int = 7
    optimizer: Optimizer = "lbfgs"
    history: int = 20
    learning_rate: float = 0.02
    average: float = 0.0
    start: Start = "content"
    color: Color = "style"
    color_match: ColorMatch = "pca"
    recolor: Recolor = "before"
    margin: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        for name, allowed in (
            ("style_loss", StyleStatistic),
            ("normalization", Normalization),
            ("optimizer", Optimizer),
            ("start", Start),
            ("color", Color),
            ("color_match", ColorMatch),
            ("recolor", Recolor),
        ):
            require(name, getattr(self, name), getattr(self, name) in get_args(allowed), " or ".join(get_args(allowed)))
        for name in ("size", "style_weight", "content_weight", "tv_weight", "margin", "seed"):
            require_at_least(0, **{name: getattr(self, name)})
        for name in ("levels", "iterations", "refine_above", "refine_iterations", "history"):
            require_at_least(1, **{name: getattr(self, name)})
        require_above(0, style_scale=self.style_scale, learning_rate=self.learning_rate)
        require_above(1, factor=self.factor)
        require("average", self.average, 0 <= self.average < 1, ">= 0 and < 1")
        require("average", self.average, not self.average or self.optimizer == "adam", "0 unless the optimizer is adam")
        if self.style_weight == self.content_weight == 0:
            raise UserError("style_weight or content_weight must be > 0, got 0 for both")
        good = 1 in self.scales and min(self.scales) >= 1 and all(weight > 0 for weight in self.scales.values())
        require("scales", self.scales, good, "factors >= 1 with weights > 0, and have scale 1")
        good = not self.correlation_chain or self.style_loss == "gram"
        require("style_loss", self.style_loss, good, "gram with correlation_chain")
