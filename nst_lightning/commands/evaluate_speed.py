"""The command `evaluate speed`: the speed of ONNX files, compared with Johnson's network."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

from nst_lightning.commands.timing import measure_seconds, prepare_run
from nst_lightning.commands.types import PositiveInt
from nst_lightning.errors import require_at_least
from nst_lightning.export import export_onnx
from nst_lightning.inference import MINIMUM_SIZE, Stylizer, find_model
from nst_lightning.limits import usable_processors
from nst_lightning.networks import JohnsonNet

JOHNSON = "Johnson's network"
RUNS = 5
"""Pictures painted in each turn."""


def evaluate_speed(
    models: list[str], image_size: PositiveInt = 512, threads: PositiveInt = 2, rounds: PositiveInt = 6
) -> None:
    """Print how long ONNX files take to paint a picture on the CPU, and how many times faster than Johnson's they are.

    Johnson's network is the paper's (width 32, five residual blocks, 9x9 kernels at both ends), and is exported for the
    comparison. The networks take turns, with five pictures in each turn; times are medians.

    Args:
        models: .onnx files, or names of bundled networks.
        image_size: width and height of the picture in pixels. A file of a larger fixed size paints its whole size.
        threads: number of processor threads to use, but not more than processors that this process may use.
        rounds: number of turns for each network.
    """
    require_at_least(MINIMUM_SIZE, image_size=image_size)
    threads = min(threads, usable_processors())
    for model in models:  # other kinds of files are refused
        Stylizer(model).input_shape.check((image_size, image_size), f"image_size: {model}")
    files = {model: find_model(model) for model in models}
    with tempfile.TemporaryDirectory() as folder:
        johnson = Path(folder) / "johnson.onnx"
        export_onnx(JohnsonNet(), johnson, metadata={})
        size = image_size, image_size
        runs = {name: prepare_run(file, size, threads) for name, file in {JOHNSON: johnson, **files}.items()}
    times = _take_turns(runs, rounds)
    setting = f"{image_size}x{image_size} pixels, {threads} thread{'s' * (threads > 1)}"
    print(f"{'milliseconds':>12}{'times faster':>14}  {setting}")
    for name, measured in times.items():
        print(f"{1000 * measured:12.1f}{times[JOHNSON] / measured:14.1f}  {name}")


def _take_turns(runs: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The median time of each run, in seconds."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            run()  # untimed, since its data may have left the processor's caches
            times[name] += [measure_seconds(run) for _ in range(RUNS)]
    return {name: median(measured) for name, measured in times.items()}
