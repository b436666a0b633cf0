"""The progress of training where there is no terminal to draw a bar on, such as in a log file."""

import math
import sys
import time
from collections.abc import Callable
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ProgressBar

from nst_lightning.training.schedule import Clock, read_clock


class ProgressLines(ProgressBar):
    """Prints one line about every half a minute, and at the last step or photo.

    Args:
        seconds: the least time between two lines.
    """

    def __init__(self, seconds: float = 30.0) -> None:
        super().__init__()
        self._seconds, self._enabled = seconds, True
        self._begun_at = self._shown_at = self._skipped = 0.0

    def disable(self) -> None:
        """Print nothing, in all processes but one."""
        self._enabled = False

    def enable(self) -> None:
        """Print again."""
        self._enabled = True

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Remember the first step."""
        self._begin(trainer.global_step)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Remember when `validate` began."""
        if trainer.state.fn == "validate":
            self._begin()

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Remember the start."""
        self._begin()

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Remember the start."""
        self._begin()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Show the step, the losses, and the remaining time."""
        self._show(
            "step",
            trainer.global_step,
            trainer.estimated_stepping_batches,
            clock=read_clock(trainer),
            read_values=lambda: self.get_metrics(trainer, pl_module),
        )

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Show the photo of `validate`."""
        if trainer.state.fn == "validate":
            self._show("photo", batch_idx + 1, sum(trainer.num_val_batches))

    def on_test_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Show the photo."""
        self._show("photo", batch_idx + 1, sum(trainer.num_test_batches))

    def on_predict_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Show the photo."""
        self._show("photo", batch_idx + 1, sum(trainer.num_predict_batches))

    def _begin(self, skipped: int = 0) -> None:
        self._begun_at = self._shown_at = time.perf_counter()
        self._skipped = skipped

    def _show(
        self,
        unit: str,
        number: int,
        total: float,
        *,
        clock: Clock | None = None,
        read_values: Callable[[], dict[str, Any]] = dict,
    ) -> None:
        """Print a line if one is due, about step or photo `number` of `total`, which may be infinite.

        Values are read only then, since a GPU would have to be waited for.
        """
        now = time.perf_counter()
        ends = number >= total or (clock is not None and clock.left <= 0)
        if not self._enabled or (not ends and now - self._shown_at < self._seconds):
            return
        self._shown_at = now
        values = {name: value for name, value in read_values().items() if name != "v_num"}
        figures = [f"{name} {value:.4g}" for name, value in values.items() if isinstance(value, float)]
        left = (now - self._begun_at) / max(number - self._skipped, 1) * (total - number)
        share = number / total
        if clock is not None and clock.left < left:
            left, share = max(0, clock.left), clock.share
        place = f"{unit} {number}" if total == math.inf else f"{unit} {number}/{total:.0f}"
        words = [f"{place}  {share:4.0%}", *figures, f"{left:.0f} s left"] if left < math.inf else [place, *figures]
        print("  ".join(words), file=sys.stderr, flush=True)
