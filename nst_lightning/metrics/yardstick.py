"""The encoder that quality figures are measured with."""

from nst_lightning.encoders import Encoder, chain_encoders
from nst_lightning.encoders.weights import BUNDLED
from nst_lightning.metrics.distances import STYLE_LAYERS


def build_yardstick(vgg19: str | None = BUNDLED, compact: str | None = BUNDLED) -> Encoder:
    """The encoder for quality figures: by default VGG-19's bundled layers, and the compact encoder's deep ones.

    It is not the one that losses compare by default, so that figures stay comparable whatever losses use, and pictures
    are not measured by the encoder that they were made with.

    Args:
        vgg19: weights of `VGG19`; None for none.
        compact: weights of `CompactEncoder` for layers that `vgg19` lacks; None for none.

    Raises:
        UserError: weights can't be loaded, or lack a layer that the figures need.
    """
    encoder = chain_encoders(vgg19, compact)
    encoder.require(STYLE_LAYERS)
    return encoder
