"""A warm start: from a picture, or from what a transfer network makes of the photo."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from nst_lightning.images import read_rgb
from nst_lightning.inference import MINIMUM_SIZE, Stylizer
from nst_lightning.optimization.plan import Level

LEVELS = 2
"""From a picture that is painted already: smaller levels would forget it."""


def picture_or_network(init: str) -> Image.Image | Stylizer:
    """What a path, or the name of a bundled network, stands for."""
    path = Path(init)
    if path.suffix.lower() == ".onnx" or not (path.suffix or path.is_file()):
        return Stylizer(init)
    return read_rgb(path)


def painted(network: Stylizer, photo: Image.Image, levels: Sequence[Level]) -> Image.Image:
    """The network's picture of a photo, as large as the first level, or as the first that it can do."""
    level = next((level for level in levels if min(level.width, level.height) >= MINIMUM_SIZE), levels[-1])
    return network(photo.resize((level.width, level.height), Image.Resampling.LANCZOS))
