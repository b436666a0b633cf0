"""The device on which an optimization computes, and its memory."""

import psutil
import torch
from torch import nn

from nst_lightning.errors import UserError
from nst_lightning.limits import memory_left
from nst_lightning.system import give_back_freed_memory


def select_device(name: str) -> torch.device:
    """The device of a name; `auto` is the machine's accelerator, or the CPU if there is none.

    Raises:
        UserError: the device is unknown or not available.
    """
    if name == "auto":
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # unknown, or not available
        reason = str(error).splitlines()[0]
        raise UserError(f"device must be auto, cpu, cuda or mps, and available, got {name!r} ({reason})") from error


def device_of(module: nn.Module) -> torch.device:
    """The device of a module's weights."""
    return next(module.parameters()).device


def free_memory(device: torch.device) -> float:
    """The bytes of free memory on a device that this process may use."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    return min(float(psutil.virtual_memory().available), memory_left())


def used_memory(device: torch.device) -> float:
    """The bytes of memory on a device that this process uses and can't return."""
    if device.type == "cuda":
        return float(torch.cuda.memory_allocated(device))
    give_back_freed_memory()  # such as that of an earlier picture
    return float(psutil.Process().memory_info().rss)


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error means that memory ran out, for which torch has a class on CUDA only."""
    text = str(error).lower()
    signs = ("out of memory", "not enough memory", "can't allocate memory", "alloc_failed")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(sign in text for sign in signs)
    )
