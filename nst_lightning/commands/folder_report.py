"""What is said of the photos of a folder: their pictures in order, problems, the progress, and how to go on."""

import sys
import warnings
from collections.abc import Sequence
from types import TracebackType

from nst_lightning.commands.folder_progress import FolderProgress
from nst_lightning.commands.worker_pool import Job, Outcome
from nst_lightning.errors import Notice, WorkError

AT_A_GLANCE = 20
"""The most photos whose lines are seen at a glance; problems of more are listed again at the end."""


class FolderReport:
    """Prints the picture or the problem of each photo, in the order of the photos, with the progress below.

    When the context ends early, it prints how to go on.

    Args:
        jobs: the photos, and the pictures to write.
        again: the command that makes the pictures which are missing.

    Raises:
        WorkError: a photo could not be stylized; raised when the context ends, or by `add` if the disk is full.
    """

    def __init__(self, jobs: Sequence[Job], again: str) -> None:
        self._jobs, self._again = jobs, again
        self._earlier = {target for _, target in jobs if target.exists()}
        self._waiting: dict[int, Outcome] = {}
        self._said, self._done = 0, 0
        self._problems: list[str] = []

    def __enter__(self) -> "FolderReport":
        self._progress = FolderProgress(len(self._jobs))
        return self

    def add(self, number: int, outcome: Outcome) -> None:
        """Report what became of a photo, when all photos before it have been reported.

        Args:
            number: number of the photo, counted from 0.
            outcome: what became of it.
        """
        self._waiting[number] = outcome
        if outcome.problem is None:
            self._done += 1
            self._earlier.discard(self._jobs[number][1])
        self._progress.clear()
        while self._said in self._waiting:
            self._say(self._said)
            self._said += 1
        self._progress.advance()
        if outcome.disk_full:
            raise WorkError("the disk is full")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._progress.clear()
        for number in sorted(self._waiting):
            self._say(number)
        if len(self._jobs) > AT_A_GLANCE and self._problems:
            print("nst-lightning: all problems:", *self._problems, sep="\n", file=sys.stderr)
        if isinstance(error, KeyboardInterrupt | WorkError):
            self._say_how_to_go_on()
        elif error is None and self._problems:
            raise WorkError(f"{len(self._problems)} of {len(self._jobs)} photos could not be stylized, see above")

    def _say(self, number: int) -> None:
        outcome = self._waiting.pop(number)
        for notice in outcome.notices:
            warnings.warn(notice, Notice, stacklevel=2)
        if outcome.problem is None:
            print(self._jobs[number][1])
        else:
            print(f"nst-lightning: {outcome.problem}", file=sys.stderr)
            self._problems.append(outcome.problem)

    def _say_how_to_go_on(self) -> None:
        kept = f"{len(self._earlier)} of the others have earlier pictures, which --skip-existing would keep"
        advice = kept if self._earlier else f"to go on: {self._again}"
        print(f"nst-lightning: {self._done} of {len(self._jobs)} photos are done; {advice}", file=sys.stderr)
