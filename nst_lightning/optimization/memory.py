"""Estimates of the memory and time that an optimization takes, and the size of its tiles."""

import time

import torch
from torch import Tensor

from nst_lightning.encoders import Encoder
from nst_lightning.encoders.base import reach_of, stride_of
from nst_lightning.errors import UserError
from nst_lightning.losses import ObjectiveOptions, build_style_loss, needed_layers, style_pairs
from nst_lightning.optimization.device import device_of
from nst_lightning.optimization.options import Optimizer
from nst_lightning.optimization.single_scale import Region, SingleScaleLoss
from nst_lightning.optimization.tiles import LEAST_TILE

GB = 1e9
FRAGMENTED = 1.2
"""Memory that tiles take in practice, relative to the memory in use: blocks of many sizes fragment it."""
_PROBE, _LARGE_PROBE = 128, 512  # on a small picture, an accelerator's overhead would dominate
_TIMES = 3


def tile_side(
    size: tuple[int, int], *, copies: float, loss: float, border: int, margin: int, used: float, limit: float
) -> int | None:
    """The side of the largest tiles with which a level stays within a limit of memory, or None if it needs no tiles.

    Args:
        size: width and height of the level's picture, margins included.
        copies: bytes for each pixel of the picture, see `bytes_of_copies`.
        loss: bytes for each pixel of a tile, see `bytes_of_loss`.
        border: pixels that borders add to a tile's side, see `border_of_tiles`.
        margin: margin of the picture, which is not part of the sizes in the error message.
        used: bytes that the process uses already.
        limit: bytes allowed for the whole process.

    Raises:
        UserError: even small tiles need more memory; the message says which long side would fit.
    """
    pixels = size[0] * size[1]
    whole = used + pixels * (copies + loss)
    if whole <= limit:
        return None
    loss *= FRAGMENTED
    side = int(max(0.0, (limit - used - pixels * copies) / loss) ** 0.5) - border
    if side >= LEAST_TILE:
        return side
    least = used + (LEAST_TILE + border) ** 2 * loss
    share = max(0.0, (limit - used) / (whole - used), (limit - least) / (pixels * copies))
    fits = max(size) * share**0.5 - 2 * margin
    raise UserError(
        f"max_memory must be >= {min(whole, least + pixels * copies) / GB:.3g} GB for a picture of "
        f"{size[0]}x{size[1]}, margins included, got {limit / GB:.3g} GB"
        + (f"; a long_side of {int(fits)} or less would fit" if fits > 0 else "")
    )


def estimate_bytes(pixels: int, *, tile: int | None, copies: float, loss: float, border: int) -> float:
    """The bytes that a level needs beyond those that the process uses already; see `tile_side`."""
    at_once = pixels if tile is None else min(pixels, FRAGMENTED * (tile + border) ** 2)
    return pixels * copies + at_once * loss


def bytes_of_copies(optimizer: Optimizer, history: int, *, painting_scale: float = 1.0) -> float:
    """The bytes that an optimization needs at most for each of the picture's pixels, in tiles or not.

    These are copies of the picture: the optimizer's, the state's and temporary ones; and three copies of a painting,
    where `painting_scale` makes it larger than the picture.
    """
    copies = 21 if optimizer == "adam" else 29 + 2 * history
    return 12 * (copies + 3 * max(0.0, painting_scale**2 - 1))


def bytes_of_statistics(
    encoder: Encoder, options: ObjectiveOptions, *, masks: int = 0, painting_scale: float = 1.0
) -> float:
    """The bytes that statistics of all tiles of the picture, or of a larger painting, take for each of its pixels."""
    if not options.style_weight:
        return 0.0
    style = build_style_loss(style_pairs(encoder, options), options)
    return max(1, masks, painting_scale**2) * style.bytes_of_tiles() / min(options.style_scales) ** 2


def bytes_of_loss(encoder: Encoder, options: ObjectiveOptions, *, masks: int = 0) -> float:
    """The bytes that a loss with its targets needs at once, for each of the picture's pixels."""
    saved: dict[int, int] = {}

    def save(tensor: Tensor) -> Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    picture, loss = _probe(encoder, options, masks)
    with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
        loss(picture)
    for parameter in encoder.parameters():
        saved.pop(parameter.untyped_storage().data_ptr(), None)
    targets = sum(features.numel() * features.element_size() for features in loss.content_features.values())
    # in the backward pass, the largest tensors have gradients as well
    return (sum(saved.values()) + targets + 3 * max(saved.values())) / picture[0, 0].numel()


def seconds_per_pixel(encoder: Encoder, options: ObjectiveOptions, *, masks: int = 0) -> float:
    """The time in seconds of a loss and its gradient for each pixel, measured on a small picture."""
    picture, loss = _probe(encoder, options, masks)
    times = []
    for _ in range(_TIMES):
        start = time.perf_counter()
        loss(picture)
        times.append(time.perf_counter() - start)
    return min(times) / picture[0, 0].numel()


def border_of_tiles(encoder: Encoder, options: ObjectiveOptions) -> int:
    """The number of pixels that both borders together add to the side of a tile."""
    layers = needed_layers(encoder, options)
    stride = max(stride_of(layer) for layer in layers)
    return 2 * (max(reach_of(layer) for layer in layers) + stride * (1 + options.correlation_chain + options.blur))


def _probe(encoder: Encoder, options: ObjectiveOptions, masks: int) -> tuple[Tensor, SingleScaleLoss]:
    """A small picture, and the loss that an optimization would compute for it."""
    generator = torch.Generator().manual_seed(0)
    device = device_of(encoder)
    side = _PROBE if device.type == "cpu" else _LARGE_PROBE
    photo, painting, picture = torch.rand(3, 1, 3, side, side, generator=generator).to(device)
    regions = [Region([painting], [1.0], torch.ones_like(photo[:, :1]) if masks else None) for _ in range(masks or 1)]
    loss = SingleScaleLoss(
        encoder,
        photo,
        regions,
        options,
        content_weight=options.content_weight,
        style_weight=options.style_weight,
    )
    return picture, loss
