"""The network in distillation: a narrow VGG, with batch norms until they are folded into its convolutions."""

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from nst_lightning.encoders import CompactEncoder, Encoder
from nst_lightning.encoders.compact import NarrowVGG
from nst_lightning.errors import UserError
from nst_lightning.metrics import STYLE_LAYERS


def new_network(widths: Sequence[int], teacher: Encoder) -> NarrowVGG:
    """A network of random weights, with batch norms (Ioffe et al. 2015), without which many of its channels die early.

    The first layer begins almost linear, so that few of its ReLUs cut anything off: VGG-19's 64 first filters are near
    a linear map of rank 8 of the picture's neighborhoods, which 16 units that all cut off half of it would approach
    only slowly.

    Raises:
        UserError: the teacher lacks the first layer of a block.
    """
    layers = STYLE_LAYERS[: len(widths)]
    teacher.require(layers)
    network = NarrowVGG(widths, channels_of(teacher, layers))
    for name, convolution in network.items():
        nn.init.kaiming_normal_(convolution.weight)
        norm = nn.BatchNorm2d(convolution.out_channels, momentum=0.02)
        nn.init.constant_(norm.weight, 0.7)
        nn.init.constant_(norm.bias, 2.0 if name == "conv1_1" else 0.5 if name.startswith("embed") else 0.2)
        network[name] = nn.Sequential(convolution, norm)
    return network


def loaded_network(path: str, teacher: Encoder) -> NarrowVGG:
    """The network of a compact encoder's file, to be trained further.

    Raises:
        UserError: the file is no compact encoder's, or its features have other channels than the teacher's.
    """
    network = CompactEncoder(path).network.requires_grad_()
    teacher.require(network.layers)
    own = [network["embed" + layer[4:]].out_channels for layer in network.layers]
    expected = channels_of(teacher, network.layers)
    if own != expected:
        raise UserError.about("init_from", f"{path} embeds in {own} channels; the teacher has {expected}")
    return network


def freeze_blocks(network: NarrowVGG, block: int) -> None:
    """Freeze the convolutions and embeddings that relu1_1 to the block's first layer depend on."""
    firsts = (f"conv{block}_1", f"embed{block}_1")
    for name, module in network.items():
        of_block = int(name.removeprefix("conv").removeprefix("embed")[0])
        if name in firsts or of_block < block:
            module.requires_grad_(False)


def folded(network: NarrowVGG, scales: Mapping[str, Tensor]) -> NarrowVGG:
    """A copy with the norms folded into the convolutions, and the features of each layer scaled.

    Args:
        network: in training.
        scales: by which each channel of a layer is multiplied, shape (C, 1, 1).
    """
    copied = copy.deepcopy(network).eval()
    with torch.no_grad():
        for name, module in copied.items():
            if isinstance(module, nn.Sequential):
                copied[name] = fuse_conv_bn_eval(*module)
            scale = scales.get("relu" + name[5:]) if name.startswith("embed") else None
            if scale is not None:
                copied[name].weight.mul_(scale[..., None])
                copied[name].bias.mul_(scale.flatten())
    return copied


def channels_of(encoder: Encoder, layers: Sequence[str]) -> list[int]:
    """How many channels an encoder has at each of the layers."""
    with torch.no_grad():
        features = encoder(torch.zeros(1, 3, 64, 64), layers)
    return [found.shape[1] for found in features.values()]
