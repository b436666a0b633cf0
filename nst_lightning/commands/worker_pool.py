"""Processes that share out jobs, such as the photos of a folder. Each works on one job at a time, with all its memory.

Threads would do for ONNX Runtime and Pillow, which let others run meanwhile. But a process can be ended amid a long
computation, and takes nothing with it if the system kills it for lack of memory or a hostile file crashes a decoder.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from nst_lightning.system import STOP_SIGNALS

Job = tuple[Path, Path]
"""A file to read, and the one to write."""


class Saving:
    """The context in which files are written: a process that has to end leaves it first."""

    def __init__(self) -> None:
        self._lock, self._ending = threading.Lock(), False

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def go_on(self) -> None:
        """Give up a file whose writing takes long, if the process has to end.

        Raises:
            SystemExit: it has to.
        """
        if self._ending:
            raise SystemExit

    def end_process(self) -> None:
        """End this process from another thread, amid a computation but not while it writes a file."""
        self._ending = True
        with self._lock:
            os._exit(0)


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Args:
        problem: one line on why the file was not written; None if it was.
        disk_full: whether the disk is full, so that further jobs would fail, too.
        notices: what else to say, see `Notice`.
    """

    problem: str | None = None
    disk_full: bool = False
    notices: Sequence[str] = ()


Work = Callable[[Job, Saving], Outcome]


@dataclass(frozen=True, eq=False)
class _Worker:
    """A process, and the connection over which it gets jobs and returns outcomes."""

    process: SpawnProcess
    connection: "Connection[Job, Outcome]"


@dataclass(frozen=True)
class _Task:
    """A job, its number, and the bytes of memory that it takes."""

    number: int
    job: Job
    memory: float


class WorkerPool:
    """Processes that work on jobs. When the context ends, they do, too, though not while they write a file.

    Args:
        work: what to do with a job; it is pickled. Errors that it raises are bugs.
        workers: the most processes that work at once.
        estimate_memory: the bytes of memory that a job takes, roughly.
        max_memory: the bytes that jobs may take at once; a job that needs more is done alone.
    """

    def __init__(self, work: Work, workers: int, estimate_memory: Callable[[Job], float], max_memory: float) -> None:
        self._work, self._workers = work, workers
        self._estimate_memory, self._max_memory = estimate_memory, max_memory
        self._context = multiprocessing.get_context("spawn")
        self._processes: list[SpawnProcess] = []
        self._idle: list[_Worker] = []
        self._busy: dict[_Worker, _Task] = {}

    def __enter__(self) -> "WorkerPool":
        self._theirs, self._ours = self._context.Pipe(duplex=False)
        return self

    def __exit__(self, *_: object) -> None:
        self._ours.close()  # which tells workers to end, as does the end of this process
        try:
            for process in self._processes:
                process.join()
        finally:  # after a second Ctrl-C, by somebody who can't wait
            for process in self._processes:
                process.kill()

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Outcome]]:
        """Yield the number of each job and its outcome as soon as it is done, in any order.

        Raises:
            RuntimeError: a worker raised an error, and has printed its traceback.
        """
        tasks = (_Task(number, job, self._estimate_memory(job)) for number, job in enumerate(jobs))
        upcoming = next(tasks, None)
        while upcoming or self._busy:
            if upcoming and self._has_room(upcoming):
                self._begin(upcoming)
                upcoming = next(tasks, None)
                continue
            ready = wait([worker.connection for worker in self._busy])
            for worker in [worker for worker in self._busy if worker.connection in ready]:
                task = self._busy.pop(worker)
                yield task.number, self._receive(worker, task)

    def _has_room(self, task: _Task) -> bool:
        memory = task.memory + sum(other.memory for other in self._busy.values())
        return not self._busy or (len(self._busy) < self._workers and memory <= self._max_memory)

    def _begin(self, task: _Task) -> None:
        worker = self._idle.pop() if self._idle else self._start_worker()
        self._busy[worker] = task
        with contextlib.suppress(OSError):  # the worker was killed, as `_receive` will notice
            worker.connection.send(task.job)

    def _receive(self, worker: _Worker, task: _Task) -> Outcome:
        try:
            outcome = worker.connection.recv()
        except (EOFError, OSError):
            worker.process.join()
            code = worker.process.exitcode or 0
            if code == 1:
                raise RuntimeError(f"{task.job[0]}: a worker process failed; its traceback is above") from None
            return Outcome(f"{task.job[0]}: its process was killed{_name_signal(code)}, perhaps for lack of memory")
        self._idle.append(worker)
        return outcome

    def _start_worker(self) -> _Worker:
        connection, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs, self._theirs, self._work), daemon=True)
        resource_tracker.ensure_running()  # or the first start would do so, and unblock signals
        with _blocked_signals():
            process.start()
            self._processes.append(process)
        theirs.close()
        return _Worker(process, connection)


def _serve(jobs: "Connection[Outcome, Job]", parent: "Connection[None, None]", work: Work) -> None:
    """Work on jobs, in a process of its own."""
    for number in STOP_SIGNALS:  # of Ctrl-C and of launchers, which signal to a whole group; the parent takes care
        signal.signal(number, signal.SIG_IGN)
    warnings.filterwarnings("ignore", module=r"PIL\.")  # as in the parent
    saving = Saving()
    threading.Thread(target=_end_with_parent, args=(parent, saving), daemon=True).start()
    while True:
        jobs.send(work(jobs.recv(), saving))


def _end_with_parent(parent: "Connection[None, None]", saving: Saving) -> None:
    """End this process when the other end of a pipe is closed."""
    with contextlib.suppress(EOFError, OSError):
        parent.recv()
    saving.end_process()


@contextlib.contextmanager
def _blocked_signals() -> Iterator[None]:
    """Delay signals for this process, and block them in the processes that it starts meanwhile."""
    if not hasattr(signal, "pthread_sigmask"):  # on Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _name_signal(code: int) -> str:
    return f" by {signal.Signals(-code).name}" if -code in signal.valid_signals() else ""
