"""The time that ONNX files take to paint a picture on the CPU."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime

from nst_lightning.errors import WorkError
from nst_lightning.inference import InputShape


def prepare_run(file: Path, size: tuple[int, int], threads: int) -> Callable[[], object]:
    """A function that paints a random photo; it raises `WorkError` if the network fails.

    Args:
        file: the ONNX file.
        size: width and height of the photo, not larger than the file allows.
        threads: number of processor threads to use.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # errors are exceptions, too
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    photo, *controls = session.get_inputs()
    pixels = np.random.default_rng(0).random((1, 3, *size[::-1]), np.float32)
    shape = InputShape.of(photo, session.get_modelmeta().custom_metadata_map)
    feed = {photo.name: shape.fill(pixels)}
    feed |= {node.name: np.full(node.shape, 1 / node.shape[0], np.float32) for node in controls}

    def run() -> object:
        try:
            return session.run(None, feed)
        except Exception as error:  # ONNX Runtime's own exceptions share no base class but this
            raise WorkError(f"{file}: {str(error)[:200]}") from None

    return run


def measure_seconds(run: Callable[[], object]) -> float:
    """The time that a function takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
