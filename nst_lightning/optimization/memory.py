"""How much memory and time an optimization takes, estimated beforehand, and how large its tiles may be."""

import time
from collections.abc import Sequence

import torch
from torch import Tensor

from nst_lightning.encoders import Encoder
from nst_lightning.encoders.base import reach_of, stride_of
from nst_lightning.errors import UserError
from nst_lightning.optimization.device import device_of
from nst_lightning.optimization.options import OptimizeOptions
from nst_lightning.optimization.single_scale import Region, SingleScaleLoss
from nst_lightning.optimization.tiles import LEAST_TILE

GB = 1e9
FRAGMENTED = 1.2
"""How much more memory tiles take in practice than what is in use of it: it is taken and given back in many sizes."""
_PROBE, _LARGE_PROBE = 128, 512  # a small one tells how fast an accelerator is asked, not how fast it is
_TIMES = 3


def tile_side(
    size: tuple[int, int],
    per_pixel: float,
    layers: Sequence[str],
    options: OptimizeOptions,
    *,
    history: int,
    used: float,
    limit: float,
) -> int | None:
    """The side of the largest tiles with which a level stays within a limit; None where it needs no tiles.

    Args:
        size: width and height of the level's picture, margins included.
        per_pixel: see `bytes_per_pixel`.
        layers: whose features are compared.
        options: the optimizer, whose vectors are as large as the picture.
        history: steps that L-BFGS remembers.
        used: bytes that the process has already.
        limit: in bytes, for the whole process.

    Raises:
        UserError: the optimizer alone needs more; the message says which size would fit.
    """
    pixels, copies = size[0] * size[1], bytes_of_copies(options, history)
    whole = used + pixels * (copies + per_pixel)
    if whole <= limit:
        return None
    border = _border(layers, options)
    per_pixel *= FRAGMENTED
    side = int(max(0.0, (limit - used - pixels * copies) / per_pixel) ** 0.5) - border
    if side >= LEAST_TILE:
        return side
    least = used + (LEAST_TILE + border) ** 2 * per_pixel
    share = max(0.0, (limit - used) / (whole - used), (limit - least) / (pixels * copies))
    fits = max(size) * share**0.5 - 2 * options.margin
    raise UserError(
        f"max_memory must be >= {min(whole, least + pixels * copies) / GB:.3g} GB for a picture of "
        f"{size[0]}x{size[1]}, margins included, got {limit / GB:.3g} GB"
        + (f"; a size of {int(fits)} or less would fit" if fits > 0 else "")
    )


def estimate_bytes(
    pixels: int, tile: int | None, per_pixel: float, layers: Sequence[str], options: OptimizeOptions, history: int
) -> float:
    """What a level needs beyond what the process has already."""
    at_once = pixels if tile is None else min(pixels, FRAGMENTED * (tile + _border(layers, options)) ** 2)
    return pixels * bytes_of_copies(options, history) + at_once * per_pixel


def bytes_of_copies(options: OptimizeOptions, history: int) -> float:
    """What an optimization holds at most for each of the picture's pixels, whether in tiles or not.

    These are copies of the picture, the optimizer's, the state's, and passing ones; and three of a painting, where
    `style_scale` makes it larger than the picture.
    """
    copies = 20 if options.optimizer == "adam" else 28 + 2 * history
    return 12 * (copies + 3 * max(0.0, options.style_scale**2 - 1))


def bytes_per_pixel(encoder: Encoder, options: OptimizeOptions, *, masks: int = 0) -> float:
    """What a loss of a picture with its targets holds at once, for each of the picture's pixels."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    picture, loss = _probe(encoder, options, masks)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss(picture)
    for parameter in encoder.parameters():
        kept.pop(parameter.untyped_storage().data_ptr(), None)
    targets = sum(features.numel() * features.element_size() for features in loss.content_features.values())
    # going back, the largest tensors have gradients beside them
    return (sum(kept.values()) + targets + 3 * max(kept.values())) / picture[0, 0].numel()


def seconds_per_pixel(encoder: Encoder, options: OptimizeOptions, *, masks: int = 0) -> float:
    """Of one loss with its gradient, measured on a small picture."""
    picture, loss = _probe(encoder, options, masks)
    times = []
    for _ in range(_TIMES):
        start = time.perf_counter()
        loss(picture)
        times.append(time.perf_counter() - start)
    return min(times) / picture[0, 0].numel()


def _probe(encoder: Encoder, options: OptimizeOptions, masks: int) -> tuple[Tensor, SingleScaleLoss]:
    """A small picture, and what an optimization would compare it with."""
    generator = torch.Generator().manual_seed(0)
    device = device_of(encoder)
    side = _PROBE if device.type == "cpu" else _LARGE_PROBE
    photo, painting, picture = torch.rand(3, 1, 3, side, side, generator=generator).to(device)
    regions = [Region([painting], [1.0], torch.ones_like(photo[:, :1]) if masks else None) for _ in range(masks or 1)]
    weights = {"content_weight": options.content_weight, "style_weight": options.style_weight}
    return picture, SingleScaleLoss(encoder, photo, regions, options, **weights)


def _border(layers: Sequence[str], options: OptimizeOptions) -> int:
    """What both borders of a tile add to its side."""
    stride = max(stride_of(layer) for layer in layers)
    return 2 * (max(reach_of(layer) for layer in layers) + stride * (1 + options.correlation_chain + options.blur))
