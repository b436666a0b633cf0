"""The networks that distillation can train, each with the layers that it is compared at and the file it becomes."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, cast

from torch import Tensor, nn

from nst_lightning.distillation.least_squares import fit_bottlenecks
from nst_lightning.distillation.network import fold_norms, freeze_blocks, load_narrow_vgg, new_narrow_vgg
from nst_lightning.encoders import CompressedVGG, Encoder
from nst_lightning.encoders.compact import WIDTHS, NarrowVGG
from nst_lightning.encoders.compressed import CHANNELS, BottleneckVGG
from nst_lightning.errors import require
from nst_lightning.metrics import JUDGE_LAYERS, STYLE_LAYERS

RANKS = {
    "conv3_2": [104, 104],
    "conv3_3": [104, 104],
    "conv4_1": [128, 176],
    "conv4_2": [160, 160],
    "conv4_3": [160, 160],
    "conv5_1": [176, 176],
}
"""Ranks with which the file of a `BottleneckVGG` has 3.8 MB."""
COMPARED = ("relu3_2", "relu4_1", "relu4_2", "relu5_1")
"""The two layers that `CompressedVGG` offers, and hints, none of which a judge compares."""
BIAS_RATE = 200
"""Learning rate of biases relative to that of weights: they have the size of features, about 10, and weights 0.04."""


class Student(ABC):
    """A kind of network that can learn from a teacher.

    Args:
        filename: name of the file with the weights, in the run's folder.
        init_from: a file of weights to train further, in place of new ones.
    """

    def __init__(self, filename: str, init_from: str | None) -> None:
        self.filename, self.init_from = filename, init_from

    @abstractmethod
    def build(self, teacher: Encoder) -> nn.Module:
        """The network to train, whose `layers` losses may compare.

        Raises:
            UserError: `init_from` can't be loaded or doesn't fit the teacher, or the teacher lacks a layer.
        """

    @abstractmethod
    def compared_layers(self, network: nn.Module) -> tuple[str, ...]:
        """The layers at which the network is compared with the teacher."""

    def start(
        self, network: nn.Module, teacher: Encoder, batches: Iterable[Tensor], total: Callable[[Tensor], Tensor]
    ) -> bool:
        """Prepare a new network for training.

        Args:
            network: the network.
            teacher: the teacher.
            batches: pictures, RGB in [0, 1], each batch of shape (N, 3, H, W), as many as are taken.
            total: the sum of a tensor over all processes.

        Returns:
            Whether its features are in the teacher's units from now on; otherwise in units of each channel's energy.
        """
        return False

    def parameter_groups(self, network: nn.Module, learning_rate: float) -> list[dict[str, Any]]:
        """The parameters to train, in groups with their learning rates, as optimizers of torch take them."""
        return [{"params": [p for p in network.parameters() if p.requires_grad], "lr": learning_rate}]

    @abstractmethod
    def export(self, network: nn.Module, scales: Mapping[str, Tensor]) -> nn.Module:
        """The module whose weights are written to the file, given the units of the network's layers."""


