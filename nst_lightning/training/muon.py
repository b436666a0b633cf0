"""The optimizer Muon."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

_MOMENTUM = 0.95
_BETAS = (0.9, 0.999)
_EPSILON = 1e-8
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024) for the kernels of convolutions, and Adam for parameters with fewer dimensions.

    A kernel of shape (O, I, h, w) is treated as a matrix of shape (O, I h w). All singular values of its step are near
    1, so that directions with small gradients learn as fast as the others. Steps are scaled to the usual length of
    Adam's (Liu et al. 2025, Muon is Scalable for LLM Training), so that the same learning rate suits both.
    `torch.optim.Muon` takes matrices only.

    Args:
        parameters: the parameters to train.
        lr: the learning rate.
    """

    def __init__(self, parameters: Iterable[Tensor], *, lr: float) -> None:
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take one step along the gradients, which `closure`, if given, computes; return the closure's loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    rule = self._muon_step if parameter.ndim == 4 else self._adam_step
                    parameter.sub_(rule(parameter.grad, self.state[parameter]), alpha=group["lr"])
        return loss

    @staticmethod
    def _muon_step(gradient: Tensor, state: dict[str, Tensor]) -> Tensor:
        if not state:
            state["mean"] = torch.zeros_like(gradient)
        mean = state["mean"].lerp_(gradient, 1 - _MOMENTUM)
        direction = gradient.lerp(mean, _MOMENTUM).flatten(1)  # Nesterov's momentum
        step = 0.2 * max(direction.shape) ** 0.5 * orthogonalize(direction)
        return step.view_as(gradient)

    @staticmethod
    def _adam_step(gradient: Tensor, state: dict[str, Tensor]) -> Tensor:
        if not state:
            state.update(step=torch.zeros(()), mean=torch.zeros_like(gradient), square=torch.zeros_like(gradient))
        state["step"] += 1
        state["mean"].lerp_(gradient, 1 - _BETAS[0])
        state["square"].lerp_(gradient.square(), 1 - _BETAS[1])
        mean, square = (
            state[name] / (1 - beta ** state["step"].item()) for name, beta in zip(("mean", "square"), _BETAS)
        )
        return mean / (square.sqrt() + _EPSILON)


def orthogonalize(matrix: Tensor) -> Tensor:
    """Approximate U V^T for a matrix U S V^T, by Newton-Schulz iterations (Jordan et al. 2024).

    Singular values become 0.7 to 1.2, except for those below a thousandth of the matrix's norm, which stay smaller.

    Args:
        matrix: the matrix, shape (M, N).
    """
    if len(matrix) > matrix.shape[1]:
        return orthogonalize(matrix.T).T
    a, b, c = _COEFFICIENTS
    x = matrix / matrix.norm().clamp_min(1e-7)
    for _ in range(_ITERATIONS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x
