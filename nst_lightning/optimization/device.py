"""Where an optimization computes, and how much memory is there."""

import ctypes
import platform
from pathlib import Path

import psutil
import torch
from torch import nn

_CGROUP = Path("/sys/fs/cgroup")
_GLIBC = ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


def device_named(name: str) -> torch.device:
    """The device of that name; `auto` is the accelerator that this machine has, or else the CPU.

    Raises:
        ValueError: there is no such device.
    """
    if name == "auto":
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device: {name} is not to be had ({reason}); it must be auto, cpu, cuda or mps") from error


def device_of(module: nn.Module) -> torch.device:
    """Where a module's weights are."""
    return next(module.parameters()).device


def free_memory(device: torch.device) -> float:
    """Bytes that are free on a device."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    return min(float(psutil.virtual_memory().available), _allowed_memory())


def used_memory(device: torch.device) -> float:
    """Bytes that this process has on a device already."""
    if device.type == "cuda":
        return float(torch.cuda.memory_allocated(device))
    return float(psutil.Process().memory_info().rss)


def keep_freed_memory() -> None:
    """Let this process keep the memory of large tensors for the next ones, where the C library is glibc.

    It would give each back and fetch it anew, page by page: a quarter of the time at 1024 pixels on two cores.
    Libraries should not change this for their callers; commands may.
    """
    if _GLIBC is not None:
        _GLIBC.mallopt(_M_MMAP_THRESHOLD, 2**27)
        _GLIBC.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def give_back_freed_memory() -> None:
    """Memory that was freed, but kept by the C library in pieces of many sizes, which pile up where there are tiles."""
    if _GLIBC is not None:
        _GLIBC.malloc_trim(0)


def _allowed_memory() -> float:
    """Bytes that the container this runs in (cgroup v2) may still take; cached files give way."""
    try:
        limit, current, details = ((_CGROUP / f"memory.{name}").read_text() for name in ("max", "current", "stat"))
    except OSError:
        return float("inf")
    cached = sum(float(line.split()[1]) for line in details.splitlines() if line.startswith("inactive_file "))
    return float("inf") if limit.strip() == "max" else float(limit) - float(current) + cached
