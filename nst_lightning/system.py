"""What depends on the operating system: how the C library keeps memory, how the shell quotes."""

import ctypes
import os
import platform
import shlex
import subprocess
from collections.abc import Sequence

_GLIBC = ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
ALL_BLOCKS = 2**31 - 1


def keep_freed_memory(*, below: int = ALL_BLOCKS) -> None:
    """Let this process keep the memory of large tensors for the next ones, where the C library is glibc.

    It would give each back and fetch it anew, page by page: a quarter of the time of `optimize` at 1024 pixels on two
    cores. Libraries should not change this for their callers; commands may.

    Args:
        below: bytes from which on blocks are given back all the same.
    """
    if _GLIBC is not None:
        _GLIBC.mallopt(_M_MMAP_THRESHOLD, below)
        _GLIBC.mallopt(_M_TRIM_THRESHOLD, ALL_BLOCKS)


def give_back_freed_memory() -> None:
    """Memory that was freed, but kept by the C library in pieces of many sizes, which pile up where there are tiles."""
    if _GLIBC is not None:
        _GLIBC.malloc_trim(0)


def shell_line(words: Sequence[str]) -> str:
    """Words as one line that the system's shell takes apart again."""
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)