class NarrowStudent(Student):
    """A `NarrowVGG`, for `CompactEncoder`; its teacher needs the first layer of each block.

    Args:
        widths: number of channels of each block; by default a quarter of VGG-19's.
        init_from: file of a compact encoder to train further, in place of random weights. Its own widths are used.
        frozen: number of blocks whose first layers are not trained: 3 keeps relu1_1, relu2_1 and relu3_1 as they are.

    Raises:
        UserError: a number is out of range.
    """

    def __init__(
        self,
        widths: list[int] = list(WIDTHS),  # noqa: B006 - shown in --help
        init_from: str | None = None,
        frozen: int = 0,
    ) -> None:
        super().__init__("compact_encoder.safetensors", init_from)
        require("widths", widths, 1 <= len(widths) <= 5 and min(widths) >= 1, "one to five numbers >= 1")
        require("frozen", frozen, frozen >= 0, ">= 0")
        require("frozen", frozen, not frozen or init_from is not None, "0 without init_from")
        self.widths, self.frozen = widths, frozen

    def build(self, teacher: Encoder) -> nn.Module:
        """A network with random weights or those of `init_from`, the first blocks frozen."""
        path = self.init_from
        network = new_narrow_vgg(self.widths, teacher) if path is None else load_narrow_vgg(path, teacher)
        require("frozen", self.frozen, self.frozen < len(network.layers), "less than the number of blocks")
        freeze_blocks(network, self.frozen)
        return network

    def compared_layers(self, network: nn.Module) -> tuple[str, ...]:
        """The first layers of the blocks that are not frozen."""
        return tuple(layer for layer in STYLE_LAYERS if layer in cast(NarrowVGG, network).layers)[self.frozen :]

    def export(self, network: nn.Module, scales: Mapping[str, Tensor]) -> nn.Module:
        """A copy with norms folded into the convolutions, and features in the teacher's units."""
        return fold_norms(cast(NarrowVGG, network), scales)


class BottleneckStudent(Student):
    """A `BottleneckVGG`, for `CompressedVGG`; its teacher is `VGG16`.

    Args:
        ranks: for each convolution, numbers of channels before and after the 3x3 convolution of its bottleneck.
        init_from: file of a `CompressedVGG` to train further, or `bundled`; its own ranks are used. Without, training
            starts from the least squares fit to the teacher's features, convolution by convolution.
        start_batches: number of batches for this fit.

    Raises:
        UserError: the ranks are not two numbers for each of the convolutions, within their numbers of channels.
    """

    def __init__(
        self,
        ranks: dict[str, list[int]] = RANKS,
        init_from: str | None = None,
        start_batches: int = 40,
    ) -> None:
        super().__init__("vgg16_deep_layers.safetensors", init_from)
        require("start_batches", start_batches, start_batches >= 1, ">= 1")
        for name in [*CHANNELS, *ranks]:
            found, limits = ranks.get(name, []), CHANNELS.get(name, ())
            good = len(found) == len(limits) and all(1 <= n <= limit for n, limit in zip(found, limits))
            allowed = f"two numbers >= 1 for each of {', '.join(CHANNELS)}, at most their numbers of channels"
            require("ranks", {name: found}, good, allowed)
        self.ranks, self.start_batches = {name: (first, last) for name, (first, last) in ranks.items()}, start_batches

    def build(self, teacher: Encoder) -> nn.Module:
        """A network with random weights or those of `init_from`, of which only the bottlenecks are trained."""
        teacher.require([*COMPARED, *CHANNELS])
        network = BottleneckVGG(self.ranks) if self.init_from is None else CompressedVGG(self.init_from).network
        network.deep.requires_grad_()
        return network

    def compared_layers(self, network: nn.Module) -> tuple[str, ...]:
        """The two layers that `CompressedVGG` offers, and the hints."""
        return COMPARED

    def start(
        self, network: nn.Module, teacher: Encoder, batches: Iterable[Tensor], total: Callable[[Tensor], Tensor]
    ) -> bool:
        """Fit the bottlenecks by least squares."""
        unseen = {"conv" + layer[4:] for layer in JUDGE_LAYERS.names}
        first = [*islice(batches, self.start_batches)]
        fit_bottlenecks(cast(BottleneckVGG, network), teacher, first, total, unseen=unseen)
        return True

    def parameter_groups(self, network: nn.Module, learning_rate: float) -> list[dict[str, Any]]:
        """Weights, and biases, whose learning rate is higher."""
        trained = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
        biases = [p for name, p in trained if name.endswith("bias")]
        weights = [p for name, p in trained if not name.endswith("bias")]
        return [{"params": weights, "lr": learning_rate}, {"params": biases, "lr": BIAS_RATE * learning_rate}]

    def export(self, network: nn.Module, scales: Mapping[str, Tensor]) -> nn.Module:
        """The bottlenecks alone: VGG-19's first layers have a file of their own."""
        return cast(BottleneckVGG, network).deep
