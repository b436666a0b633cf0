"""The network in distillation: a narrow VGG with batch norms, which are folded into the convolutions at the end."""

import copy
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from nst_lightning.encoders import CompactEncoder, Encoder
from nst_lightning.encoders.compact import NarrowVGG
from nst_lightning.errors import UserError
from nst_lightning.metrics import STYLE_LAYERS


def new_narrow_vgg(widths: Sequence[int], teacher: Encoder) -> NarrowVGG:
    """A network with random weights and batch norms (Ioffe et al. 2015), without which many channels die early.

    The first layer begins almost linear, so its ReLUs cut off little. VGG-19's first 64 filters are close to a linear
    map of rank 8 of each pixel's neighborhood; 16 units that each cut off half of their values would approach such a
    map only slowly.

    Raises:
        UserError: the teacher lacks the first layer of a block.
    """
    layers = STYLE_LAYERS[: len(widths)]
    teacher.require(layers)
    network = NarrowVGG(widths, channels_of(teacher, layers))
    for name, module in network.items():
        convolution = cast(nn.Conv2d, module)
        nn.init.kaiming_normal_(convolution.weight)
        norm = nn.BatchNorm2d(convolution.out_channels, momentum=0.02)
        nn.init.constant_(norm.weight, 0.7)
        nn.init.constant_(norm.bias, 2.0 if name == "conv1_1" else 0.5 if name.startswith("embed") else 0.2)
        network[name] = nn.Sequential(convolution, norm)
    return network


def load_narrow_vgg(path: str, teacher: Encoder) -> NarrowVGG:
    """Load the network of a compact encoder, to train it further.

    Raises:
        UserError: the file is not a compact encoder, or its features have another number of channels than the
            teacher's.
    """
    network = CompactEncoder(path).network.requires_grad_()
    teacher.require(network.layers)
    own = [cast(nn.Conv2d, network["embed" + layer[4:]]).out_channels for layer in network.layers]
    expected = channels_of(teacher, network.layers)
    if own != expected:
        raise UserError.about("init_from", f"{path} has features of {own} channels; the teacher has {expected}")
    return network


def check_teacher(teacher: Encoder, network: nn.Module, layers: Sequence[str], *, short_side: int) -> None:
    """Refuse a teacher whose features are not those of VGG-19 in shape or kind, at the sizes of a run's photos.

    Args:
        teacher: the encoder to learn from.
        network: the network that learns.
        layers: the layers that are compared.
        short_side: short side of the photos in pixels.

    Raises:
        UserError: the features of a layer differ in size, or are not finite numbers of 32 bits.
    """
    network = copy.deepcopy(network).eval()
    for width in (short_side, short_side + short_side // 3 | 1):  # crops in training, whole photos in validation
        pictures = torch.rand((1, 3, short_side, width), generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            targets, features = teacher(pictures, layers), network(pictures, layers)
        for layer, expected in features.items():
            shape, found = tuple(expected.shape), targets[layer]
            good = tuple(found.shape) == shape and found.dtype == torch.float32 and bool(found.isfinite().all())
            if not good:
                raise UserError.about(
                    "teacher",
                    f"{type(teacher).__name__} must return finite float32 features of shape {shape} at {layer} for a "
                    f"picture of {width}x{short_side}, got {found.dtype} of shape {tuple(found.shape)}",
                )


def freeze_blocks(network: NarrowVGG, block: int) -> None:
    """Freeze the convolutions and embeddings on which the first layers of the blocks up to `block` depend."""
    firsts = (f"conv{block}_1", f"embed{block}_1")
    for name, module in network.items():
        own_block = int(name.removeprefix("conv").removeprefix("embed")[0])
        if name in firsts or own_block < block:
            module.requires_grad_(False)


def fold_norms(network: NarrowVGG, scales: Mapping[str, Tensor]) -> NarrowVGG:
    """A copy of a network with the norms folded into the convolutions, and the features of each layer scaled.

    Args:
        network: the network in training.
        scales: factors for each channel of a layer, shape (C, 1, 1).
    """
    copied = copy.deepcopy(network).eval()
    with torch.no_grad():
        for name, module in copied.items():
            if isinstance(module, nn.Sequential):
                copied[name] = fuse_conv_bn_eval(*module)
            scale = scales.get("relu" + name[5:]) if name.startswith("embed") else None
            if scale is not None:
                embedding = cast(nn.Conv2d, copied[name])
                embedding.weight.mul_(scale[..., None])
                cast(Tensor, embedding.bias).mul_(scale.flatten())
    return copied


def channels_of(encoder: Encoder, layers: Sequence[str]) -> list[int]:
    """The number of channels that an encoder has at each of the layers."""
    with torch.no_grad():
        features = encoder(torch.zeros(1, 3, 64, 64), layers)
    return [found.shape[1] for found in features.values()]
