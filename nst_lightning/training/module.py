"""The LightningModule that trains transfer networks with a perceptual loss."""

from collections.abc import Mapping
from typing import Any

import lightning as L
import torch
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from PIL import Image
from torch import Tensor, nn

from nst_lightning.encoders import Encoder
from nst_lightning.errors import UserError, WorkError, require_at_least
from nst_lightning.losses import PerceptualLoss
from nst_lightning.networks import network_record
from nst_lightning.networks.checkpoint import (
    PREFIX,
    RECORD,
    check_arguments,
    check_state,
    network_state,
    per_style_metadata,
)
from nst_lightning.training.balance import StyleBalance
from nst_lightning.training.batches import check_batch
from nst_lightning.training.companions import (
    check_trainer,
    copy_again,
    limit_state,
    restore_accumulation,
    save_averages,
)
from nst_lightning.training.crop import crop_at_random
from nst_lightning.training.figures import StyleFigures
from nst_lightning.training.loading import require_arguments
from nst_lightning.training.metadata import Record
from nst_lightning.training.optimizer import OptimizerOptions
from nst_lightning.training.schedule import cosine_with_warmup
from nst_lightning.training.stability import disturb, unsteadiness
from nst_lightning.training.styles import StyleSampler, Targets
from nst_lightning.training.trial import try_network, uses_of

_OPTIMIZER = "optimizer"
"""Checkpoint key of the optimizer's name."""
_BALANCE = "style_balance"
"""Checkpoint key of the state of the balance."""


