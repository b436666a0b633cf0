"""Running ONNX Runtime's sessions so that Ctrl-C and other signals end them, even amid a loop without an end."""

import threading
from collections.abc import Mapping, Sequence
from queue import SimpleQueue
from typing import Any

import numpy as np
import onnxruntime


def run_session(
    session: onnxruntime.InferenceSession,
    outputs: Sequence[str] | None,
    inputs: Mapping[str, np.ndarray],
    options: onnxruntime.RunOptions | None = None,
) -> list[Any]:
    """Run a session, and end it if this thread gets an exception meanwhile, such as that of a signal.

    Python's handlers of signals wait until a call of C returns; so it is another thread that calls ONNX Runtime.

    Args:
        session: the session.
        outputs: names of the outputs to return; None for all.
        inputs: arrays by the names of inputs.
        options: those of this run.

    Raises:
        Exception: what ONNX Runtime raises; its exceptions share no other base class.
    """
    if threading.current_thread() is not threading.main_thread():  # which alone handles signals
        return session.run(outputs, inputs, options)
    options = options or onnxruntime.RunOptions()
    results: SimpleQueue[list[Any] | Exception] = SimpleQueue()

    def work() -> None:
        try:
            results.put(session.run(outputs, inputs, options))
        except Exception as error:
            results.put(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        result = results.get()
    except BaseException:
        options.terminate = True
        thread.join()
        raise
    if isinstance(result, Exception):
        raise result
    return result
