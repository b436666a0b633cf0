"""L-BFGS and Adam on the pixels of one picture, from a state to which they can come back."""

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
"""By how much L-BFGS's first step tries to change each value on average, at most; torch's own, 1 for all of them
together, costs three evaluations more at each level."""
LINE_SEARCH = 26
"""Evaluations of one step of L-BFGS at most, as in torch by default."""


@dataclass
class State:
    """A minimization under way.

    Args:
        pixels: where it is, RGB of shape (1, 3, H, W).
        iteration: how many evaluations were done.
        memory: the optimizer's own state.
        best: the picture of the lowest loss so far; pixels at first.
        best_loss: its loss.
        average: of Adam's iterates, if it is asked for.
        evaluated: losses and gradient at `pixels`, where they are known.
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
        """What the next level goes on from, without what is of no use there: a large one needs the room."""
        return State(self.picture(), self.iteration, self.memory if "exp_avg" in self.memory else {})

    def next_level(self, height: int, width: int, margin: int) -> "State":
        """The beginning of a larger level of that size, margin included: the result enlarged, and Adam's moments."""
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
    report: Report,
    keep: Callable[[State], None],
) -> State:
    """The state after so many iterations.

    Args:
        objective: the loss.
        state: where to begin.
        options: the optimizer and its settings.
        iterations: evaluations of loss and gradient, those in the state included.
        report: called with iteration, losses and picture after each evaluation.
        keep: called with states from which the same call would go on exactly; none of them is changed later.
    """
    step = _step_lbfgs if options.optimizer == "lbfgs" else _step_adam
    while state.iteration < iterations:
        state = step(objective, state, options, iterations, report)
        keep(state)
    return state


def _step_lbfgs(
    objective: Objective, state: State, options: MinimizerOptions, iterations: int, report: Report
) -> State:
    """One step of L-BFGS with a strong Wolfe line search (torch's)."""
    pixels = state.pixels.clone().contiguous().requires_grad_()
    best, best_loss = (state.pixels if state.best is None else state.best), state.best_loss
    iteration = state.iteration
    last = None if state.evaluated is None else (state.pixels, *state.evaluated)

    def evaluate() -> float:
        nonlocal best, best_loss, iteration, last
        if last is None or not torch.equal(pixels, last[0]):
            last = (pixels.detach().clone(), *objective(pixels))
            iteration += 1
            if last[1]["loss"] < best_loss:  # never true of NaN
                best, best_loss = last[0], last[1]["loss"]
            if iteration <= iterations:
                report(iteration, last[1], best)
        finite = last[2].isfinite().all()  # if it isn't, that must not cost the level
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
    _remember(optimizer, state.memory, options.history)
    optimizer.step(evaluate)
    assert last is not None  # it evaluates once at least
    lost = not (math.isfinite(last[1]["loss"]) and last[2].isfinite().all())
    if lost:
        pixels.data.copy_(best)
    stuck = lost or torch.equal(pixels, state.pixels)
    iteration += stuck  # finding no way down must not go on for ever
    evaluated = last[1:] if torch.equal(pixels, last[0]) and not lost else None
    memory = {} if stuck else _memory_of(optimizer)  # without it, the next step is one of steepest descent
    return State(pixels.detach(), iteration, memory, best, best_loss, evaluated=evaluated)


def _step_adam(objective: Objective, state: State, options: MinimizerOptions, iterations: int, report: Report) -> State:
    """One step of Adam (torch's)."""
    pixels = state.pixels.clone().requires_grad_()
    optimizer = torch.optim.Adam([pixels], lr=options.learning_rate, betas=(0.9, 0.99))
    _remember(optimizer, state.memory, options.history)
    losses, gradient = objective(pixels)
    pixels.grad = gradient.nan_to_num(0, 0, 0)  # a gradient that isn't finite must not cost the picture
    report(state.iteration + 1, losses, state.picture())
    optimizer.step()
    moved = pixels.detach().clamp(0, 1)
    # the first iterates would weigh too much in a plain moving average: divided by its weights' sum, as Adam's own
    share = (1 - options.average) / (1 - options.average ** (state.iteration + 1))
    average = moved if state.average is None else torch.lerp(state.average, moved, share)
    return replace(
        state,
        pixels=moved,
        iteration=state.iteration + 1,
        memory=_memory_of(optimizer),
        average=average if options.average else None,
    )


def _memory_of(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The state that an optimizer of one tensor has of it."""
    return optimizer.state_dict()["state"][0]


def _remember(optimizer: torch.optim.Optimizer, memory: dict[str, Any], history: int) -> None:
    """Give an optimizer of one tensor such a state, of which it changes nothing.

    Optimizers change their tensors in place, but none of those in L-BFGS's lists, which have an entry a step: of longer
    ones than its history, those of the last steps are left.
    """
    if not memory:
        return
    shortened = {key: value[-history:] if isinstance(value, list) else value for key, value in memory.items()}
    copied = {key: value.clone() if isinstance(value, Tensor) else value for key, value in shortened.items()}
    optimizer.load_state_dict({**optimizer.state_dict(), "state": {0: copied}})


def _enlarge(x: Tensor, height: int, width: int, margin: int, mode: str = "bicubic") -> Tensor:
    """What lies between the margins, enlarged; margins are equally wide at every level, so they are reflected anew."""
    inner = x[..., margin : x.shape[-2] - margin, margin : x.shape[-1] - margin]
    inner = F.interpolate(inner, size=(height - 2 * margin, width - 2 * margin), mode=mode, align_corners=False)
    return F.pad(inner, (margin,) * 4, mode="reflect") if margin else inner
