"""How much memory an optimization takes, foretold, and how large its tiles may be."""

from collections.abc import Sequence

import psutil
import torch

from nst_lightning.optimization.options import OptimizeOptions
from nst_lightning.perception import Encoder
from nst_lightning.perception.encoders import reach_of, stride_of

GB = 1e9
LEAST_TILE = 256
_PROBE = 128


def free_memory(device: str) -> float:
    """Bytes that are free on a device."""
    if torch.device(device).type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    return float(psutil.virtual_memory().available)


def tile_side(
    pixels: int, encoder: Encoder, layers: Sequence[str], options: OptimizeOptions, iterations: int, limit: float
) -> int | None:
    """The side of the largest tiles with which a level stays within a limit; None where it needs no tiles.

    Args:
        pixels: of the level's picture.
        encoder: whose features are compared.
        layers: those that it is asked for.
        options: the optimizer, whose vectors are as large as the picture.
        iterations: of the level: L-BFGS remembers no more steps than it has made.
        limit: in bytes.

    Raises:
        ValueError: the optimizer alone needs more; the message says which size would fit.
    """
    per_pixel = bytes_per_pixel(encoder, layers)
    vectors = vectors_of(options, iterations) * 3 * 4
    if pixels * (vectors + per_pixel) <= limit:
        return None
    border = 2 * (max(reach_of(layer) for layer in layers) + max(stride_of(layer) for layer in layers))
    side = int(max(0.0, (limit - pixels * vectors) / per_pixel) ** 0.5) - border
    if side < LEAST_TILE:
        fits = max(0, int((limit - (LEAST_TILE + border) ** 2 * per_pixel) / vectors))
        raise ValueError(
            f"max_memory: {limit / GB:.1f} GB is not allowed for a picture of {pixels / 1e6:.1f} megapixels; "
            f"it must be {(pixels * vectors + (LEAST_TILE + border) ** 2 * per_pixel) / GB:.1f} GB or more, "
            f"or the picture {fits / 1e6:.1f} megapixels or less"
        )
    return side


def vectors_of(options: OptimizeOptions, iterations: int) -> int:
    """How many copies of the picture an optimization holds at most: the optimizer's, the state's, and passing ones."""
    if options.optimizer == "adam":
        return 12
    return 12 + 2 * min(options.history, iterations)


def bytes_per_pixel(encoder: Encoder, layers: Sequence[str]) -> float:
    """What a forward pass keeps for its backward pass, and the content's features, for each pixel of a picture."""
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if not tensor.requires_grad or tensor.grad_fn is not None:  # neither weights nor the picture itself
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    device = next(encoder.parameters()).device
    picture = torch.rand(1, 3, _PROBE, _PROBE, device=device, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        features = encoder(picture, list(layers))
    weights = {parameter.untyped_storage().data_ptr() for parameter in encoder.parameters()}
    activations = sum(size for pointer, size in kept.items() if pointer not in weights)
    returned = sum(found.numel() * found.element_size() for found in features.values())
    # features come again as the content's targets, as their products' gradients and for a while as differences
    return (activations + 3 * returned) / _PROBE**2
