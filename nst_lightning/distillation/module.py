"""Distillation: the LightningModule that trains a small network to imitate a VGG."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import lightning as L
import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from nst_lightning import __version__
from nst_lightning.distillation.made_pictures import OptimizedPictures, StylizedPictures
from nst_lightning.distillation.network import channels_of, check_teacher
from nst_lightning.distillation.paintings import PaintingCrops
from nst_lightning.distillation.students import Student
from nst_lightning.distillation.variations import vary
from nst_lightning.encoders import Encoder, Features
from nst_lightning.encoders.weights import save_half
from nst_lightning.errors import WorkError, naming, require, require_above, require_at_least
from nst_lightning.images import expand_path
from nst_lightning.losses import gram_loss, gram_matrix, normalize_weights
from nst_lightning.metrics import ChannelCorrelation
from nst_lightning.networks.checkpoint import PREFIX, check_state, network_state
from nst_lightning.training.batches import check_batch
from nst_lightning.training.companions import check_trainer, limit_state, restore_accumulation, save_averages
from nst_lightning.training.folder import run_folder
from nst_lightning.training.loading import require_arguments
from nst_lightning.training.schedule import cosine_with_warmup

RECORD = "compact_encoder"
"""Checkpoint entry that marks checkpoints of distillation."""
_OPTIMIZED = "optimized_pictures"
"""Checkpoint entry with the pictures that are being optimized."""


class Distillation(L.LightningModule):
    """Trains a small network to match a teacher's features and Gram matrices (after Wang et al. 2020).

    Batches are photos, RGB in [0, 1], shape (N, 3, H, W). Some photos are replaced by crops of paintings, and many are
    changed (see `vary`), since stylized pictures do not look like photographs. Some can be stylized by a transfer
    network, and some optimized against the network as it learns. Checkpoints hold network and optimizer, not the
    teacher.

    Args:
        teacher: the encoder to learn from, which must offer the layers that the student is compared at.
        student: the kind of network to train: a `NarrowStudent` or a `BottleneckStudent`.
        paintings: folder of paintings to learn from as well; by default none.
        painting_share: share of the photos that are replaced by crops of paintings.
        stylized_with: checkpoint of a transfer network, or the name of one that comes with the package; by default
            none.
        stylized_share: share of the pictures that this network stylizes.
        optimized_share: share of the pictures that are optimized against the network, by a step whenever they are used.
        layer_weights: weights of single layers in the loss; by default 1.
        gram_weight: weight of the loss between Gram matrices; the loss between features has weight 1.
        learning_rate: Adam's highest learning rate; it falls to zero along a cosine over the run.
        warmup_steps: number of steps over which the learning rate rises from zero.
        seed: random seed of crops and variations.

    Raises:
        UserError: a number is out of range, the teacher lacks a layer or doesn't fit the student, the folder has no
            paintings, or `stylized_with` can't be loaded.
    """

    measured: Tensor

    def __init__(
        self,
        teacher: Encoder,
        student: Student,
        paintings: str | None = None,
        painting_share: float = 0.2,
        stylized_with: str | None = None,
        stylized_share: float = 0.3,
        optimized_share: float = 0.0,
        layer_weights: dict[str, float] = {},  # noqa: B006
        gram_weight: float = 0.3,
        learning_rate: float = 1e-2,
        warmup_steps: int = 200,
        seed: int = 0,
    ) -> None:
        super().__init__()
        require_at_least(0, seed=seed, gram_weight=gram_weight, warmup_steps=warmup_steps)
        shares = {"painting_share": painting_share, "stylized_share": stylized_share}
        for name, share in (shares | {"optimized_share": optimized_share}).items():
            require(name, share, 0 <= share <= 1, "from 0 to 1")
        require_above(0, learning_rate=learning_rate)
        self.student, self.network = student, student.build(teacher)
        self.layers = student.compared_layers(self.network)
        self.layer_weights = _normalize_layer_weights(layer_weights, self.layers)
        self.teacher = teacher
        for layer, channels in zip(self.layers, channels_of(teacher, self.layers)):
            self.register_buffer(f"scale_{layer}", torch.ones(channels, 1, 1))
        started = float(student.init_from is not None)  # its features have the teacher's scale
        self.register_buffer("measured", torch.tensor(started))  # a number, so that it can be averaged
        self.metrics = nn.ModuleDict({layer: ChannelCorrelation() for layer in self.layers})
        with naming("paintings"):
            folder = None if paintings is None else expand_path(paintings)
            self.paintings = PaintingCrops(folder, share=painting_share)
        self.optimized = OptimizedPictures(self.paintings, share=optimized_share)
        with naming("stylized_with"):
            given = None if stylized_with is None else StylizedPictures(stylized_with, share=stylized_share)
            self.stylized = given
        self.gram_weight, self.seed = gram_weight, seed
        self.learning_rate, self.warmup_steps = learning_rate, warmup_steps
        self._swapped = False
        limit_state(self, PREFIX, "scale_", "measured")  # checkpoints leave the frozen teacher out
        self.metadata = {"teacher": teacher.description, "version": __version__}

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, **options: Any) -> "Distillation":  # type: ignore[override]
        """Make a module with the weights of a checkpoint, given the teacher and the student.

        Raises:
            UserError: the teacher is missing; the message says what to use instead.
        """
        hint = "for the network alone, use encoders.CompactEncoder or CompressedVGG with the run's .safetensors file"
        require_arguments(cls, options, hint)
        return super().load_from_checkpoint(checkpoint_path, **{"weights_only": True, **options})

    def configure_callbacks(self) -> list[L.Callback]:
        """Refuse callbacks that can't work; add none."""
        check_trainer(self.trainer)
        return []

    def setup(self, stage: str) -> None:
        """Try the teacher at the sizes of the photos."""
        short_side = getattr(getattr(self.trainer, "datamodule", None), "short_side", None)
        if short_side is not None:
            self.try_teacher(short_side)

    def try_teacher(self, short_side: int) -> None:
        """Refuse a teacher whose features don't fit the network's, for photos of a short side, in pixels."""
        check_teacher(self.teacher, self.network, self.layers, short_side=short_side)

    def on_train_start(self) -> None:
        """Prepare a new network; accumulate gradients as the epoch asks for, where a run resumes within it."""
        self._swapped = False  # an earlier run may have failed amid validation
        restore_accumulation(self.trainer)
        if not self.measured and self.student.start(self.network, self.teacher, self._first_batches(), self._total):
            self.measured.fill_(True)

    def training_step(self, photos: Tensor, batch_idx: int) -> Tensor:
        """The loss of a batch of photos, paintings and variations, which are reproducible for each step of a run."""
        if batch_idx == 0:
            check_batch(photos)
        generator, position = self._randomness(batch_idx)
        pictures = self._draw(photos, generator, position)
        pictures = self.optimized.mix_in(pictures, photos, self.network, generator)
        with torch.no_grad():
            targets = self.teacher(pictures, self.layers)
            self._measure_scales(targets)
        losses = self._losses(self.network(pictures, self.layers), targets)
        for name, value in losses.items():
            self.log(f"train/{name}", value.detach(), prog_bar=True, batch_size=len(photos))
        return losses["loss"]

    def _randomness(self, batch_idx: int) -> tuple[torch.Generator, tuple[int, ...]]:
        """A generator for a batch, and the seed that it has from its position in the run."""
        position = (self.seed, self.global_step, self.global_rank, batch_idx)
        seed = int(np.random.default_rng(position).integers(2**63))
        return torch.Generator().manual_seed(seed), position

    def _draw(self, photos: Tensor, generator: torch.Generator, position: tuple[int, ...]) -> Tensor:
        """Pictures of all kinds, made from photos."""
        originals = self.paintings.mix_in(photos.cpu(), generator)
        varied = vary(originals, generator).to(photos.device)
        if self.stylized is None:
            return varied
        return self.stylized.mix_in(varied, originals.to(photos.device), seed=position)

    def _first_batches(self) -> Iterator[Tensor]:
        """The pictures of the run's first batches, from a loader of its own."""
        module = getattr(self.trainer, "datamodule", None)
        loader = self.trainer.train_dataloader if module is None else module.train_dataloader()
        for number, batch in enumerate(cast(Iterable[Any], loader)):
            yield self._draw(self.trainer.strategy.batch_to_device(batch), *self._randomness(number))

    def _total(self, tensor: Tensor) -> Tensor:
        """The sum of a tensor over all processes."""
        if self.trainer.world_size == 1:
            return tensor
        return cast(Tensor, self.trainer.strategy.reduce(tensor.to(self.device), reduce_op="sum")).cpu()

    def validation_step(self, photos: Tensor, batch_idx: int) -> None:
        """Losses on held-out photos, and the correlation of features at each layer."""
        if batch_idx == 0:
            check_batch(photos)
        targets, features = self.teacher(photos, self.layers), self.network(photos, self.layers)
        for name, value in self._losses(features, targets).items():
            self.log(f"val/{name}", value, on_epoch=True, batch_size=len(photos), sync_dist=True)
        for layer in self.layers:
            cast(ChannelCorrelation, self.metrics[layer]).update(features[layer], targets[layer])

    def on_validation_epoch_start(self) -> None:
        """Remember that callbacks have put averaged weights in place."""
        self._swapped = True

    def on_validation_epoch_end(self) -> None:
        """Log the medians over the held-out photos."""
        self._swapped = False
        for layer in self.layers:
            metric = cast(ChannelCorrelation, self.metrics[layer])
            self.log(f"val/correlation_{layer}", metric.compute(), sync_dist=True)
            metric.reset()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam with a linear warm-up and a cosine to zero over the run."""
        optimizer = torch.optim.Adam(self.student.parameter_groups(self.network, self.learning_rate))
        return cosine_with_warmup(self.trainer, optimizer, warmup_steps=self.warmup_steps)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Stop at non-finite gradients, before they reach the network or a checkpoint.

        Raises:
            WorkError: the gradients are not finite.
        """
        gradients = [parameter.grad for parameter in self.network.parameters() if parameter.grad is not None]
        if not torch.nn.utils.get_total_norm(gradients).isfinite():
            raise WorkError(
                f"the gradients of step {self.global_step} are not finite; resume from the run's last.ckpt with a "
                "lower learning rate or in 32-bit precision"
            )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the teacher's description, and the pictures that are being optimized."""
        save_averages(self.trainer, self, checkpoint, swapped=self._swapped)
        checkpoint[RECORD] = self.metadata
        checkpoint[_OPTIMIZED] = {name: value.cpu() for name, value in self.optimized.state.items()}

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Refuse a checkpoint of a different network, and warn if it had a different teacher."""
        if self._trainer is not None and not self.trainer.optimizers:  # Lightning's BatchSizeFinder loads a state later
            check_trainer(self.trainer, resumes=True)
        check_state(network_state(checkpoint), self.network, "ckpt_path")
        if self.global_rank == 0:
            self.optimized.state = dict(checkpoint.get(_OPTIMIZED, {}))
        before, now = checkpoint[RECORD]["teacher"], self.metadata["teacher"]
        if before != now:
            rank_zero_warn(f"the checkpoint was trained with the teacher {before}; training continues with {now}")

    def on_fit_end(self) -> None:
        """Write the weights to the student's file in the run's folder."""
        path = run_folder(self.trainer) / self.student.filename
        if self.trainer.is_global_zero:
            metadata = {**self.metadata, "steps": str(self.global_step)}
            save_half(self.export().state_dict(), path, metadata)
            rank_zero_info(f"encoder: {path}")

    def export(self) -> nn.Module:
        """The module whose weights are written, with features in the teacher's units."""
        return self.student.export(self.network, {layer: self._scale(layer) for layer in self.layers})

    def _losses(self, features: Features, targets: Features) -> dict[str, Tensor]:
        """Squared differences of features, in units of each channel's scale, and of Gram matrices.

        Scales are 1 if the student has the teacher's units from the start. Both losses are relative to the target's
        energy in each picture. Otherwise noise, to which VGG-19 responds ten times as strongly as to photographs, would
        outweigh these.
        """
        feature = gram = next(iter(targets.values())).new_zeros((), dtype=torch.float32)
        for layer, target in targets.items():
            scale = self._scale(layer)
            scaled = target / scale
            squares = (features[layer].float() - scaled).square().mean((1, 2, 3))
            relative = (squares / (scaled.square().mean((1, 2, 3)) + 0.05)).mean()
            feature = feature + self.layer_weights[layer] * relative
            distance = gram_loss(gram_matrix(scale * features[layer]), gram_matrix(target)).mean()
            gram = gram + self.layer_weights[layer] * distance
        return {"loss": feature + self.gram_weight * gram, "feature": feature, "gram": gram}

    def _scale(self, layer: str) -> Tensor:
        return self.get_buffer(f"scale_{layer}")

    def _measure_scales(self, targets: Features) -> None:
        """Measure the RMS of the teacher's channels in the first step: at least a tenth of the overall RMS."""
        if self.measured:
            return
        self.measured.fill_(True)
        for layer, target in targets.items():
            energy = self.trainer.strategy.reduce(target.float().square().mean((0, 2, 3)), reduce_op="mean")
            self._scale(layer).copy_(energy.clamp_min(0.01 * energy.mean()).sqrt().view(-1, 1, 1))


def _normalize_layer_weights(weights: Mapping[str, float], layers: Sequence[str]) -> dict[str, float]:
    """Weights of all layers, divided by their sum; layers without a weight count as 1."""
    good = set(weights) <= set(layers) and all(weight > 0 for weight in weights.values())
    require("layer_weights", dict(weights), good, f"numbers > 0 for some of {', '.join(layers)}")
    return normalize_weights("layer_weights", {layer: weights.get(layer, 1) for layer in layers})
