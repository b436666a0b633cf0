"""What depends on the operating system: the C library's memory management, quoting for the shell, names of files."""

import ctypes
import os
import platform
import shlex
import subprocess
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TypeVar

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


def normalize_name(name: str) -> str:
    """A name in Unicode's composed form (NFC); file systems of macOS decompose accents.

    >>> normalize_name("cafe\u0301") == "caf\u00e9"
    True
    """
    return unicodedata.normalize("NFC", name)


def normalize_keys(values: Mapping[str, Value]) -> dict[str, Value]:
    """A mapping with the names that are its keys in composed form, see `normalize_name`."""
    return {normalize_name(name): value for name, value in values.items()}
