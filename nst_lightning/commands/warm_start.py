"""Warm starts: from a picture, or from the picture that a transfer network makes of the photo."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from nst_lightning.images import expand_path, read_picture, resize_short_side
from nst_lightning.inference import DEFAULT_MODEL, MINIMUM_SIZE, ModelError, Stylizer, bundled_models
from nst_lightning.optimization import Level, PyramidOptions, shorten_for_warm_start


@dataclass(frozen=True)
class Painter:
    """A transfer network with one of its styles, which paints pictures to start from.

    Args:
        stylizer: the network.
        style: one of its styles; None if the network has a single style.
    """

    stylizer: Stylizer
    style: str | None = None

    def adapt(self, pyramid: PyramidOptions, size: tuple[int, int]) -> PyramidOptions:
        """The pyramid for a start from the network's picture, for a photo of a size; see `shorten_for_warm_start`."""
        return shorten_for_warm_start(pyramid, size, network=True)

    def paint(self, photo: Image.Image, levels: Sequence[Level]) -> Image.Image:
        """Paint a photo at the size of the first level that is large enough for the network.

        Small pictures are painted at the short side that the network was trained for and scaled down, since strokes
        would be too large otherwise.
        """
        level = next((level for level in levels if min(level.width, level.height) >= MINIMUM_SIZE), levels[-1])
        image = photo.resize((level.width, level.height), Image.Resampling.LANCZOS)
        trained = self.stylizer.trained_short_side(self.style) or 0
        enlarged = resize_short_side(image, max(trained, min(image.size)))
        painted = self.stylizer(enlarged, style=self.style, strokes="native")
        return painted.resize(image.size, Image.Resampling.LANCZOS)


def load_init(init: str) -> Image.Image | Painter:
    """Load the picture, or the network, that `--init` names."""
    path = expand_path(init)
    if _split_style(init) or path.suffix.lower() == ".onnx" or not (path.suffix or path.is_file()):
        return load_painter(init)
    return read_picture(path).image


def load_painter(model: str) -> Painter:
    """Load a transfer network with one style: `style.onnx`, `styles.onnx:ink`, or the name of a bundled style.

    Raises:
        ModelError: there is no such network, or it has several styles and none is named.
        UserError: the network has no such style.
    """
    named = _split_style(model)
    if named:
        file, style = named
        stylizer = Stylizer(file)
        stylizer.controls(style)  # refuses an unknown style
        return Painter(stylizer, style)
    if not Path(model).suffix and model not in bundled_models():
        return load_painter(f"{DEFAULT_MODEL}:{model}")
    stylizer = Stylizer(model)
    if len(stylizer.styles) > 1:
        raise ModelError(f"{model} has several styles; name one of them, such as {model}:{stylizer.styles[0]}")
    return Painter(stylizer)


def _split_style(model: str) -> tuple[str, str] | None:
    """The file and style of `styles.onnx:ink`, or the name and style of a bundled network, `styles:ink`."""
    file, _, style = model.rpartition(":")
    return (file, style) if file.lower().endswith(".onnx") or file in bundled_models() else None
