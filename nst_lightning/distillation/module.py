"""Distillation: the LightningModule that trains a narrow VGG to imitate VGG-19."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import lightning as L
import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from nst_lightning import __version__
from nst_lightning.distillation.network import (
    channels_of,
    check_teacher,
    fold_norms,
    freeze_blocks,
    load_narrow_vgg,
    new_narrow_vgg,
)
from nst_lightning.distillation.paintings import PaintingCrops
from nst_lightning.distillation.variations import vary
from nst_lightning.encoders import Encoder, Features
from nst_lightning.encoders.compact import WIDTHS, NarrowVGG
from nst_lightning.encoders.weights import save_half
from nst_lightning.errors import WorkError, naming, require, require_above, require_at_least
from nst_lightning.images import expand_path
from nst_lightning.losses import gram_loss, gram_matrix, normalize_weights
from nst_lightning.metrics import STYLE_LAYERS, ChannelCorrelation
from nst_lightning.networks.checkpoint import PREFIX, check_state, network_state
from nst_lightning.training.batches import check_batch
from nst_lightning.training.companions import check_trainer, limit_state, restore_accumulation, save_averages
from nst_lightning.training.folder import run_folder
from nst_lightning.training.loading import require_arguments
from nst_lightning.training.schedule import cosine_with_warmup

RECORD = "compact_encoder"
"""Checkpoint entry that marks checkpoints of distillation."""
FILENAME = "compact_encoder.safetensors"
"""Name of the file with the weights, in the run's folder."""


