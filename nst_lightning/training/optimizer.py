"""The optimizer of transfer networks and its settings."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import nn

from nst_lightning.errors import require, require_above, require_at_least
from nst_lightning.training.muon import Muon

OptimizerName = Literal["adam", "muon"]


@dataclass(frozen=True)
class OptimizerOptions:
    """How a transfer network is optimized.

    Args:
        name: `adam`, or `muon`, which achieves more with each step where convolution kernels are trained.
        learning_rate: the highest learning rate; it falls to zero along a cosine over the run.
        warmup_steps: number of steps over which the learning rate rises from zero.
        max_bad_steps: training stops after this many steps in a row with non-finite gradients; each of them is skipped.

    Raises:
        UserError: a value isn't allowed.
    """

    name: OptimizerName = "adam"
    learning_rate: float = 2e-3
    warmup_steps: int = 100
    max_bad_steps: int = 10

    def __post_init__(self) -> None:
        names = get_args(OptimizerName)
        require("name", self.name, self.name in names, " or ".join(names))
        require_above(0, learning_rate=self.learning_rate)
        require_at_least(0, warmup_steps=self.warmup_steps)
        require_at_least(1, max_bad_steps=self.max_bad_steps)

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Build the optimizer of the parameters."""
        cls = Muon if self.name == "muon" else torch.optim.Adam
        return cls(parameters, lr=self.learning_rate)
