"""The learning rate schedule of all training: a linear warm-up, then a cosine to zero, by steps and by the clock."""

import math
from typing import NamedTuple

import lightning as L
import torch
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.utilities.types import OptimizerLRScheduler

from nst_lightning.errors import UserError


class Clock(NamedTuple):
    """The time of a run that `trainer.max_time` ends, in seconds of training; those before a resume count.

    Args:
        passed: seconds that have passed.
        left: seconds that are left.
    """

    passed: float
    left: float

    @property
    def share(self) -> float:
        """The share of the time that has passed, from 0 to 1."""
        total = self.passed + self.left
        return min(1.0, self.passed / total) if total > 0 else 1.0


def read_clock(trainer: L.Trainer) -> Clock | None:
    """The clock of this process, if `trainer.max_time` or a `Timer` callback ends the run."""
    clocks = []
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        left = callback.time_remaining() if isinstance(callback, Timer) else None
        if left is not None:
            clocks.append(Clock(callback.time_elapsed(), left))
    return min(clocks, key=lambda clock: clock.left, default=None)


def cosine_with_warmup(
    trainer: L.Trainer, optimizer: torch.optim.Optimizer, *, warmup_steps: int
) -> OptimizerLRScheduler:
    """Give an optimizer a learning rate that rises linearly and then falls along a cosine to zero.

    It reaches zero after the last step, or when the time of `trainer.max_time` is over, whichever comes first.

    Args:
        trainer: the Trainer, which knows how long the run is.
        optimizer: the optimizer, with its highest learning rate.
        warmup_steps: number of steps over which the learning rate rises; at most half of the run is used.

    Returns:
        The return value for `configure_optimizers`.

    Raises:
        UserError: the run has no end.
    """
    total = trainer.max_steps if trainer.max_steps > 0 else trainer.estimated_stepping_batches
    timed = read_clock(trainer) is not None
    if not math.isfinite(total) and not timed:
        raise UserError(
            "trainer.max_steps or trainer.max_time must be given, since the learning rate falls to zero over the run"
        )
    warmup = int(min(warmup_steps, total / 2))

    def factor(step: int) -> float:
        passed = _share_of_time(trainer) if timed else 0.0
        rise = min(1, max((step + 1) / max(1, warmup), 2 * passed))
        fall = min(1, max(0, (step - warmup) / max(1, total - warmup), passed))
        return rise * 0.5 * (1 + math.cos(math.pi * fall))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _share_of_time(trainer: L.Trainer) -> float:
    """The share of the time that has passed, by the first process's clock: replicas need the same learning rate."""
    clock = read_clock(trainer)
    return trainer.strategy.broadcast(1.0 if clock is None else clock.share)
