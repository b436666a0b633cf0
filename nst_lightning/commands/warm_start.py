"""A warm start: from a picture, or from what a transfer network makes of the photo."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from PIL import Image

from nst_lightning.images import read_rgb, resize_short_side
from nst_lightning.inference import DEFAULT_MODEL, MINIMUM_SIZE, ModelError, Stylizer, bundled_models
from nst_lightning.optimization import Level

Network = Callable[[Image.Image], Image.Image]


def picture_or_network(init: str) -> Image.Image | Network:
    """What a path, or the name of a bundled network, stands for."""
    path = Path(init)
    if _split_style(init) or path.suffix.lower() == ".onnx" or not (path.suffix or path.is_file()):
        return load_network(init)
    return read_rgb(path)


def load_network(model: str) -> Network:
    """A transfer network, in one style: `style.onnx`, `styles.onnx:ink`, or a style of the bundled network of many.

    Raises:
        ModelError: there is no such network, or it has several styles and none is named.
        UserError: it has no such style.
    """
    named = _split_style(model)
    if named:
        file, style = named
        stylizer = Stylizer(file)
        stylizer.controls(style)
        return partial(_stylize_as_trained, stylizer, style)
    if not Path(model).suffix and model not in bundled_models():
        return load_network(f"{DEFAULT_MODEL}:{model}")
    stylizer = Stylizer(model)
    if len(stylizer.styles) > 1:
        raise ModelError(f"model: {model} has several styles; name one of them, such as {model}:{stylizer.styles[0]}")
    return partial(_stylize_as_trained, stylizer, None)


def paint_first_level(network: Network, photo: Image.Image, levels: Sequence[Level]) -> Image.Image:
    """The network's picture of a photo, as large as the first level, or as the first that it can do."""
    level = next((level for level in levels if min(level.width, level.height) >= MINIMUM_SIZE), levels[-1])
    return network(photo.resize((level.width, level.height), Image.Resampling.LANCZOS))


def _split_style(model: str) -> tuple[str, str] | None:
    """File and style of `styles.onnx:ink`, or of a bundled network's `name:ink`."""
    file, _, style = model.rpartition(":")
    return (file, style) if file.lower().endswith(".onnx") or file in bundled_models() else None


def _stylize_as_trained(stylizer: Stylizer, style: str | None, image: Image.Image) -> Image.Image:
    """A small image is painted larger, as the network was trained: strokes would be too large for it otherwise."""
    larger = resize_short_side(image, max(stylizer.trained_size(style) or 0, min(image.size)))
    return stylizer(larger, style=style).resize(image.size, Image.Resampling.LANCZOS)