class StyleTransfer(L.LightningModule):
    """Trains a transfer network on photos to paint in one style (Johnson et al. 2016), or in several.

    Batches are photos, RGB in [0, 1], shape (N, 3, H, W). Checkpoints hold network and optimizer, not the encoder.
    `build_style_transfer` makes one from picture files and settings.

    Args:
        network: the transfer network, which maps photos to pictures of the same shape.
        loss: the loss of pictures against photos and paintings, with paintings in the order of the sampler's styles.
        sampler: draws the style and strength of each picture in a batch.
        paintings: the paintings by the names of their styles, for the evaluators and the sample sheets.
        record: the metadata for checkpoints and ONNX files.
        short_side: longest side, in pixels, of the parts of pictures that losses compare.
        stability_weight: weight of the difference between the pictures of a photo and of the same photo with a small
            shift and noise.
        optimizer: how the network is optimized.
        balance: what adapts the style weight of each style, and how often it is drawn; None for neither.
        judge: a second encoder for figures of quality, see `EvaluatorGroup`; None for none.

    Raises:
        UserError: `stability_weight` is negative, or the judge lacks a layer.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: PerceptualLoss,
        sampler: StyleSampler,
        *,
        paintings: Mapping[str, Image.Image],
        record: Record,
        short_side: int = 256,
        stability_weight: float = 0.0,
        optimizer: OptimizerOptions = OptimizerOptions(),  # noqa: B008 - frozen
        balance: StyleBalance | None = None,
        judge: Encoder | None = None,
    ) -> None:
        super().__init__()
        require_at_least(0, stability_weight=stability_weight)
        self.network, self.loss, self.sampler = network, loss, sampler
        self.paintings, self.record = dict(paintings), record
        self.short_side, self.stability_weight, self.optimizer_options = short_side, stability_weight, optimizer
        self.balance = balance
        limit_state(self, PREFIX)  # checkpoints leave the frozen encoders out
        self._bad_steps, self._tried, self._swapped = 0, False, False
        self._measured: Tensor | None = None  # what the balance measured since the last step
        self.figures = StyleFigures(self.paintings, short_side=short_side, judge=judge)

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, **options: Any) -> "StyleTransfer":  # type: ignore[override]
        """Make a module with the weights of a checkpoint, given all of the constructor's arguments.

        Raises:
            UserError: an argument is missing; the message says what to use instead.
        """
        hint = (
            "use networks.load_network(path) for the network alone, or build_style_transfer(...) with "
            "trainer.fit, validate, test or predict(module, ckpt_path=path)"
        )
        require_arguments(cls, options, hint)
        return super().load_from_checkpoint(checkpoint_path, **{"weights_only": True, **options})

    @property
    def metadata(self) -> dict[str, str]:
        """The metadata for checkpoints and ONNX files."""
        if self.balance is None:
            return self.record.text(self.network)
        factors = dict(zip(self.balance.names, self.balance.factors.tolist()))
        return self.record.weighed(factors).text(self.network)

    def configure_callbacks(self) -> list[L.Callback]:
        """Refuse callbacks that can't work; add none."""
        check_trainer(self.trainer)
        return []

    def setup(self, stage: str) -> None:
        """Refuse precisions in which losses and Gram matrices would not be float32, and networks that fail a trial.

        Raises:
            UserError: the Trainer's precision is another one than 32-bit or mixed, or see `try_network`.
        """
        if self.trainer.precision.endswith("-true") and self.trainer.precision != "32-true":
            raise UserError(
                f"trainer.precision must be 32-true, bf16-mixed or 16-mixed, got {self.trainer.precision!r}"
            )
        validates = self.trainer.limit_val_batches != 0
        surroundings = getattr(getattr(self.trainer, "datamodule", None), "surroundings", 0)
        self.try_network(trains=stage == "fit", validates=validates, surroundings=surroundings)

    def try_network(self, *, trains: bool, validates: bool = True, surroundings: int = 0) -> None:
        """Let a copy of the network paint noise at the sizes that a run will ask for, once.

        Args:
            trains: whether the run trains.
            validates: whether a run that trains paints whole photos, too.
            surroundings: pixels by which some training crops are larger than `short_side`.

        Raises:
            UserError: the network fails, or its pictures are not what pictures of photos are.
        """
        if not self._tried:
            uses = uses_of(self.sampler, self.short_side, trains=trains, surroundings=surroundings)
            kept = [use for use in uses if validates or not trains or use.purpose == "training"]
            try_network(self.network, kept)
            self._tried = True

    def on_train_start(self) -> None:
        """Accumulate gradients as the epoch asks for, where a run resumes within it."""
        self._swapped, self._measured = False, None  # an earlier run may have failed amid validation, or a step
        restore_accumulation(self.trainer)

    def forward(self, photos: Tensor, style: int = 0) -> Tensor:
        """Stylize photos in one of the run's styles.

        Args:
            photos: RGB in [0, 1], shape (N, 3, H, W).
            style: number of the style among the run's styles.

        Returns:
            RGB in [0, 1], same shape.
        """
        return self._paint(photos, self.sampler.fixed(style, len(photos)))

    def training_step(self, photos: Tensor, batch_idx: int) -> Tensor:
        """The perceptual loss of a batch of photos."""
        self._check(photos, batch_idx)
        data_seed = getattr(getattr(self.trainer, "datamodule", None), "seed", None) or 0  # other crops, other targets
        seed = (data_seed, self.current_epoch, batch_idx, self.global_rank)
        chances = None if self.balance is None else self.balance.chances
        targets = self.sampler.sample(len(photos), seed=seed, chances=chances)
        pictures = self._paint(photos, targets)
        cropped, cropped_photos = crop_at_random(
            pictures, photos, largest=self.short_side, smallest=self.loss.minimum_size, seed=(*seed, 2)
        )
        losses = self.losses(cropped, cropped_photos, targets, draw=self.current_epoch + batch_idx)
        contents, style_losses = losses.pop("content_of_each"), losses.pop("style_of_each")
        if self.balance is not None:
            full = (targets.strengths == 1).nonzero().flatten()
            on_device = full.to(contents.device)
            sums = self.balance.sum_up(
                targets.paintings[full], contents=contents[on_device], style_losses=style_losses[on_device]
            )
            self._measured = sums if self._measured is None else self._measured + sums
        if self.stability_weight:
            disturbed, shift = disturb(photos, seed=(*seed, 1))
            losses["unsteadiness"] = unsteadiness(pictures, self._paint(disturbed, targets), shift)
            losses["loss"] = losses["loss"] + self.stability_weight * losses["unsteadiness"]
        for name, value in losses.items():
            self.log(f"train/{name}", value.detach(), prog_bar=True, batch_size=len(photos))
        return losses["loss"]

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Skip a step whose gradients are not finite. All processes see the same gradients, so all of them skip it."""
        gradients = [parameter.grad for parameter in self.network.parameters() if parameter.grad is not None]
        if torch.nn.utils.get_total_norm(gradients).isfinite():
            self._bad_steps = 0
            return
        optimizer.zero_grad(set_to_none=True)  # optimizers skip parameters without gradient
        self._bad_steps += 1
        if self._bad_steps >= self.optimizer_options.max_bad_steps:
            raise WorkError(
                f"the loss was not finite for {self._bad_steps} steps in a row, up to step {self.global_step}; "
                "lower the learning rate or the style weight, or use 32-bit precision"
            )

    def optimizer_step(self, *arguments: Any, **options: Any) -> None:
        """Adapt the balance to what all processes measured, but only once a step is complete, as checkpoints are."""
        super().optimizer_step(*arguments, **options)
        if self.balance is not None and self._measured is not None:
            group = self.trainer.optimizers[0].param_groups[0]
            sums = self.trainer.strategy.reduce(self._measured, reduce_op="sum")
            self.balance.update(sums, speed=group["lr"] / group["initial_lr"])
            self._measured = None

    def validation_step(self, photos: Tensor, batch_idx: int) -> None:
        """Losses and quality figures on held-out photos, with the styles in turn."""
        self._check(photos, batch_idx)
        self._evaluate(photos, "val", batch_idx % len(self.paintings))

    def on_test_start(self) -> None:
        """Prepare to measure the photos themselves as well."""
        self.figures.measure_photos(True)

    def test_step(self, photos: Tensor, batch_idx: int) -> None:
        """Losses and quality figures of each photo in each style, and the style figures of the photos themselves."""
        self._check(photos, batch_idx)
        for style in range(len(self.paintings)):
            self._evaluate(photos, "test", style)

    def predict_step(self, photos: Tensor | None, batch_idx: int) -> Tensor | None:
        """Stylize photos in the run's first style; None stands for a photo that can't be read."""
        if photos is None:
            return None
        self._check(photos, batch_idx)
        return self(photos)

    def on_validation_start(self) -> None:
        """Warn if there are fewer held-out photos than styles."""
        batches, styles = int(sum(self.trainer.num_val_batches)), list(self.paintings)
        if batches < len(styles) and not self.trainer.sanity_checking:
            rank_zero_warn(
                f"validation takes the styles in turn and has only {batches} photos (data.val, "
                f"trainer.limit_val_batches): val/loss leaves out {', '.join(styles[batches:])}"
            )

    def on_validation_epoch_start(self) -> None:
        """Remember that callbacks have put averaged weights in place."""
        self._swapped = True

    def on_validation_epoch_end(self) -> None:
        """Log the medians over the held-out photos."""
        self._swapped = False
        self._log_figures("val")
        if self.balance is not None:
            self._log_balance(self.balance)

    def on_test_end(self) -> None:
        """Leave the photos out of what comes next."""
        self.figures.measure_photos(False)

    def on_test_epoch_end(self) -> None:
        """Log the medians over the test photos."""
        self._log_figures("test")

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer, whose learning rate rises linearly and then falls along a cosine to zero."""
        options = self.optimizer_options
        return cosine_with_warmup(
            self.trainer, options.build(self.network.parameters()), warmup_steps=options.warmup_steps
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add a description of the network."""
        save_averages(self.trainer, self, checkpoint, swapped=self._swapped)
        checkpoint[_OPTIMIZER] = self.optimizer_options.name
        if self.balance is not None:
            checkpoint[_BALANCE] = self.balance.state()
        metadata = {**self.metadata, "steps": str(self.trainer.global_step)}
        checkpoint[RECORD] = network_record(self.network, metadata)

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Refuse a checkpoint of a different network or optimizer, and adopt all of its styles."""
        if self._trainer is not None and not self.trainer.optimizers:  # Lightning's BatchSizeFinder loads a state later
            check_trainer(self.trainer, resumes=True)
        before, now = checkpoint.get(_OPTIMIZER, "adam"), self.optimizer_options.name
        if before != now and self._trainer is not None and self.trainer.state.fn == TrainerFn.FITTING:
            raise UserError.about("ckpt_path", f"the checkpoint was trained with {before}; {now} can't continue it")
        record = checkpoint.get(RECORD, {})
        init_args = record.get("init_args") or {}
        if styles := init_args.get("styles"):
            if self.sampler.adopt(styles) and self._trainer is not None:
                copy_again(self.trainer, self)
            self.record = self.record.with_earlier(per_style_metadata(record["metadata"], styles))
        if self.balance is not None and _BALANCE in checkpoint:
            self.balance.restore(checkpoint[_BALANCE])
        check_state(network_state(checkpoint), self.network, "ckpt_path")
        check_arguments(init_args, self.network, "ckpt_path")

    def losses(
        self, pictures: Tensor, photos: Tensor, targets: Targets, *, draw: int = 0, balanced: bool = True
    ) -> dict[str, Tensor]:
        """The losses of pictures of shape (N, 3, H, W), see `PerceptualLoss`.

        For a picture of strength s, the style weight is multiplied by s^2 (Babaeizadeh & Ghiasi 2018 draw the weight
        itself), and unless `balanced` is false, by the factor that the balance has found for its style.
        """
        paintings, strengths = (
            each.to(photos.device, non_blocking=True) for each in (targets.paintings, targets.strengths)
        )
        factors = strengths.square()
        if self.balance is not None and balanced:
            factors = factors * self.balance.factors.to(photos)[paintings]
        return self.loss(pictures, photos, styles=paintings, style_factors=factors, draw=draw)

    def _check(self, photos: Tensor, batch_idx: int) -> None:
        """Check the first batch of an epoch; to check all would take time, on a GPU."""
        if batch_idx == 0:
            check_batch(photos)

    def _paint(self, photos: Tensor, targets: Targets) -> Tensor:
        controls = {name: value.to(photos.device, non_blocking=True) for name, value in targets.controls.items()}
        return self.network(photos, **controls)

    def _evaluate(self, photos: Tensor, stage: str, style: int) -> None:
        targets = self.sampler.fixed(style, len(photos))
        pictures = self._paint(photos, targets)
        losses = self.losses(pictures, photos, targets, balanced=False)  # factors change during a run
        contents, _ = losses.pop("content_of_each"), losses.pop("style_of_each")
        if self.balance is not None:
            del losses["loss"]  # see `StyleBalance.rate`
        for name, value in losses.items():
            self.log(f"{stage}/{name}", value, on_epoch=True, batch_size=len(photos), sync_dist=True)
        self.figures.update(style, pictures, photos, contents)

    def _log_figures(self, stage: str) -> None:
        """Log the figures of each style, and their average."""
        averages: dict[str, list[Tensor]] = {}
        for number, style in enumerate(self.paintings):
            figures = self.figures.medians(number)
            if figures:
                content = self.figures.content(number)
                if self.balance is not None:
                    figures["loss"] = self.balance.rate(content, self.figures.mean_style(figures))
            for name, value in figures.items():
                averages.setdefault(name, []).append(value)
                if len(self.paintings) > 1:
                    self.log(f"{stage}/{style}/{name}", value, sync_dist=True)
        for name, values in averages.items():
            self.log(f"{stage}/{name}", torch.stack(values).mean(), sync_dist=True)

    def _log_balance(self, balance: StyleBalance) -> None:
        """Log the style weight and the running content of each style."""
        weights = self.loss.options.style_weight * balance.factors
        for style, weight, content in zip(balance.names, weights, balance.content):
            name = f"val/{style}/" if len(balance.names) > 1 else "val/"
            self.log(f"{name}style_weight", weight.to(self.device), sync_dist=True)
            if content.isfinite():
                self.log(f"{name}running_content", content.to(self.device), sync_dist=True)


def require_style_transfer(callback: L.Callback, module: L.LightningModule) -> StyleTransfer:
    """The module of a Trainer, for a callback that needs a `StyleTransfer`.

    Raises:
        UserError: it is another one.
    """
    if not isinstance(module, StyleTransfer):
        needed = f"{type(callback).__name__} needs a StyleTransfer, as build_style_transfer makes one"
        raise UserError(f"{needed}, got {type(module).__name__}")
    return module
