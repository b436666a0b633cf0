"""The callback that keeps the checkpoint from which a run is resumed."""

import contextlib
import shutil
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_info

from nst_lightning.errors import SignalExit, WorkError, require_at_least
from nst_lightning.system import StopSignals, exit_code, shell_line
from nst_lightning.training.companions import averages_weights
from nst_lightning.training.folder import run_folder
from nst_lightning.training.resume import FoundAsLast


@dataclass(frozen=True)
class Progress:
    """Where a run is, after a step and before the next: what a checkpoint says of it.

    Args:
        step: the number of steps.
        entries: the checkpoint's entries.
    """

    step: int
    entries: dict[str, Any]

    @classmethod
    def of(cls, trainer: L.Trainer) -> "Progress":
        """The progress at the end of a batch."""
        data: Any = getattr(trainer, "datamodule", None)
        states = {} if data is None else {type(data).__qualname__: data.state_dict()}
        return cls(trainer.global_step, {"fit_loop": trainer.fit_loop.state_dict(), **states})

    def write_to(self, checkpoint: dict[str, Any]) -> None:
        """Change a checkpoint that was made later, during the next step or validation."""
        for name, state in self.entries.items():
            place = checkpoint["loops"] if name == "fit_loop" else checkpoint
            if name in place:
                place[name] = state


