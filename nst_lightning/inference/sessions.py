"""ONNX Runtime's sessions: those that run on given providers, end at Ctrl-C, and are left alone by forked processes."""

import ctypes
import os
import weakref
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from nst_lightning.errors import UserError
from nst_lightning.inference.providers import CPU, NAMES, Provider, require_chosen

_OWNERS: "weakref.WeakKeyDictionary[object, tuple[str, ...]]" = weakref.WeakKeyDictionary()


def open_session(
    model: Path | bytes, threads: int, providers: Sequence[Provider], *, fall_back: bool
) -> onnxruntime.InferenceSession:
    """Open a session.

    Args:
        model: the ONNX file, or the bytes of a part of a network.
        threads: number of processor threads, as ONNX Runtime takes it.
        providers: what to run on, best first.
        fall_back: whether to leave out providers that can't be used.

    Raises:
        UserError: a provider can't be used, or can't run the model, though the processor can.
        Exception: of any class: ONNX Runtime's own share none. The model can't be run.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # errors are exceptions, too
    if isinstance(model, bytes):  # there are many parts: none may keep memory for itself
        options.enable_cpu_mem_arena = options.enable_mem_pattern = False
    try:
        session = onnxruntime.InferenceSession(model, options, providers=providers, enable_fallback=int(fall_back))
    except Exception as error:
        if fall_back or [*providers] == [NAMES[CPU]]:
            raise
        onnxruntime.InferenceSession(model, options, providers=[NAMES[CPU]])  # or else the model is to blame
        raise UserError.about("providers", f"{providers} can't run this network ({first_line(error)})") from None
    if not fall_back:
        require_chosen(session, providers)
    return session


def run_session(
    session: onnxruntime.InferenceSession,
    inputs: Mapping[str, np.ndarray],
    outputs: Sequence[str] | None = None,
    *,
    large: bool = False,
    endless: bool = False,
) -> list[np.ndarray]:
    """The outputs of a session.

    Args:
        session: the session.
        inputs: its inputs by name.
        outputs: names of the outputs to return; None for all.
        large: whether this may take seconds and gigabytes. Then Ctrl-C ends it, and its memory is given back.
        endless: whether a hostile network may have loops without an end, which Ctrl-C has to end, too.

    Raises:
        Exception: of any class, as above: the network failed.
    """
    if not large and not endless:
        return list(session.run(outputs, inputs))
    options = onnxruntime.RunOptions()
    if large:
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    with ThreadPoolExecutor(1) as pool:  # the main thread waits, as a signal can't stop what it computes itself
        found = pool.submit(session.run, outputs, inputs, options)
        try:
            return list(found.result())
        finally:
            options.terminate = True


def forget_after_fork(owner: object, *names: str) -> None:
    """Let forked processes open sessions of their own.

    ONNX Runtime's threads don't survive a fork, and a process that frees a session without them crashes. So the child's
    owner loses the session, which is never freed there.

    Args:
        owner: an object.
        names: its cached properties that have sessions.
    """
    _OWNERS[owner] = names


def _forget() -> None:
    for owner, names in _OWNERS.items():
        for name in names:
            kept: Any = vars(owner).pop(name, None)
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(kept))


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forget)


def first_line(error: Exception) -> str:
    """The beginning of what ONNX Runtime says."""
    return (str(error) or type(error).__name__).splitlines()[0][:120]
