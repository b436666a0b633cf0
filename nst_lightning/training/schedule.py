"""The learning rate schedule of all training: a linear warm-up, then a cosine to zero."""

import math

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler

from nst_lightning.errors import UserError


def cosine_with_warmup(
    trainer: L.Trainer, optimizer: torch.optim.Optimizer, *, warmup_steps: int
) -> OptimizerLRScheduler:
    """Give an optimizer a learning rate that rises linearly and then falls along a cosine to zero.

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
    if not math.isfinite(total):
        raise UserError("trainer.max_steps must be given, since the learning rate falls to zero over the run")
    warmup = min(warmup_steps, total // 2)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * min(1, (step - warmup) / max(1, total - warmup))))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