class LastCheckpoint(FoundAsLast):
    """Keeps the checkpoint `checkpoints/last.ckpt` in the run's folder, from which `ckpt_path` resumes exactly.

    Checkpoints are written under another name and then renamed, so that there is always a complete one. When the
    process is asked to end (SIGINT, SIGTERM or SIGHUP), or an error ends the run, the last complete step is saved.

    Args:
        every_n_steps: number of steps between two checkpoints; the last step always has one.
        keep_all: whether to keep every checkpoint, as `step-000250.ckpt`, not only the last.
    """

    def __init__(self, every_n_steps: int = 250, keep_all: bool = False) -> None:
        require_at_least(1, every_n_steps=every_n_steps)
        super().__init__()
        self.every_n_steps, self.keep_all = every_n_steps, keep_all
        self.command: Sequence[str] = ()  # words to which `--ckpt_path PATH` is added to go on
        self._saved_at = -1
        self._last: Path | None = None
        self._signals: StopSignals | None = None
        self._progress: Progress | None = None
        self._resumed: Progress | None = None
        self._updating_from = -1

    @property
    def received(self) -> int | None:
        """The signal that asked this process to end, if there was one."""
        return None if self._signals is None else self._signals.received

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Forget an earlier run."""
        self._last = self._signals = self._progress = None
        self._saved_at = self._updating_from = -1

    def on_sanity_check_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take over the signals."""
        self._listen()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take over the signals, and remember the first step, at which nothing is saved."""
        self._saved_at = trainer.global_step
        self._listen()

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Note that the weights are about to change."""
        self._updating_from = trainer.global_step

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save a checkpoint if one is due, and stop if asked to, but not between the batches of a step."""
        self._updating_from = -1
        before = self._saved_at if self._progress is None else self._progress.step
        if trainer.global_step == before:
            return
        self._progress = Progress.of(trainer)
        if trainer.global_step % self.every_n_steps == 0:
            self._save(trainer)
        self._stop_if_asked(trainer)

    def on_validation_batch_end(self, trainer: L.Trainer, *_: Any, **__: Any) -> None:
        """Stop if asked to. Several processes, which might not have as many batches, wait for the end."""
        if trainer.world_size == 1:
            self._stop_if_asked(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop if one of the processes is asked to."""
        if trainer.state.fn == "fit":
            self._stop_if_asked(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save a checkpoint before a callback puts averaged weights in place of those that training continues with."""
        if averages_weights(trainer):
            self._save(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the last checkpoint."""
        self._save(trainer)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """End the process if it was asked to when training was about to end anyway, and has ended now."""
        if self.received:
            self._exit(trainer, self.received)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Save what can be saved, and report how to resume the run."""
        if isinstance(exception, Exception) and trainer.world_size == 1:  # other processes would not take part
            updated = self._updating_from == trainer.global_step and not isinstance(exception, WorkError)
            try:
                self._save_complete_step(trainer, updated=updated)
            except (OSError, RuntimeError) as error:
                rank_zero_info(f"step {trainer.global_step} could not be saved: {error}")
        if self._signals is not None:
            self._signals.restore()
        if self._last is not None and 0 < trainer.max_steps <= self._saved_at:
            rank_zero_info(f"stopped after the last step, which is in {self._last}")
        elif self._last is not None:
            advice = f"To go on, in {Path.cwd()}:\n  {self._advice(self._last)}"
            rank_zero_info(f"stopped; step {self._saved_at} is saved. {advice}")
        elif isinstance(exception, SignalExit):
            rank_zero_info("stopped before a step was trained")

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Leave out the beginning of a step or validation that won't be completed."""
        if self._resumed is not None:
            self._resumed.write_to(checkpoint)

    def _listen(self) -> None:
        """Handle signals once Lightning has set its own handlers, which would lose the step; it restores them all."""
        if self._signals is None:
            self._signals = StopSignals(_announce, self._pass_on)
        self._signals.install()

    def _pass_on(self, number: int) -> None:
        """Stop at once."""
        if self._signals is not None:
            self._signals.restore()
        signal.raise_signal(number)

    def _stop_if_asked(self, trainer: L.Trainer) -> None:
        """Save the last complete step and end the process, if one of the processes was asked to end."""
        number = self.received or 0
        if trainer.world_size > 1:
            received = torch.tensor(number, device=trainer.strategy.root_device)
            number = int(trainer.strategy.reduce(received, reduce_op="max"))
        if number:
            self._save_complete_step(trainer, updated=False)
            if not 0 < trainer.max_steps <= trainer.global_step:  # then there is no step to go on with
                self._exit(trainer, number)

    def _exit(self, trainer: L.Trainer, number: int) -> NoReturn:
        """End the process; Lightning kills all others at once if one that it launched reports a failure."""
        raise SignalExit(exit_code(number) if trainer.is_global_zero else 0)

    def _save_complete_step(self, trainer: L.Trainer, *, updated: bool) -> None:
        """Save the last complete step, from amid the next one or from validation.

        Args:
            trainer: the trainer.
            updated: whether the weights may have been updated in part.
        """
        if self._saved_at < 0:
            return  # training hasn't begun
        batches: Any = trainer.fit_loop.epoch_loop.batch_progress.current
        if self._progress is not None and self._progress.step == trainer.global_step and not updated:
            self._resumed = self._progress
        elif batches.processed != batches.started or updated:
            return
        try:
            self._save(trainer)
        finally:
            self._resumed = None

    def _save(self, trainer: L.Trainer) -> None:
        step, folder = trainer.global_step, run_folder(trainer) / "checkpoints"
        if step == self._saved_at:
            return
        temporary = folder / ".last.ckpt"
        try:
            trainer.save_checkpoint(temporary, weights_only=False)  # the optimizer's state as well
            if trainer.is_global_zero:
                self._keep(temporary, folder, step)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        self._saved_at, self._last = step, folder / "last.ckpt"

    def _keep(self, temporary: Path, folder: Path, step: int) -> None:
        if self.keep_all:
            shutil.copy2(temporary, folder / f".step-{step:06d}.ckpt")
            (folder / f".step-{step:06d}.ckpt").replace(folder / f"step-{step:06d}.ckpt")
        temporary.replace(folder / "last.ckpt")

    def _advice(self, path: Path) -> str:
        return shell_line([*self.command, "--ckpt_path", str(path)]) if self.command else f"ckpt_path={str(path)!r}"


def stop_requested(trainer: L.Trainer) -> bool:
    """Whether this process was asked to end, so that work which can wait should not begin."""
    callbacks: list[L.Callback] = getattr(trainer, "callbacks")  # noqa: B009 - Lightning doesn't declare it
    return any(isinstance(callback, LastCheckpoint) and callback.received for callback in callbacks)


def _announce(number: int) -> None:
    with contextlib.suppress(RuntimeError):  # the signal may have come amid other output
        rank_zero_info("\nstopping after this step; once more to stop at once, without saving")
