"""Encoders: frozen networks whose features describe how a picture looks. Layers have the usual names, as `relu4_1`."""

import nst_lightning.needs_train  # noqa: F401
from nst_lightning.encoders.base import Encoder, Features, Pooling
from nst_lightning.encoders.chain import EncoderChain, build_encoder, chain_encoders
from nst_lightning.encoders.compact import CompactEncoder
from nst_lightning.encoders.compressed import CompressedVGG
from nst_lightning.encoders.tensors import image_to_tensor, resize_tensor
from nst_lightning.encoders.vgg import VGG16, VGG19

__all__ = [
    "VGG16",
    "VGG19",
    "CompactEncoder",
    "CompressedVGG",
    "Encoder",
    "EncoderChain",
    "Features",
    "Pooling",
    "build_encoder",
    "chain_encoders",
    "image_to_tensor",
    "resize_tensor",
]
