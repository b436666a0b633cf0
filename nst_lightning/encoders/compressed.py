"""The default encoder: VGG-19's exact first layers, and the deeper ones of VGG-16, compressed."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from nst_lightning.encoders.base import Encoder, Features, Pooling, run_convolutions
from nst_lightning.encoders.vgg import VGG19
from nst_lightning.encoders.weights import BUNDLED, advise, checked_tensor, read_tensors, weights_path

BUNDLED_FILE = Path(__file__).parent / "vgg16_deep_layers.safetensors"
CHANNELS = {
    "conv3_2": (256, 256),
    "conv3_3": (256, 256),
    "conv4_1": (256, 512),
    "conv4_2": (512, 512),
    "conv4_3": (512, 512),
    "conv5_1": (512, 512),
}
"""VGG-16's convolutions from relu3_1 to relu5_1, with their numbers of channels before and after."""
Ranks = Mapping[str, tuple[int, int]]
_ARGUMENT = "CompressedVGG weights"


class Bottleneck(nn.Sequential):
    """A 3x3 convolution in fewer channels, between two 1x1 convolutions (Tucker-2; Kim et al. 2016).

    Args:
        before: number of channels of the input.
        after: number of channels of the output.
        ranks: numbers of channels before and after the 3x3 convolution.
    """

    def __init__(self, before: int, after: int, ranks: tuple[int, int]) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(before, ranks[0], 1, bias=False)
        self.conv = nn.Conv2d(ranks[0], ranks[1], 3, padding=1, bias=False)
        self.expand = nn.Conv2d(ranks[1], after, 1)


class BottleneckVGG(nn.Module):
    """VGG-19 to relu3_1, exact and frozen, continued by a VGG-16 whose convolutions are bottlenecks.

    Args:
        ranks: the ranks of each bottleneck, by the names of the convolutions that they replace, see `CHANNELS`.
        pooling: `max`, `average` or `l2`, see `VGG19`.
    """

    def __init__(self, ranks: Ranks, *, pooling: Pooling = "max") -> None:
        super().__init__()
        self.pooling: Pooling = pooling
        self.first = VGG19(BUNDLED, pooling)
        self.deep = nn.ModuleDict({name: Bottleneck(*CHANNELS[name], ranks[name]) for name in CHANNELS})
        self.deep.to(memory_format=torch.channels_last)

    @property
    def layers(self) -> tuple[str, ...]:
        """The first layers of the blocks, which losses usually compare: relu1_1, relu2_1, ...."""
        return tuple(f"relu{block}_1" for block in range(1, 6))

    def forward(self, pictures: Tensor, layers: Sequence[str]) -> Features:
        """Features of RGB pictures in [0, 1], shape (N, 3, H, W), at any layers to relu5_1."""
        convolutions = {**dict(self.first.convolutions.items()), **dict(self.deep.items())}
        return run_convolutions(convolutions, self.first.normalize(pictures), layers, self.pooling)


class CompressedVGG(Encoder):
    """VGG-19's exact layers to relu3_1, and relu4_1 and relu5_1 as VGG-16 has them, with a fifth of its weights.

    From relu3_1 on, each convolution is a bottleneck, after Kim et al. (Compression of Deep Convolutional Neural
    Networks for Fast and Low Power Mobile Applications, 2016), and all of them were trained to imitate VGG-16's exact
    features. It needs no download.

    Args:
        weights: weights of the deep layers: `bundled`, for those that come with the package, or a .safetensors or .pth
            file with `conv3_2.reduce.weight` ..., such as `distill` writes.
        pooling: `max` as in VGG's training, `average` or `l2`, see `VGG19`.

    Raises:
        UserError: the file is missing or damaged, or a tensor is missing or of the wrong shape.
    """

    def __init__(self, weights: str = BUNDLED, pooling: Pooling = "max") -> None:
        path = weights_path(weights, BUNDLED_FILE, argument=_ARGUMENT)
        network = _load(path, pooling)
        description = f"CompressedVGG ({BUNDLED if weights == BUNDLED else path.name})"
        super().__init__([*network.first.layers, "relu4_1", "relu5_1"], description)
        self.network = network
        self.requires_grad_(False).eval()

    def forward(self, pictures: Tensor, layers: Sequence[str]) -> Features:
        """Features of RGB pictures in [0, 1], shape (N, 3, H, W), at the requested layers."""
        self._check(pictures, layers)
        return self.network(pictures, layers)


def _load(path: Path, pooling: Pooling) -> BottleneckVGG:
    """The network that a file's tensors describe, loaded with them."""
    advice = advise(path, BUNDLED_FILE)
    tensors, _ = read_tensors(path, argument=_ARGUMENT, advice=advice)

    def tensor(key: str, shape: tuple[int | str, ...]) -> Tensor:
        return checked_tensor(tensors, key, shape, path=path, argument=_ARGUMENT, advice=advice)

    cores = {name: tensor(f"{name}.conv.weight", ("any", "any", 3, 3)) for name in CHANNELS}
    network = BottleneckVGG({name: (core.shape[1], core.shape[0]) for name, core in cores.items()}, pooling=pooling)
    state = {key: tensor(key, tuple(value.shape)) for key, value in network.deep.state_dict().items()}
    network.deep.load_state_dict(state)
    return network
