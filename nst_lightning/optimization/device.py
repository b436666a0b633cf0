"""Where an optimization computes, and how much memory is there."""

import ctypes
import platform
from pathlib import Path

import psutil
import torch
from torch import nn

_CGROUP = Path("/sys/fs/cgroup")
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

    It would give each back and fetch it anew, page by page: at 1024 pixels on two cores, a third of all time. Libraries
    should not change this for their callers; commands may.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 2**30)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def _allowed_memory() -> float:
    """Bytes that the container this runs in may still take."""
    try:
        limit, current = ((_CGROUP / f"memory.{name}").read_text().strip() for name in ("max", "current"))
    except OSError:
        return float("inf")
    return float("inf") if limit == "max" else float(limit) - float(current)
