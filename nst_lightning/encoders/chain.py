"""Several encoders combined into one."""

from collections.abc import Sequence

from torch import Tensor, nn

from nst_lightning.encoders.base import ALL_LAYERS, Encoder, Features, Pooling
from nst_lightning.encoders.compact import CompactEncoder
from nst_lightning.encoders.compressed import CompressedVGG
from nst_lightning.encoders.vgg import VGG19
from nst_lightning.encoders.weights import BUNDLED
from nst_lightning.errors import UserError, naming


class EncoderChain(Encoder):
    """Several encoders combined into one: each layer comes from the first encoder that offers it.

    Args:
        encoders: the encoders in order of preference, for example VGG-19's first blocks and a compact encoder for the
            deep layers.

    Raises:
        UserError: there are no encoders.
    """

    def __init__(self, encoders: list[Encoder]) -> None:
        if not encoders:
            raise UserError("encoders: a chain needs at least one encoder")
        offered = {layer for encoder in encoders for layer in encoder.layers}
        super().__init__(
            [layer for layer in ALL_LAYERS if layer in offered], " + ".join(encoder.description for encoder in encoders)
        )
        self.encoders = nn.ModuleList(encoders)

    def forward(self, pictures: Tensor, layers: Sequence[str]) -> Features:
        """Features of RGB pictures in [0, 1], shape (N, 3, H, W), at the requested layers."""
        self.require(layers)
        found: Features = {}
        for encoder in self._members():
            own = [layer for layer in layers if layer in encoder.layers and layer not in found]
            if own:
                found |= encoder(pictures, own)
        return {layer: found[layer] for layer in layers}

    def minimum_size(self, layer: str) -> int:
        """The shortest side in pixels of a picture that still has features at `layer`."""
        return next(encoder.minimum_size(layer) for encoder in self._members() if layer in encoder.layers)

    def _members(self) -> list[Encoder]:
        return [encoder for encoder in self.encoders if isinstance(encoder, Encoder)]


def build_encoder(vgg19: str | None = BUNDLED, compact: str | None = BUNDLED, *, pooling: Pooling = "max") -> Encoder:
    """The encoder whose features losses compare: by default a `CompressedVGG`.

    Args:
        vgg19: `bundled`, for a `CompressedVGG`; other weights of `VGG19` are chained with a compact encoder.
        compact: weights of `CompactEncoder`, for layers that `vgg19` lacks; a file takes the place of the bundled deep
            layers, too.
        pooling: pooling of all of them, see `VGG19`.

    Raises:
        UserError: weights can't be loaded, or both are None.
    """
    if vgg19 == BUNDLED and compact in (BUNDLED, None):
        return CompressedVGG(pooling=pooling)
    return chain_encoders(vgg19, compact, pooling=pooling)


def chain_encoders(
    vgg19: str | None = BUNDLED, compact: str | None = BUNDLED, *, pooling: Pooling = "max"
) -> EncoderChain:
    """Chain VGG-19, as far as its weights go, and a compact encoder for the other layers; `None` leaves either out.

    Args:
        vgg19: weights of `VGG19`.
        compact: weights of `CompactEncoder`.
        pooling: pooling of both, see `VGG19`.

    Raises:
        UserError: weights can't be loaded, or both are None.
    """
    encoders: list[Encoder] = []
    if vgg19 is not None:
        with naming("vgg19"):
            encoders.append(VGG19(vgg19, pooling))
    if compact is not None:
        with naming("compact"):
            encoders.append(CompactEncoder(compact, pooling))
    if not encoders:
        raise UserError("vgg19 or compact must be given, got null for both")
    return EncoderChain(encoders)
