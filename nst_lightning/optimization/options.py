"""The options of an optimization besides its objective, in groups, with the defaults that look best."""

from dataclasses import dataclass
from typing import Literal, get_args

from nst_lightning.errors import require, require_above, require_at_least
from nst_lightning.images import ColorMatch

Start = Literal["content", "noise", "style"]
Optimizer = Literal["lbfgs", "adam"]
PreserveColor = Literal["none", "luminance", "linear"]
Recolor = Literal["before", "after"]


@dataclass(frozen=True)
class PyramidOptions:
    """The sizes at which a picture is optimized in turn, from small to large.

    Args:
        long_side: long side of the picture in pixels; 0 keeps the photo's size.
        painting_scale: factor that enlarges the paintings, and with them the strokes, relative to the photo.
        levels: number of sizes at which the picture is optimized, each larger than the one before: the small levels
            lay out large strokes, the last level paints details. 1 is Gatys' own method; by default there are as many
            levels as make the first about 100 pixels long.
        factor: ratio of the sizes of two successive levels.
        iterations: number of evaluations of loss and gradient at each level.
        refine_above: levels whose long side has more pixels than this only refine the picture.
        refine_iterations: number of iterations at each of the levels that only refine.
        margin: pixels beyond each border that are optimized as well and cut off at the end, against artifacts along the
            borders.
        start: what to start from: the photo (`content`), `noise`, or noise with the paintings' mean and covariance of
            colors (`style`).
        seed: random seed of the noise.

    Raises:
        UserError: a value isn't allowed.
    """

    long_side: int = 512
    painting_scale: float = 1.0
    levels: int | None = None
    factor: float = 2**0.5
    iterations: int = 40
    refine_above: int = 1024
    refine_iterations: int = 7
    margin: int = 16
    start: Start = "content"
    seed: int = 0

    def __post_init__(self) -> None:
        require("start", self.start, self.start in get_args(Start), " or ".join(get_args(Start)))
        require_at_least(0, long_side=self.long_side, margin=self.margin, seed=self.seed)
        require_at_least(1, levels=self.levels, iterations=self.iterations)
        require_at_least(1, refine_above=self.refine_above, refine_iterations=self.refine_iterations)
        require_above(0, painting_scale=self.painting_scale)
        require_above(1, factor=self.factor)


@dataclass(frozen=True)
class MinimizerOptions:
    """The optimizer of pixels and its settings.

    Args:
        optimizer: `lbfgs` (Gatys et al. 2016), or `adam`, whose state is carried from level to level.
        history: number of past steps that `lbfgs` remembers.
        learning_rate: learning rate of `adam`, in units of RGB in [0, 1].
        average: decay of a moving average of `adam`'s iterates, such as 0.99, which becomes the picture; with 0, the
            last iterate does.

    Raises:
        UserError: a value isn't allowed.
    """

    optimizer: Optimizer = "lbfgs"
    history: int = 20
    learning_rate: float = 0.02
    average: float = 0.0

    def __post_init__(self) -> None:
        require("optimizer", self.optimizer, self.optimizer in get_args(Optimizer), " or ".join(get_args(Optimizer)))
        require_at_least(1, history=self.history)
        require_above(0, learning_rate=self.learning_rate)
        require("average", self.average, 0 <= self.average < 1, ">= 0 and < 1")
        require("average", self.average, not self.average or self.optimizer == "adam", "0 unless the optimizer is adam")


@dataclass(frozen=True)
class ColorOptions:
    """Whose colors the picture has (Gatys et al. 2016, Preserving Color).

    Args:
        preserve_color: how the photo's colors are kept: `none` keeps the painting's colors, `luminance` transfers
            brightness alone, `linear` recolors to the photo's mean and covariance of colors.
        color_match: the linear map of `linear`: `pca`, `cholesky` or `symmetric`.
        recolor: when `linear` recolors: the paintings `before` the transfer, or the picture `after` it.

    Raises:
        UserError: a value isn't allowed.
    """

    preserve_color: PreserveColor = "none"
    color_match: ColorMatch = "pca"
    recolor: Recolor = "before"

    def __post_init__(self) -> None:
        for name, allowed in (("preserve_color", PreserveColor), ("color_match", ColorMatch), ("recolor", Recolor)):
            require(name, getattr(self, name), getattr(self, name) in get_args(allowed), " or ".join(get_args(allowed)))
