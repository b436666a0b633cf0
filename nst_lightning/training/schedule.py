"""The learning rate of all training here: a linear warm-up, then a cosine to zero."""

import math
from typing import Any

import lightning as L
import torch

from nst_lightning.errors import UserError


def cosine_with_warmup(trainer: L.Trainer, optimizer: torch.optim.Optimizer, *, warmup_steps: int) -> dict[str, Any]:
    """An optimizer whose learning rate rises linearly and falls along a cosine, as `configure_optimizers` returns it.

    Args:
        trainer: tells how long the run is.
        optimizer: with the highest learning rate.
        warmup_steps: over which the learning rate rises, at most half the run.

    Raises:
        UserError: the run has no end.
    """
    total = trainer.max_steps if trainer.max_steps > 0 else trainer.estimated_stepping_batches
    if not math.isfinite(total):
        raise UserError("trainer.max_steps must be given: the learning rate falls to zero over the length of the run")
    warmup = min(warmup_steps, total // 2)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * min(1, (step - warmup) / max(1, total - warmup))))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
