"""How many processors, and how much memory, the operating system and the containers around it let this process use.

Linux states the limits of containers and batch jobs in control groups: https://docs.kernel.org/admin-guide/cgroup-v2.html
and, for version 1, https://docs.kernel.org/admin-guide/cgroup-v1/memory.html. The limits of all groups around a process
count, and both versions may be in use at once.
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path

PROCESS = Path("/proc/self")
"""The folder in which Linux says which control groups this process is in, and where they are found."""
MACHINE = Path("/proc/meminfo")
"""The file in which Linux says how much memory the machine has left."""
_ASSUMED = 4e9
"""The bytes of memory that are assumed to be available where the system doesn't say."""


def usable_processors() -> int:
    """The number of processors that this process may use: those it may run on, and the processor time it may take."""
    if hasattr(os, "process_cpu_count"):  # Python 3.13, which lets users set it
        allowed = os.process_cpu_count()
    else:
        allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min([allowed or 1, *(math.ceil(share) for share in _processor_shares())]))


def threads_for_onnx_runtime(threads: int = 0) -> int:
    """The number of threads to tell ONNX Runtime, where 0 stands for all processors that this process may use.

    Left to itself, ONNX Runtime binds threads to processors that this process may not use, at half the speed.
    """
    usable = usable_processors()
    return threads or (usable if usable < (os.cpu_count() or 1) else 0)


def limit_threads() -> None:
    """Let numerical libraries that are imported from now on start no more threads than they may use processors.

    They see which processors are allowed, but not how much of their time. OMP_NUM_THREADS decides if it is set.
    """
    if usable_processors() < (os.cpu_count() or 1):
        os.environ.setdefault("OMP_NUM_THREADS", str(usable_processors()))


def memory_left() -> float:
    """The bytes of memory that this process may still take, or infinity without a limit.

    Cached files count as free memory, since the system gives it back, but those in memory file systems don't.
    """
    left = [*_memory_left_v1(), *_memory_left_v2()]
    return max(0.0, min(left, default=math.inf))


def available_memory() -> float:
    """The bytes of memory that this process may still take, of those that are free: at most half of all on macOS."""
    try:
        sizes = {name: float(size.split()[0]) for name, size in (line.split(":") for line in _read(MACHINE))}
        free = sizes["MemAvailable"] * 1024
    except KeyError:
        known = "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {})
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2 if known else _ASSUMED
    return min(free, memory_left())


def _processor_shares() -> Iterator[float]:
    """The processor time that each limited group may take in a second, in seconds."""
    for folder in _groups("cpu"):
        quota, period = (_read_number(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
        if quota > 0 and 0 < period < math.inf:
            yield quota / period
    for folder in _groups(""):
        try:
            quota_text, period_text = (folder / "cpu.max").read_text().split()
            yield float(quota_text) / float(period_text)
        except (OSError, ValueError):  # no limit: there is no file, or it says max
            continue


def _memory_left_v1() -> Iterator[float]:
    for folder in _groups("memory"):
        limit, used = (_read_number(folder / f"memory.{name}_in_bytes") for name in ("limit", "usage"))
        if used < math.inf:
            yield limit - used + _cached_files(folder, prefix="total_")  # with those of the groups inside


def _memory_left_v2() -> Iterator[float]:
    for folder in _groups(""):
        limit = min(_read_number(folder / f"memory.{name}") for name in ("max", "high"))  # `high` slows down instead
        used = _read_number(folder / "memory.current")
        if used < math.inf:
            yield limit - used + _cached_files(folder)


def _read_number(file: Path) -> float:
    """The number in a file; infinity if there is no such file, or it says `max`."""
    try:
        return float(file.read_text())
    except (OSError, ValueError):
        return math.inf


def _cached_files(folder: Path, *, prefix: str = "") -> float:
    """The bytes that a group's cached files take, but only half of those in frequent use, which would be read again."""
    try:
        lines = (folder / "memory.stat").read_text().splitlines()
    except OSError:
        return 0.0
    sizes = {name: float(size) for name, size in map(str.split, lines)}
    return sizes.get(f"{prefix}inactive_file", 0.0) + sizes.get(f"{prefix}active_file", 0.0) / 2


def _groups(controller: str) -> Iterator[Path]:
    """The folders of this process's group and of all groups around it, as far as they can be seen.

    Args:
        controller: what version 1 limits, such as `memory`; empty for version 2.
    """
    path = _memberships().get(controller)
    for root, point in _mounts(controller) if path is not None else ():
        relative = os.path.relpath(str(path), root)
        folder = point / relative
        if relative.startswith("..") or not folder.is_dir():  # in a container, which has its group at the mount point
            folder = point
        yield folder
        yield from (parent for parent in folder.parents if parent.is_relative_to(point))


def _memberships() -> dict[str, str]:
    """The path of this process's group for each controller, and for the empty name in version 2; see cgroups(7)."""
    found = {}
    for line in _lines("cgroup"):
        _, controllers, path = line.split(":", 2)
        found.update(dict.fromkeys(controllers.split(","), path))
    return found


def _mounts(controller: str) -> Iterator[tuple[str, Path]]:
    """Groups, and the folders at which they are mounted; see proc_pid_mountinfo(5)."""
    for line in _lines("mountinfo"):
        place, _, source = line.partition(" - ")
        kind, _, options = source.split(" ", 2)
        if (kind == "cgroup2" and not controller) or (kind == "cgroup" and controller in options.split(",")):
            root, point = place.split(" ")[3:5]
            yield root, Path(point)


def _lines(name: str) -> list[str]:
    return _read(PROCESS / name)


def _read(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError:  # not on Linux
        return []
