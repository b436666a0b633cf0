"""The optimizer that all training here uses."""

import math
from collections.abc import Iterable
from typing import Any

import lightning as L
import torch
from torch import nn


def adam_along_a_cosine(
    trainer: L.Trainer, parameters: Iterable[nn.Parameter], *, learning_rate: float, warmup_steps: int
) -> dict[str, Any]:
    """Adam with a linear warm-up and a cosine to zero over the run, as `configure_optimizers` returns it.

    Args:
        trainer: says how long the run is.
        parameters: to train.
        learning_rate: the highest.
        warmup_steps: over which it rises, at most half the run.

    Raises:
        ValueError: the run has no end.
    """
    optimizer = torch.optim.Adam(parameters, lr=learning_rate)
    total = trainer.max_steps if trainer.max_steps > 0 else trainer.estimated_stepping_batches
    if not math.isfinite(total):
        raise ValueError("trainer.max_steps: the learning rate falls over the run, so its length must be given")
    warmup = min(warmup_steps, total // 2)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * min(1, (step - warmup) / max(1, total - warmup))))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
