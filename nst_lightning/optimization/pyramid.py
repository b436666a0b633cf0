"""One picture, optimized from small to large (Gatys et al. 2016, at several sizes in turn)."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from nst_lightning.images import array_to_image, image_to_array, resize_short_side
from nst_lightning.optimization.minimize import minimize
from nst_lightning.optimization.objective import Objective
from nst_lightning.optimization.options import OptimizeOptions
from nst_lightning.perception import Encoder


@dataclass(frozen=True)
class Progress:
    """Where an optimization is.

    Args:
        level: from 1.
        levels: how many there are.
        iteration: of the level, from 1.
        iterations: of each level.
        losses: `loss`, `content`, `style`, `variation`.
        seconds: since the start.
        share: of the work that is done, from 0 to 1.
        picture: as it is, with its margin, RGB of shape (1, 3, H, W).
    """

    level: int
    levels: int
    iteration: int
    iterations: int
    losses: dict[str, float]
    seconds: float
    share: float
    picture: Tensor


@dataclass(frozen=True)
class Optimized:
    """What an optimization made.

    Args:
        picture: RGB.
        history: losses of each iteration, and the level and seconds at which it was.
        seconds: how long it took.
    """

    picture: Image.Image
    history: list[dict[str, float]]
    seconds: float


def optimize_picture(
    photo: Image.Image,
    styles: Sequence[Image.Image],
    encoder: Encoder,
    *,
    options: OptimizeOptions | None = None,
    shares: Sequence[float] | None = None,
    device: str = "cpu",
    progress: Callable[[Progress], None] | None = None,
) -> Optimized:
    """Paint a photo in the style of paintings.

    Args:
        photo: RGB.
        styles: paintings, RGB.
        encoder: whose features are compared.
        options: how; by default what looks best.
        shares: weight of each painting; by default all the same.
        device: where to compute, such as `cuda`.
        progress: called after every iteration.

    Raises:
        ValueError: the photo is too small for the deepest layer, or an option doesn't fit.
    """
    options = options or OptimizeOptions()
    shares = _normalised(shares, len(styles))
    encoder = encoder.to(device)
    sizes = level_sizes(photo.size, encoder, options)
    generator = torch.Generator().manual_seed(options.seed)
    work = [width * height for width, height in sizes]
    start, history, picture = time.perf_counter(), [], None
    for level, size in enumerate(sizes, 1):
        content = _tensor(photo.resize(size, Image.Resampling.LANCZOS), device, options.margin)
        short_side = max(_smallest(encoder, options), round(min(size) * options.style_scale))
        paintings = [_tensor(resize_short_side(style, short_side), device) for style in styles]
        objective = Objective(encoder, content, paintings, shares, options)
        if picture is None:
            noise = 0.5 + 0.2 * torch.randn(content.shape, generator=generator).to(device)
            picture = content.clone() if options.start == "content" else noise.clamp(0, 1)
        else:
            picture = F.interpolate(picture, size=content.shape[-2:], mode="bicubic", align_corners=False)

        def report(iteration: int, losses: dict[str, float], picture: Tensor, level: int = level) -> None:
            seconds = time.perf_counter() - start
            history.append({"level": level, "iteration": iteration, "seconds": seconds, **losses})
            if progress is not None:
                done = sum(work[: level - 1]) + work[level - 1] * iteration / options.iterations
                values = (level, len(sizes), iteration, options.iterations, losses, seconds, done / sum(work), picture)
                progress(Progress(*values))

        picture = minimize(objective, picture, options, report)
    cut = options.margin
    finished = picture[0, :, cut : picture.shape[2] - cut, cut : picture.shape[3] - cut].cpu().numpy()
    return Optimized(array_to_image(finished), history, time.perf_counter() - start)


def level_sizes(size: tuple[int, int], encoder: Encoder, options: OptimizeOptions) -> list[tuple[int, int]]:
    """Width and height of each level, from small to large; levels too small for the deepest layer are left out.

    Raises:
        ValueError: even the largest is too small.
    """
    scale = options.size / max(size) if options.size else 1.0
    needed = _smallest(encoder, options)
    sizes = []
    for level in reversed(range(options.levels)):
        width, height = (max(1, round(side * scale / options.factor**level)) for side in size)
        if min(width, height) >= needed:
            sizes.append((width, height))
    if not sizes:
        raise ValueError(
            f"a photo of {width}x{height} is too small for {', '.join(options.style_layers)}: "
            f"its short side must be {needed} pixels or more"
        )
    if options.margin >= min(sizes[0]):
        raise ValueError(
            f"margin: {options.margin} is not allowed; "
            f"it must be less than the short side of the smallest level, {min(sizes[0])}"
        )
    return sizes


def _smallest(encoder: Encoder, options: OptimizeOptions) -> int:
    layers = [*options.style_layers, *options.content_layers]
    encoder.require(layers)
    return max(encoder.minimum_size(layer) for layer in layers)


def _normalised(shares: Sequence[float] | None, count: int) -> list[float]:
    shares = [1.0] * count if shares is None else list(shares)
    if len(shares) != count:
        raise ValueError(f"shares: {len(shares)} given for {count} styles")
    if any(not share >= 0 for share in shares) or sum(shares) == 0:
        raise ValueError(f"shares: {shares} are not allowed; they must be 0 or more, and one of them above 0")
    return [share / sum(shares) for share in shares]


def _tensor(image: Image.Image, device: str, margin: int = 0) -> Tensor:
    tensor = torch.from_numpy(image_to_array(image))[None].to(device)
    return F.pad(tensor, (margin,) * 4, mode="reflect") if margin else tensor
