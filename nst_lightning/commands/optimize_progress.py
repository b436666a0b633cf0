"""The progress of an optimization on the terminal, and previews."""

import shutil
import sys
import time
from collections.abc import Callable

import numpy as np

from nst_lightning.images import image_to_array
from nst_lightning.optimization import Progress


class Meter:
    """Shows level, losses and remaining time on one line of the terminal, and writes previews.

    If the output is not a terminal, it gets one line for each level.

    Args:
        preview: number of iterations between two previews; 0 for none.
        write: function that writes the picture so far, RGB in [0, 1] of shape (3, H, W).
    """

    def __init__(self, preview: int, write: Callable[[np.ndarray], None]) -> None:
        self._preview, self._write = preview, write
        self._shown_at, self._count, self._open = 0.0, 0, False

    def __call__(self, progress: Progress) -> None:
        """Show an iteration, and write a preview, if they are due."""
        self._count += 1
        if self._preview and self._count % self._preview == 0:
            self._write(image_to_array(progress.draw()))
        terminal = sys.stderr.isatty()
        due = time.perf_counter() - self._shown_at >= 0.5 if terminal else progress.iteration == progress.iterations
        if not (due or progress.share >= 1):
            return
        self._shown_at = time.perf_counter()
        left = progress.seconds * (1 / max(progress.share, 1e-6) - 1)
        losses = "  ".join(f"{name} {value:.4f}" for name, value in progress.losses.items())
        line = f"level {progress.level}/{progress.levels}  {progress.share:4.0%}  {losses}  {left:.0f} s left"
        width = shutil.get_terminal_size().columns - 1
        print(
            f"\r{line[:width]:<{width}}" if terminal else line,
            end="" if terminal else "\n",
            file=sys.stderr,
            flush=True,
        )
        self._open = terminal

    def end(self) -> None:
        """End the line on the terminal."""
        if self._open:
            print(file=sys.stderr)
