"""The command `evaluate latency`: how long apps wait for a picture, with `Stylizer`."""

import re
from functools import partial

import numpy as np
from PIL import Image

from nst_lightning.commands.provider import open_stylizer
from nst_lightning.commands.timing import measure_seconds
from nst_lightning.commands.types import NonNegativeInt, PositiveInt
from nst_lightning.errors import naming, require
from nst_lightning.images.pillow_limits import check_pixels
from nst_lightning.inference import MINIMUM_SIZE
from nst_lightning.limits import usable_processors

SIZES = ("512x512", "1920x1080", "4000x3000")


def evaluate_latency(
    model: str,
    image_size: list[str] | None = None,
    runs: PositiveInt = 20,
    threads: NonNegativeInt = 0,
    provider: str | None = None,
) -> None:
    """Print how long apps wait for a picture: the median, the 95th percentile, and the time for a size's first picture.

    Random photos are painted in the network's first style, from the image in memory to the picture in memory, coarse to
    fine where photos are large.

    Args:
        model: the .onnx file, or the name of a bundled network.
        image_size: width and height of photos in pixels; by default 512x512, 1920x1080 and 4000x3000. May be given
            several times.
        runs: number of pictures of each size, after the first one.
        threads: number of processor threads to use; 0 for all that this process may use.
        provider: what the network runs on, such as `cpu`, `cuda` or `openvino`; the guide to apps lists them. By
            default CUDA where it is installed and works, or else the CPU.
    """
    sizes = [_parse_size(text) for text in image_size or SIZES]
    stylizer = open_stylizer(model, provider, threads=threads)
    count = threads or usable_processors()
    print(f"{'size':>11}{'p50 ms':>9}{'p95 ms':>9}{'first ms':>10}  {count} thread{'s' * (count > 1)}")
    for width, height in sizes:
        pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
        paint = partial(stylizer, Image.fromarray(pixels))
        first, *times = (1000 * measure_seconds(paint) for _ in range(1 + runs))
        p50, p95 = np.percentile(times, (50, 95))
        print(f"{f'{width}x{height}':>11}{p50:9.1f}{p95:9.1f}{first:10.1f}", flush=True)


def _parse_size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    size = (int(found[1]), int(found[2])) if found else (0, 0)
    require("image_size", text, min(size) >= MINIMUM_SIZE, f"WIDTHxHEIGHT, both >= {MINIMUM_SIZE}, such as 1920x1080")
    with naming("image_size"):
        check_pixels(size)
    return size
