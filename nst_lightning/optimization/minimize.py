"""L-BFGS and Adam on the pixels of one picture."""

from collections.abc import Callable

import torch
from torch import Tensor

from nst_lightning.optimization.objective import Objective
from nst_lightning.optimization.options import OptimizeOptions

Report = Callable[[int, dict[str, float], Tensor], None]


def minimize(objective: Objective, picture: Tensor, options: OptimizeOptions, report: Report) -> Tensor:
    """The picture of the lowest loss found, RGB in [0, 1].

    Args:
        objective: the loss.
        picture: to start from, shape (1, 3, H, W).
        options: the optimizer and its settings.
        report: called with iteration, losses and picture after each evaluation.
    """
    pixels = picture.clone().contiguous().requires_grad_()
    best, best_loss, iteration = picture, float("inf"), 0

    def evaluate() -> Tensor:
        nonlocal best, best_loss, iteration
        optimizer.zero_grad()
        losses = objective(pixels)
        losses["loss"].backward()
        iteration += 1
        if losses["loss"].item() < best_loss:  # never true of NaN
            best, best_loss = pixels.detach().clone(), losses["loss"].item()
        if iteration <= options.iterations:
            report(iteration, {name: value.item() for name, value in losses.items()}, pixels.detach())
        return losses["loss"]

    if options.optimizer == "lbfgs":
        optimizer = torch.optim.LBFGS(
            [pixels],
            max_iter=options.iterations,
            max_eval=options.iterations,
            history_size=options.history,
            tolerance_grad=0,
            tolerance_change=0,
            line_search_fn="strong_wolfe",
        )
        optimizer.step(evaluate)
    else:
        optimizer = torch.optim.Adam([pixels], lr=options.learning_rate, betas=(0.9, 0.99))
        for _ in range(options.iterations):
            evaluate()
            optimizer.step()
            with torch.no_grad():
                pixels.clamp_(0, 1)
    return best.clamp(0, 1)
