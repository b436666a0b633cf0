"""How much memory and time an optimization takes, foretold, and how large its tiles may be."""

import time
from collections.abc import Sequence

import torch

from nst_lightning.optimization.device import used_memory
from nst_lightning.optimization.options import OptimizeOptions
from nst_lightning.perception import Encoder
from nst_lightning.perception.encoders import reach_of, stride_of

GB = 1e9
_TIMES = 3
LEAST_TILE = 256
_PROBE = 128


def tile_side(
    size: tuple[int, int],
    encoder: Encoder,
    layers: Sequence[str],
    options: OptimizeOptions,
    iterations: int,
    limit: float,
) -> int | None:
    """The side of the largest tiles with which a level stays within a limit; None where it needs no tiles.

    Args:
        size: width and height of the level's picture, margins included.
        encoder: whose features are compared.
        layers: those that it is asked for.
        options: the optimizer, whose vectors are as large as the picture.
        iterations: of the level: L-BFGS remembers no more steps than it has made.
        limit: in bytes, for the whole process.

    Raises:
        ValueError: the optimizer alone needs more; the message says which size would fit.
    """
    pixels, used = size[0] * size[1], used_memory(_device_of(encoder))
    per_pixel, vectors = bytes_per_pixel(encoder, layers), 12 * vectors_of(options, iterations)
    if used + pixels * (vectors + per_pixel) <= limit:
        return None
    border = _border(layers)
    side = int(max(0.0, (limit - used - pixels * vectors) / per_pixel) ** 0.5) - border
    if side >= LEAST_TILE:
        return side
    least = used + (LEAST_TILE + border) ** 2 * per_pixel
    fits = int(max(size) * (max(0.0, limit - least) / (vectors * pixels)) ** 0.5)
    raise ValueError(
        f"max_memory: {limit / GB:.1f} GB is not allowed for a picture of {size[0]}x{size[1]}; it must be "
        f"{(least + pixels * vectors) / GB:.1f} GB or more" + (f", or size {fits} or less" if fits else "")
    )


def foretold_bytes(
    pixels: int, tile: int | None, encoder: Encoder, layers: Sequence[str], options: OptimizeOptions, iterations: int
) -> float:
    """What the process needs at a level, in bytes."""
    at_once = pixels if tile is None else min(pixels, (tile + _border(layers)) ** 2)
    vectors = pixels * vectors_of(options, iterations) * 12
    return used_memory(_device_of(encoder)) + vectors + at_once * bytes_per_pixel(encoder, layers)


def seconds_per_pixel(encoder: Encoder, layers: Sequence[str]) -> float:
    """Of one evaluation of loss and gradient, measured on a small picture."""
    picture = torch.rand(1, 3, 2 * _PROBE, 2 * _PROBE, device=_device_of(encoder), requires_grad=True)
    times = []
    for _ in range(_TIMES):
        start = time.perf_counter()
        features = encoder(picture, list(layers))
        torch.autograd.grad(sum(found.square().mean() for found in features.values()), picture)[0].sum().item()
        times.append(time.perf_counter() - start)
    return min(times) / picture[0, 0].numel()


def vectors_of(options: OptimizeOptions, iterations: int) -> int:
    """How many copies of the picture an optimization holds at most: the optimizer's, the state's, and passing ones."""
    if options.optimizer == "adam":
        return 12
    return 12 + 2 * min(options.history, iterations)


def _border(layers: Sequence[str]) -> int:
    """What both borders of a tile add to its side."""
    return 2 * (max(reach_of(layer) for layer in layers) + max(stride_of(layer) for layer in layers))


def bytes_per_pixel(encoder: Encoder, layers: Sequence[str]) -> float:
    """What a forward pass keeps for its backward pass, and the content's features, for each pixel of a picture."""
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if not tensor.requires_grad or tensor.grad_fn is not None:  # neither weights nor the picture itself
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    picture = torch.rand(1, 3, _PROBE, _PROBE, device=_device_of(encoder), requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        features = encoder(picture, list(layers))
    weights = {parameter.untyped_storage().data_ptr() for parameter in encoder.parameters()}
    activations = sum(size for pointer, size in kept.items() if pointer not in weights)
    returned = sum(found.numel() * found.element_size() for found in features.values())
    # features come again as the content's targets, as their products' gradients and for a while as differences
    return (activations + 3 * returned) / _PROBE**2


def _device_of(encoder: Encoder) -> torch.device:
    return next(encoder.parameters()).device
