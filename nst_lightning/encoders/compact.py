"""The compact encoder: a narrow VGG-19 whose trained weights come with the package."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nst_lightning.encoders.base import Encoder, Features, Pooling, run_convolutions
from nst_lightning.encoders.weights import (
    BUNDLED,
    VGG19_BLOCKS,
    VGG_CHANNELS,
    advise,
    checked_tensor,
    read_tensors,
    weights_path,
)

BUNDLED_FILE = Path(__file__).parent / "compact_encoder.safetensors"
WIDTHS = tuple(channels // 4 for channels in VGG_CHANNELS)
_ARGUMENT = "CompactEncoder weights"


class NarrowVGG(nn.ModuleDict):
    """VGG-19 with fewer channels, whose first layer in each block is embedded in VGG-19's number of channels.

    It takes RGB in [0, 1] and has 3x3 convolutions padded by reflection, ReLUs, and 2x2 pooling after each block. The
    embeddings are 1x1 convolutions with ReLUs. The modules are named `conv1_1`, ... and `embed1_1`, ....

    Args:
        widths: number of channels of each block; the last block has its first convolution only.
        channels: number of channels in which each block's first layer is embedded; as many numbers as in `widths`, or
            more.
        pooling: `max`, `average` or `l2`, see `VGG19`.
    """

    def __init__(
        self,
        widths: Sequence[int] = WIDTHS,
        channels: Sequence[int] = VGG_CHANNELS,
        *,
        pooling: Pooling = "max",
    ) -> None:
        super().__init__()
        self.pooling: Pooling = pooling
        before = 3
        for block, (width, embedded) in enumerate(zip(widths, channels), 1):
            for i in range(1, (VGG19_BLOCKS[block - 1] if block < len(widths) else 1) + 1):
                self[f"conv{block}_{i}"] = nn.Conv2d(before, width, 3, padding=1, padding_mode="reflect")
                before = width
            self[f"embed{block}_1"] = nn.Conv2d(width, embedded, 1)
        self.to(memory_format=torch.channels_last)

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers that have an embedding: relu1_1, relu2_1, ...."""
        return tuple("relu" + name[5:] for name in self if name.startswith("embed"))

    def forward(self, pictures: Tensor, layers: Sequence[str]) -> Features:
        """Features of RGB pictures in [0, 1], shape (N, 3, H, W), embedded in VGG-19's channels."""
        convolutions = {name: module for name, module in self.items() if name.startswith("conv")}
        narrow = run_convolutions(convolutions, pictures, layers, self.pooling)
        return {layer: F.relu_(self["embed" + layer[4:]](narrow[layer])) for layer in layers}


class CompactEncoder(Encoder):
    """A narrow VGG-19 with embeddings in VGG-19's channels: it needs no download, and is several times as fast.

    It offers relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1. It was distilled from VGG-19 after Wang et al.
    (Collaborative Distillation for Ultra-Resolution Universal Style Transfer, 2020), whose published weights it can
    load, too.

    Args:
        weights: `bundled`, for those that come with the package, or a .safetensors or .pth file with
            `conv1_1.weight` ... and `embed1_1.weight` ..., such as `distill` writes.
        pooling: `max` as in the distillation, `average` or `l2`, see `VGG19`.

    Raises:
        UserError: the file is missing or damaged, or a tensor is missing or of the wrong shape.
    """

    def __init__(self, weights: str = BUNDLED, pooling: Pooling = "max") -> None:
        path = weights_path(weights, BUNDLED_FILE, argument=_ARGUMENT)
        tensors, _ = read_tensors(path, argument=_ARGUMENT, advice=advise(path, BUNDLED_FILE))
        network = _network_for(tensors, path)
        network.pooling = pooling
        super().__init__(
            network.layers, f"CompactEncoder ({BUNDLED if weights == BUNDLED else path.name})", reflects=True
        )
        self.network = network
        self.requires_grad_(False).eval()

    def forward(self, pictures: Tensor, layers: Sequence[str]) -> Features:
        """Features of RGB pictures in [0, 1], shape (N, 3, H, W), embedded in VGG-19's channels."""
        self._check(pictures, layers)
        return self.network(pictures, layers)


def _network_for(tensors: Mapping[str, Tensor], path: Path) -> NarrowVGG:
    """The network that a file's tensors describe, loaded with them."""
    blocks = [n for n in range(1, 6) if any(key.startswith((f"conv{n}_", f"embed{n}_")) for key in tensors)] or [1]
    shapes = {"conv": ("any", "any", 3, 3), "embed": ("any", "any", 1, 1)}
    first, embedded = (
        [_tensor(tensors, f"{kind}{block}_1.weight", shape, path) for block in range(1, blocks[-1] + 1)]
        for kind, shape in shapes.items()
    )
    network = NarrowVGG([len(weight) for weight in first], [len(weight) for weight in embedded])
    state = {key: _tensor(tensors, key, tuple(value.shape), path) for key, value in network.state_dict().items()}
    network.load_state_dict(state)
    return network


def _tensor(tensors: Mapping[str, Tensor], key: str, shape: tuple[int | str, ...], path: Path) -> Tensor:
    return checked_tensor(tensors, key, shape, path=path, argument=_ARGUMENT, advice=advise(path, BUNDLED_FILE))