class Distillation(L.LightningModule):
    """Trains a `NarrowVGG` to match a teacher's features and Gram matrices (after Wang et al. 2020).

    Batches are photos, RGB in [0, 1], shape (N, 3, H, W). Some photos are replaced by crops of paintings, and many are
    changed (see `vary`), since stylized pictures do not look like photographs. Checkpoints hold network and optimizer,
    not the teacher.

    Args:
        teacher: the encoder to learn from, which must offer the first layer of each block that `widths` has.
        widths: number of channels of each block; by default a quarter of VGG-19's.
        init_from: file of a compact encoder to train further, in place of random weights. Its own widths are used.
        frozen: number of blocks whose first layers are not trained: 3 keeps relu1_1, relu2_1 and relu3_1 as they are.
        paintings: folder of paintings to learn from as well; by default none.
        painting_share: share of the photos that are replaced by crops of paintings.
        layer_weights: weights of single layers in the loss; by default 1.
        gram_weight: weight of the loss between Gram matrices; the loss between features has weight 1.
        learning_rate: Adam's highest learning rate; it falls to zero along a cosine over the run.
        warmup_steps: number of steps over which the learning rate rises from zero.
        seed: random seed of crops and variations.

    Raises:
        UserError: a number is out of range, the teacher lacks a layer or doesn't fit `init_from`, or the folder has no
            paintings.
    """

    measured: Tensor

    def __init__(
        self,
        teacher: Encoder,
        widths: list[int] = list(WIDTHS),  # noqa: B006 - shown in --help
        init_from: str | None = None,
        frozen: int = 0,
        paintings: str | None = None,
        painting_share: float = 0.2,
        layer_weights: dict[str, float] = {},  # noqa: B006
        gram_weight: float = 0.3,
        learning_rate: float = 1e-2,
        warmup_steps: int = 200,
        seed: int = 0,
    ) -> None:
        super().__init__()
        good = 1 <= len(widths) <= 5 and min(widths) >= 1
        require("widths", widths, good, "one to five numbers >= 1")
        require_at_least(0, frozen=frozen, seed=seed, gram_weight=gram_weight, warmup_steps=warmup_steps)
        require("frozen", frozen, not frozen or init_from is not None, "0 without init_from")
        require("painting_share", painting_share, 0 <= painting_share <= 1, "from 0 to 1")
        require_above(0, learning_rate=learning_rate)
        self.network = new_narrow_vgg(widths, teacher) if init_from is None else load_narrow_vgg(init_from, teacher)
        freeze_blocks(self.network, frozen)
        self.layers = tuple(layer for layer in STYLE_LAYERS if "embed" + layer[4:] in self.network)[frozen:]
        require("frozen", frozen, bool(self.layers), "less than the number of blocks")
        self.layer_weights = _normalize_layer_weights(layer_weights, self.layers)
        self.teacher = teacher
        for layer, channels in zip(self.layers, channels_of(teacher, self.layers)):
            self.register_buffer(f"scale_{layer}", torch.ones(channels, 1, 1))
        started = float(init_from is not None)  # its features have the teacher's scale
        self.register_buffer("measured", torch.tensor(started))  # a number, so that it can be averaged
        self.metrics = nn.ModuleDict({layer: ChannelCorrelation() for layer in self.layers})
        with naming("paintings"):
            folder = None if paintings is None else expand_path(paintings)
            self.paintings = PaintingCrops(folder, share=painting_share)
        self.gram_weight, self.seed = gram_weight, seed
        self.learning_rate, self.warmup_steps = learning_rate, warmup_steps
        self._swapped = False
        limit_state(self, PREFIX, "scale_", "measured")  # checkpoints leave the frozen teacher out
        self.metadata = {"teacher": teacher.description, "version": __version__}

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, **options: Any) -> "Distillation":  # type: ignore[override]
        """Make a module with the weights of a checkpoint, given the teacher and the widths.

        Raises:
            UserError: the teacher is missing; the message says what to use instead.
        """
        hint = "for the network alone, use encoders.CompactEncoder with the run's compact_encoder.safetensors"
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
        """Accumulate gradients as the epoch asks for, where a run resumes within it."""
        self._swapped = False  # an earlier run may have failed amid validation
        restore_accumulation(self.trainer)

    def training_step(self, photos: Tensor, batch_idx: int) -> Tensor:
        """The loss of a batch of photos, paintings and variations, which are reproducible for each step of a run."""
        if batch_idx == 0:
            check_batch(photos)
        position = (self.seed, self.global_step, self.global_rank, batch_idx)
        generator = torch.Generator().manual_seed(int(np.random.default_rng(position).integers(2**63)))
        pictures = vary(self.paintings.mix_in(photos.cpu(), generator), generator).to(photos.device)
        with torch.no_grad():
            targets = self.teacher(pictures, self.layers)
            self._measure_scales(targets)
        losses = self._losses(self.network(pictures, self.layers), targets)
        for name, value in losses.items():
            self.log(f"train/{name}", value.detach(), prog_bar=True, batch_size=len(photos))
        return losses["loss"]

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
        trained = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        optimizer = torch.optim.Adam(trained, lr=self.learning_rate)
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
        """Add the teacher's description."""
        save_averages(self.trainer, self, checkpoint, swapped=self._swapped)
        checkpoint[RECORD] = self.metadata

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Refuse a checkpoint of a different network, and warn if it had a different teacher."""
        if self._trainer is not None and not self.trainer.optimizers:  # Lightning's BatchSizeFinder loads a state later
            check_trainer(self.trainer, resumes=True)
        check_state(network_state(checkpoint), self.network, "ckpt_path")
        before, now = checkpoint[RECORD]["teacher"], self.metadata["teacher"]
        if before != now:
            rank_zero_warn(f"the checkpoint was trained with the teacher {before}; training continues with {now}")

    def on_fit_end(self) -> None:
        """Write the weights for `CompactEncoder` to `compact_encoder.safetensors` in the run's folder."""
        path = run_folder(self.trainer) / FILENAME
        if self.trainer.is_global_zero:
            metadata = {**self.metadata, "steps": str(self.global_step)}
            save_half(self.encoder_network().state_dict(), path, metadata)
            rank_zero_info(f"compact encoder: {path}")

    def encoder_network(self) -> NarrowVGG:
        """A copy of the network with norms folded into the convolutions and features in the teacher's scale."""
        return fold_norms(self.network, {layer: self._scale(layer) for layer in self.layers})

    def _losses(self, features: Features, targets: Features) -> dict[str, Tensor]:
        """Squared differences of features, in units of each channel's scale (1 with `init_from`), and of Gram matrices.

        Both are relative to the target's energy in each picture. Otherwise noise, to which VGG-19 responds ten
        times as strongly as to photographs, would outweigh these.
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
