"""The Ray cluster that is at hand, or one of this machine's processors, and how work is shared out on it."""

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Iterator

import ray
import ray.data

from nst_lightning.commands.stylize_photos import MOST_MEMORY, PhotoPainter, Plan
from nst_lightning.errors import WorkError, describe_error
from nst_lightning.limits import usable_processors
from nst_lightning.system import STOP_SIGNALS

_OBJECTS = 2**27
"""Bytes of memory for what travels between the workers of a cluster of this machine: names, no pictures."""

_PATIENCE = 10.0
"""Seconds to wait for the machine of RAY_ADDRESS."""


@contextlib.contextmanager
def cluster() -> Iterator[None]:
    """Connect to the cluster of RAY_ADDRESS, or that `ray start` has started here; else start one, and end it again.

    Raises:
        WorkError: the cluster can't be reached.
    """
    if ray.is_initialized():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    main_thread = threading.current_thread() is threading.main_thread()
    try:
        with _quiet():
            _connect()
    except (OSError, RuntimeError) as error:
        raise WorkError(f"the Ray cluster can't be reached: {describe_error(error)}") from error
    for number, handler in handlers.items() if main_thread else ():  # Ray's own would end the process at once
        signal.signal(number, handler)
    try:
        yield
    finally:
        ray.shutdown()


def plan_for_cluster(painter: PhotoPainter, *, workers: int) -> Plan:
    """Share out the painter's threads, or else all processors of the cluster, and its memory.

    No worker gets more threads than a machine has processors, as none could start.

    Args:
        painter: what paints photos.
        workers: number of workers; 0 for one for each thread, as far as the memory of the cluster allows.
    """
    resources = ray.cluster_resources()
    processors = painter.threads or max(1, int(resources.get("CPU", 1)))
    memory = resources.get("memory", 0.0) if painter.max_memory is None else painter.max_memory
    if not workers:
        workers = max(1, min(processors, int(memory // MOST_MEMORY)))
    largest = max(int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"])
    return Plan(workers, max(1, min(largest, processors // workers)), memory)


def streaming_context() -> ray.data.DataContext:
    """Ray Data's settings for few rows that take long, without messages."""
    context = ray.data.DataContext.get_current().copy()
    context.target_max_block_size = 1  # byte, or more if a row takes more: each row is shared out by itself
    context.enable_progress_bars = False
    return context


def _connect() -> None:
    logging_options = {"log_to_driver": False, "logging_level": logging.ERROR}
    host, _, port = os.environ.get("RAY_ADDRESS", "").rpartition(":")
    if port.isdecimal():  # Ray itself would try for minutes
        socket.create_connection((host.rpartition("/")[2].strip("[]"), int(port)), timeout=_PATIENCE).close()
    with contextlib.suppress(ValueError):  # a cluster is there, whose processors can't be chosen
        if "RAY_ADDRESS" not in os.environ:
            limits = {"num_cpus": usable_processors(), "object_store_memory": _OBJECTS}
            ray.init(**limits, include_dashboard=False, **logging_options)
            return
    ray.init(**logging_options)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence what Ray prints as it starts, such as the variables that it found; its errors are raised."""
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="ray")
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123 - a device
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
