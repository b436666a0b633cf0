"""The progress of work on many files: a bar on a terminal, and a line now and then elsewhere, such as in a log file."""

import shutil
import sys
import time

BAR = 24
"""Width of the bar in characters."""


class FolderProgress:
    """Shows how many files are done, how many a second, and the remaining time, on standard error.

    Args:
        total: number of files; None as long as it is not known. It may be set later.
        unit: what they are, in the plural.
        seconds: the least time between two lines where there is no terminal.
    """

    def __init__(self, total: int | None, *, unit: str = "photos", seconds: float = 30.0) -> None:
        self.total, self._unit, self._done = total, unit, 0
        self._terminal = sys.stderr.isatty()
        self._pause, self._open, self._lines = 0.0 if self._terminal else seconds, False, 0
        self._begun_at = self._shown_at = time.perf_counter()

    def advance(self) -> None:
        """Count a file, and show the progress if it is due."""
        self._done += 1
        now = time.perf_counter()
        last = self._done == self.total and (self._terminal or self._lines > 0)
        if not last and now - self._shown_at < self._pause:
            return
        self._shown_at, self._lines = now, self._lines + 1
        line = self._describe(now - self._begun_at)
        if self._terminal:
            width = shutil.get_terminal_size().columns - 1
            print(f"\r{line[:width]:<{width}}", end="", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)
        self._open = self._terminal

    def clear(self) -> None:
        """Remove the bar, before something else is printed; it comes back with the next file."""
        if self._open:
            width = shutil.get_terminal_size().columns - 1
            print(f"\r{'':{width}}\r", end="", file=sys.stderr, flush=True)
        self._open = False

    def _describe(self, seconds: float) -> str:
        rate = self._done / seconds
        if self.total is None:
            return f"{self._unit} {self._done}  {rate:.3g}/s"
        share = self._done / self.total
        bar = f"[{'#' * int(BAR * share):.<{BAR}}]  " if self._terminal else ""
        left = (self.total - self._done) / rate
        return f"{self._unit} {self._done}/{self.total}  {share:4.0%}  {bar}{rate:.3g}/s  {left:.0f} s left"
