"""The settings of an optimization, with the defaults that look best."""

from dataclasses import dataclass, field
from typing import Literal

from nst_lightning.perception import Normalization

Optimizer = Literal["lbfgs", "adam"]
Start = Literal["content", "noise"]


def _layers(*names: str) -> dict[str, float]:
    return dict.fromkeys(names, 1.0)


@dataclass(frozen=True)
class OptimizeOptions:
    """How one picture is optimized.

    Args:
        size: long side of the picture in pixels; 0 keeps the photo's own.
        style_weight: of the style loss (Gatys' beta): 5 tints, 30 paints, 100 lets the style reshape the scene.
        content_weight: of the content loss (Gatys' alpha); 0 makes a texture of the style alone.
        tv_weight: of the total variation loss, against noise.
        style_scale: enlarges the paintings, and with them the strokes, relative to the photo.
        content_layers: layers whose features keep the photo's content, and their weights.
        style_layers: layers whose Gram matrices carry the style, and their weights.
        levels: sizes that the picture is optimized at, each larger than the one before: the small ones lay out large
            strokes, the last one details. 1 is Gatys' own method.
        factor: between the sizes of two levels.
        iterations: at each level; one is one evaluation of loss and gradient.
        optimizer: `lbfgs` (Gatys et al. 2016) or `adam`.
        history: past steps that `lbfgs` remembers.
        learning_rate: of `adam`, in units of RGB in [0, 1].
        start: from the photo's `content`, or from `noise`.
        normalization: of the losses: `relative` to the target's energy, `gatys`, or `mean`.
        margin: pixels beyond each border that are optimized too and cut off at the end, so that nothing odd is left
            along the borders.
        seed: of the noise.
    """

    size: int = 512
    style_weight: float = 30.0
    content_weight: float = 1.0
    tv_weight: float = 2.0
    style_scale: float = 1.0
    content_layers: dict[str, float] = field(default_factory=lambda: _layers("relu3_1", "relu4_1"))
    style_layers: dict[str, float] = field(
        default_factory=lambda: _layers("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
    )
    levels: int = 5
    factor: float = 2**0.5
    iterations: int = 60
    optimizer: Optimizer = "lbfgs"
    history: int = 20
    learning_rate: float = 0.02
    start: Start = "content"
    normalization: Normalization = "relative"
    margin: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (
            ("size", 0),
            ("style_weight", 0),
            ("content_weight", 0),
            ("tv_weight", 0),
            ("levels", 1),
            ("iterations", 1),
            ("history", 1),
            ("margin", 0),
        ):
            if not getattr(self, name) >= least:
                raise ValueError(f"{name}: {getattr(self, name)} is not allowed; it must be {least} or more")
        for name, more_than in (("style_scale", 0), ("learning_rate", 0), ("factor", 1)):
            if not getattr(self, name) > more_than:
                raise ValueError(f"{name}: {getattr(self, name)} is not allowed; it must be more than {more_than}")
        if self.style_weight == self.content_weight == 0:
            raise ValueError("style_weight, content_weight: one of the two must be more than 0")
