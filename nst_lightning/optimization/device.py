"""Where an optimization computes, and how much memory is there."""

from pathlib import Path

import psutil
import torch
from torch import nn

from nst_lightning.errors import UserError
from nst_lightning.system import give_back_freed_memory

CGROUP = Path("/sys/fs/cgroup")
"""Where Linux says how much memory the container may take (version 2 of control groups)."""


def select_device(name: str) -> torch.device:
    """The device of that name; `auto` is the accelerator that this machine has, or else the CPU.

    Raises:
        UserError: there is no such device.
    """
    if name == "auto":
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # no such name, not built for it, none there
        reason = str(error).splitlines()[0]
        raise UserError(f"device must be auto, cpu, cuda or mps, and available, got {name!r} ({reason})") from error


def device_of(module: nn.Module) -> torch.device:
    """Where a module's weights are."""
    return next(module.parameters()).device


def free_memory(device: torch.device) -> float:
    """Bytes that are free on a device."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    return min(float(psutil.virtual_memory().available), _allowed_memory())


def used_memory(device: torch.device) -> float:
    """Bytes that this process has on a device already, and can't give back."""
    if device.type == "cuda":
        return float(torch.cuda.memory_allocated(device))
    give_back_freed_memory()  # of an earlier picture, say
    return float(psutil.Process().memory_info().rss)


def _allowed_memory() -> float:
    """Bytes that the container this runs in (cgroup v2) may still take; cached files give way."""
    try:
        limit, current, details = ((CGROUP / f"memory.{name}").read_text() for name in ("max", "current", "stat"))
    except OSError:
        return float("inf")
    cached = sum(float(line.split()[1]) for line in details.splitlines() if line.startswith("inactive_file "))
    return float("inf") if limit.strip() == "max" else float(limit) - float(current) + cached
