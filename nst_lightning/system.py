"""What depends on the operating system: memory of the C library, quoting for the shell, signals, names of files."""

import ctypes
import errno
import os
import platform
import shlex
import signal
import subprocess
import threading
import time
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

Value = TypeVar("Value")

_GLIBC = ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
ALL_BLOCKS = 2**31 - 1
"""Value of `below` with which blocks of every size are kept."""


def keep_freed_memory(*, below: int = ALL_BLOCKS) -> None:
    """Let this process reuse the memory of freed tensors instead of returning it to the system, if it runs on glibc.

    Otherwise glibc returns each large block and fetches the next one page by page, which takes a quarter of the time of
    `optimize` at 1024 pixels on two cores. Commands may change this; libraries should not change it for their callers.

    Args:
        below: size in bytes from which blocks are returned to the system anyway.
    """
    if _GLIBC is not None:
        _GLIBC.mallopt(_M_MMAP_THRESHOLD, below)
        _GLIBC.mallopt(_M_TRIM_THRESHOLD, ALL_BLOCKS)


def give_back_freed_memory() -> None:
    """Return freed memory that the C library has kept. With tiles, kept blocks of many sizes would pile up."""
    if _GLIBC is not None:
        _GLIBC.malloc_trim(0)


def shell_line(words: Sequence[str]) -> str:
    """Join words into a command line that the system's shell splits into the same words."""
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


def is_disk_full(error: BaseException) -> bool:
    """Whether an error says that a disk, or its user's share of it, is full."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", None))


def normalize_name(name: str) -> str:
    """A name in Unicode's composed form (NFC); file systems of macOS decompose accents.

    >>> normalize_name("cafe\u0301") == "caf\u00e9"
    True
    """
    return unicodedata.normalize("NFC", name)


def normalize_keys(values: Mapping[str, Value]) -> dict[str, Value]:
    """A mapping with the names that are its keys in composed form, see `normalize_name`."""
    return {normalize_name(name): value for name, value in values.items()}


STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""The signals that ask a process to end: Ctrl-C, `kill`, and a terminal that closes (not on Windows)."""
_SAME_REQUEST = 1.0
"""Seconds within which a repeated signal is the same request: closing a terminal, or a launcher, may send it twice."""


class StopSignals:
    """Calls functions when the process is asked to end, while it is installed.

    Signals that the process ignores stay ignored, as `nohup` wants it. Nothing is installed outside the main thread,
    which alone receives signals.

    Args:
        first: called with the first signal.
        again: called with a signal that is sent again after a second or more, by somebody who can't wait.
    """

    def __init__(self, first: Callable[[int], None], again: Callable[[int], None]) -> None:
        self._first, self._again = first, again
        self._since: dict[int, float] = {}
        self._previous: dict[int, Any] = {}
        self.received: int | None = None

    def install(self) -> None:
        """Handle signals from now on, in place of the present handlers."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in STOP_SIGNALS:
            present = signal.getsignal(number)
            if present not in (signal.SIG_IGN, None, self._handle):
                self._previous[number] = present
                signal.signal(number, self._handle)

    def restore(self) -> None:
        """Give signals back to the handlers that had them before."""
        while self._previous:
            signal.signal(*self._previous.popitem())

    def __enter__(self) -> "StopSignals":
        self.install()
        return self

    def __exit__(self, *_: object) -> None:
        self.restore()

    def _handle(self, number: int, _: object) -> None:
        now, earlier = time.monotonic(), self.received
        self.received = earlier or number
        if now - self._since.setdefault(number, now) >= _SAME_REQUEST:
            self._again(number)
        elif earlier is None:
            self._first(number)


def leave_signals_to_parent(_: int) -> None:
    """Let a worker process go on when its whole group is asked to end, as at Ctrl-C, until its parent ends it."""
    for number in set(STOP_SIGNALS) - {signal.SIGTERM}:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # not on macOS, where SIGTERM ends a worker whoever sends it
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_await_parents_signal, daemon=True).start()


def _await_parents_signal() -> None:
    """End this process when the parent, and nobody else, sends SIGTERM, as at the end of the program."""
    parent = os.getppid()
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)


def exit_code(number: int) -> int:
    """The exit code of a process that a signal ended, as shells report it.

    >>> exit_code(signal.SIGINT)
    130
    """
    return 128 + number
