"""The callback that keeps the checkpoint from which a run is resumed."""

import shutil
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.utilities import rank_zero_info

from nst_lightning.errors import require_at_least
from nst_lightning.training.companions import averages_weights
from nst_lightning.training.folder import run_folder
from nst_lightning.training.resume import FoundAsLast


class LastCheckpoint(FoundAsLast):
    """Keeps the checkpoint `checkpoints/last.ckpt` in the run's folder, from which `ckpt_path` resumes exactly.

    Checkpoints are written under another name and then renamed, so that there is always a complete one.

    Args:
        every_n_steps: number of steps between two checkpoints; the last step always has one.
        keep_all: whether to keep every checkpoint, as `step-000250.ckpt`, not only the last.
    """

    def __init__(self, every_n_steps: int = 250, keep_all: bool = False) -> None:
        require_at_least(1, every_n_steps=every_n_steps)
        super().__init__()
        self.every_n_steps, self.keep_all = every_n_steps, keep_all
        self._saved_at = -1
        self._last: Path | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Remember the first step, at which nothing is saved, nor between its batches."""
        self._saved_at = trainer.global_step

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save a checkpoint if one is due."""
        if trainer.global_step % self.every_n_steps == 0:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save a checkpoint before a callback puts averaged weights in place of those that training continues with."""
        if averages_weights(trainer):
            self._save(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the last checkpoint."""
        self._save(trainer)

    def _save(self, trainer: L.Trainer) -> None:
        step, folder = trainer.global_step, run_folder(trainer) / "checkpoints"
        if step == self._saved_at:
            return
        self._saved_at = step
        temporary = folder / ".last.ckpt"
        trainer.save_checkpoint(temporary, weights_only=False)  # the optimizer's state as well
        if not trainer.is_global_zero:
            return
        if self.keep_all:
            shutil.copy2(temporary, folder / f".step-{step:06d}.ckpt")
            (folder / f".step-{step:06d}.ckpt").replace(folder / f"step-{step:06d}.ckpt")
        temporary.replace(folder / "last.ckpt")
        self._last = folder / "last.ckpt"

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Report how to resume an interrupted run."""
        if self._last is not None:
            rank_zero_info(f"ended early; --ckpt_path {self._last} resumes from step {self._saved_at}")
