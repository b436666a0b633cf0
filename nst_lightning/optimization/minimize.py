"""L-BFGS and Adam on the pixels of one picture, from a state that can be saved and resumed."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nst_lightning.optimization.objective import Objective
from nst_lightning.optimization.options import MinimizerOptions

Report = Callable[[int, dict[str, float], Tensor], None]
FIRST_STEP = 0.005
"""The largest average change of values that L-BFGS tries in its first step. Torch's own first step, 1 for all values
together, costs three more evaluations at each level."""
LINE_SEARCH = 26
"""The largest number of evaluations in a step of L-BFGS, as in torch by default."""


@dataclass
class State:
    """A minimization under way.

    Args:
        pixels: the current pixels, RGB of shape (1, 3, H, W).
        iteration: number of evaluations so far.
        memory: the state of the optimizer.
        best: the picture with the lowest loss so far; None at first.
        best_loss: the lowest loss so far.
        average: average of Adam's iterates, if `MinimizerOptions.average` is set.
        evaluated: losses and gradient at `pixels`, if they are known.
    """

    pixels: Tensor
    iteration: int = 0
    memory: dict[str, Any] = field(default_factory=dict)
    best: Tensor | None = None
    best_loss: float = float("inf")
    average: Tensor | None = None
    evaluated: tuple[dict[str, float], Tensor] | None = None

    def picture(self) -> Tensor:
        """The result so far, in [0, 1]."""
        found = self.average if self.average is not None else self.best if self.best is not None else self.pixels
        return found.clamp(0, 1)

    def end_level(self) -> "State":
        """The part of the state that the next level needs; the rest is dropped, to save memory."""
        return State(self.picture(), self.iteration, self.memory if "exp_avg" in self.memory else {})

    def next_level(self, height: int, width: int, margin: int) -> "State":
        """Start a larger level, of a size with margins, from the enlarged result and Adam's enlarged moments."""
        memory = {}
        if "exp_avg" in self.memory:
            mean = _enlarge(self.memory["exp_avg"], height, width, margin)
            squares = _enlarge(self.memory["exp_avg_sq"], height, width, margin, "bilinear")  # stay positive
            memory = {**self.memory, "exp_avg": mean, "exp_avg_sq": squares}
        return State(_enlarge(self.picture(), height, width, margin), memory=memory)


def minimize(
    objective: Objective,
    state: State,
    *,
    options: MinimizerOptions,
    iterations: int,
    until: int | None = None,
    report: Report,
    keep: Callable[[State], None],
) -> State:
    """Minimize an objective, and return the last state.

    Args:
        objective: the loss and its gradient.
        state: the state to start from.
        options: the optimizer and its settings.
        iterations: number of evaluations of loss and gradient, including those in the state.
        until: number of evaluations after which to return, at the end of a step; by default `iterations`.
        report: function that is called with iteration, losses and picture after each evaluation.
        keep: function that is called with states from which the same call would continue exactly; they are not changed
            later.
    """
    step = _step_lbfgs if options.optimizer == "lbfgs" else _step_adam
    while state.iteration < (iterations if until is None else until):
        state = step(objective, state, options, iterations, report)
        keep(state)
    return state


def _step_lbfgs(
    objective: Objective, state: State, options: MinimizerOptions, iterations: int, report: Report
) -> State:
    """Take one step of torch's L-BFGS with a strong Wolfe line search."""
    pixels = state.pixels.clone().contiguous().requires_grad_()
    best, best_loss = (state.pixels if state.best is None else state.best), state.best_loss
    iteration = state.iteration
    last = None if state.evaluated is None else (state.pixels, *state.evaluated)

    def evaluate() -> float:
        nonlocal best, best_loss, iteration, last
        if last is None or not torch.equal(pixels, last[0]):
            last = (pixels.detach().clone(), *objective(pixels))
            iteration += 1
            if last[1]["loss"] < best_loss:  # false for NaN
                best, best_loss = last[0], last[1]["loss"]
            if iteration <= iterations:
                report(iteration, last[1], best)
        finite = last[2].isfinite().all()  # a bad evaluation must not ruin the level
        pixels.grad = last[2] if finite else last[2].nan_to_num(0, 0, 0)
        return last[1]["loss"]

    optimizer = torch.optim.LBFGS(
        [pixels],
        lr=1.0 if state.memory else FIRST_STEP * pixels.numel() * objective.stylized_share,
        max_iter=1,
        max_eval=min(iterations - iteration, LINE_SEARCH),
        history_size=options.history,
        tolerance_grad=0,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )
    _restore_memory(optimizer, state.memory, options.history)
    optimizer.step(evaluate)
    assert last is not None  # a step evaluates once at least
    lost = not (math.isfinite(last[1]["loss"]) and last[2].isfinite().all())
    if lost:
        pixels.data.copy_(best)
    stuck = lost or torch.equal(pixels, state.pixels)
    iteration += stuck  # a search that finds no way down must end
    evaluated = last[1:] if torch.equal(pixels, last[0]) and not lost else None
    memory = {} if stuck else _read_memory(optimizer)  # without memory, the next step is one of steepest descent
    return State(pixels.detach(), iteration, memory, best, best_loss, evaluated=evaluated)


def _step_adam(objective: Objective, state: State, options: MinimizerOptions, iterations: int, report: Report) -> State:
    """Take one step of torch's Adam."""
    pixels = state.pixels.clone().requires_grad_()
    optimizer = torch.optim.Adam([pixels], lr=options.learning_rate, betas=(0.9, 0.99))
    _restore_memory(optimizer, state.memory, options.history)
    losses, gradient = objective(pixels)
    pixels.grad = gradient.nan_to_num(0, 0, 0)  # a gradient that isn't finite must not ruin the picture
    report(state.iteration + 1, losses, state.picture())
    optimizer.step()
    moved = pixels.detach().clamp(0, 1)
    # as in Adam, dividing by the sum of weights keeps the first iterates from weighing too much
    weight = (1 - options.average) / (1 - options.average ** (state.iteration + 1))
    average = moved if state.average is None else torch.lerp(state.average, moved, weight)
    return replace(
        state,
        pixels=moved,
        iteration=state.iteration + 1,
        memory=_read_memory(optimizer),
        average=average if options.average else None,
    )


def _read_memory(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The state of an optimizer of one tensor."""
    return optimizer.state_dict()["state"][0]


def _restore_memory(optimizer: torch.optim.Optimizer, memory: dict[str, Any], history: int) -> None:
    """Give a state to an optimizer of one tensor, as a copy of all that the optimizer changes.

    Optimizers change tensors in place, but not those in L-BFGS's lists, which have an entry for each step. Lists longer
    than the history keep their last entries.
    """
    if not memory:
        return
    shortened = {key: value[-history:] if isinstance(value, list) else value for key, value in memory.items()}
    copied = {key: value.clone() if isinstance(value, Tensor) else value for key, value in shortened.items()}
    optimizer.load_state_dict({**optimizer.state_dict(), "state": {0: copied}})


def _enlarge(x: Tensor, height: int, width: int, margin: int, mode: str = "bicubic") -> Tensor:
    """Enlarge the pixels between the margins, and reflect new margins, which are equally wide at every level."""
    inner = x[..., margin : x.shape[-2] - margin, margin : x.shape[-1] - margin]
    inner = F.interpolate(inner, size=(height - 2 * margin, width - 2 * margin), mode=mode, align_corners=False)
    return F.pad(inner, (margin,) * 4, mode="reflect") if margin else inner
