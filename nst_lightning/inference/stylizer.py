"""The `Stylizer`, which stylizes pictures with an ONNX file."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image

from nst_lightning.errors import UserError, WorkError, require, require_at_least
from nst_lightning.images import array_to_image, image_to_array, resize_short_side, to_rgb
from nst_lightning.inference.models import ModelError, find_model
from nst_lightning.inference.style_weights import style_weights
from nst_lightning.system import normalize_keys, normalize_name

MINIMUM_SIZE = 32
CONTROLS = ("style", "strength", "preserve_color")


class Stylizer:
    """A transfer network in an ONNX file: `Stylizer("style.onnx")(image)` is the stylized image.

    `styles` has the names of the network's styles, if there are several; only such networks have `strength` and
    `preserve_color`.

    Args:
        model: the .onnx file that `fit` or `export` wrote, or the name of a bundled network, such as `styles`.
        threads: number of processor threads to use; 0 lets ONNX Runtime choose.
        providers: ONNX Runtime's execution providers, best first; by default CUDA where it is installed, then the CPU.

    Raises:
        ModelError: the file is missing, damaged or not a transfer network.
        UserError: the number of threads is negative.
    """

    def __init__(self, model: str | Path, *, threads: int = 0, providers: list[str] | None = None) -> None:
        require_at_least(0, threads=threads)
        path = find_model(model)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=providers or _default_providers())
        except Exception as error:  # ONNX Runtime's own exceptions share no base class but this
            raise ModelError(f"model: {path} is damaged or not an ONNX file ({_first_line(error)})") from None
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        adjustable = tuple(node.name for node in inputs[1:]) == CONTROLS
        pictures = [*inputs[:1], *outputs]
        if len(inputs) not in (1, 1 + len(CONTROLS) * adjustable) or not _all_pictures(pictures):
            described = ", ".join(f"{node.name} {node.type} {node.shape}" for node in (*inputs, *outputs))
            raise ModelError(f"model: {path} is not a transfer network for photos of any size: {described}")
        self._input = inputs[0].name
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        self.styles: list[str] = _read_styles(self.metadata, inputs[1], path) if adjustable else []

    def __call__(
        self,
        image: Image.Image,
        *,
        short_side: int | None = None,
        style: str | Mapping[str, float] | None = None,
        strength: float = 1.0,
        preserve_color: float = 0.0,
    ) -> Image.Image:
        """Stylize an image.

        Args:
            image: the photo, of any mode; it is turned upright as its EXIF orientation says.
            short_side: short side in pixels to scale the photo to before it is stylized; by default it keeps its size.
                Strokes have a fixed size in pixels, so a smaller short side makes them larger in the picture.
            style: the name of one of `styles`, by default the first, or several names with their weights.
            strength: strength of the style, from 0, the photo itself, to 1.
            preserve_color: from 0, the painting's colors, to 1, the photo's own.

        Returns:
            An RGB image, as large as the upright photo, or as the scaled one.

        Raises:
            UserError: the photo or `short_side` is smaller than 32 pixels, the style is unknown, a number is out of
                range, or the network has one style and nothing to adjust.
            WorkError: ONNX Runtime failed, for example because the photo is too large for the memory.
        """
        check_short_side(short_side)
        if short_side is None and min(image.size) < MINIMUM_SIZE:
            raise UserError(
                f"a photo of {image.width}x{image.height} is too small: at least {MINIMUM_SIZE}x{MINIMUM_SIZE} pixels"
            )
        controls = self.controls(style, strength, preserve_color)
        rgb = to_rgb(image)
        if short_side is not None:
            rgb = resize_short_side(rgb, short_side)
        try:
            (picture,) = self._session.run(None, {self._input: image_to_array(rgb)[None], **controls})
        except Exception as error:  # of any class, as above
            raise WorkError(
                f"a photo of {rgb.width}x{rgb.height} could not be stylized ({_first_line(error)})"
            ) from None
        return array_to_image(picture[0])

    def trained_short_side(self, style: str | None = None) -> int | None:
        """Short side, in pixels, of the photos on which a style, by default the first, was trained.

        At this size, strokes are as large as in the painting. None if the file doesn't say.
        """
        style = normalize_name(style) if style else next(iter(self.styles), None)
        stated = str(_parse_object(self.metadata.get("sizes", "{}")).get(style or "", self.metadata.get("size")))
        return int(stated) if stated.isdecimal() and int(stated) >= MINIMUM_SIZE else None

    def controls(
        self, style: str | Mapping[str, float] | None = None, strength: float = 1.0, preserve_color: float = 0.0
    ) -> dict[str, np.ndarray]:
        """The network's inputs besides the photo; the arguments and errors are those of `__call__`."""
        for name, value in (("strength", strength), ("preserve_color", preserve_color)):
            require(name, value, 0 <= value <= 1, "from 0 to 1")
        if not self.styles:
            if (style, strength, preserve_color) != (None, 1, 0):
                raise UserError("style, strength and preserve_color: this network has one style, and nothing to adjust")
            return {}
        values = style_weights(style, self.styles), [strength], [preserve_color]
        return {name: np.array(value, np.float32) for name, value in zip(CONTROLS, values)}


def check_short_side(short_side: int | None, name: str = "short_side") -> None:
    """Refuse a short side that is too small for networks; None means that photos keep their size.

    Raises:
        UserError: the short side is smaller than 32 pixels.
    """
    require_at_least(MINIMUM_SIZE, **{name: short_side})


def _default_providers() -> list[str]:
    installed = onnxruntime.get_available_providers()
    return [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in installed]


def _read_styles(metadata: Mapping[str, str], style: onnxruntime.NodeArg, path: Path) -> list[str]:
    """The names of the styles, in the order of their weights."""
    try:
        names = json.loads(metadata["styles"])
        if style.shape == [len(names)]:
            return [normalize_name(name) for name in names]
    except (KeyError, TypeError, ValueError):
        pass
    raise ModelError(f"model: {path} takes weights of styles, {style.shape}, but its metadata doesn't name them")


def _parse_object(text: str) -> dict[str, Any]:
    """A JSON object; an empty one if the text is something else."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return normalize_keys(found) if isinstance(found, dict) else {}


def _all_pictures(nodes: Sequence[onnxruntime.NodeArg]) -> bool:
    """Whether the nodes are one input and one output, both for pictures."""
    return len(nodes) == 2 and all(map(_is_pictures, nodes))


def _is_pictures(node: onnxruntime.NodeArg) -> bool:
    """Whether an input or output is float32 of shape (N, 3, H, W) with any H and W."""
    shape = node.shape
    free = len(shape) == 4 and not any(isinstance(side, int) for side in shape[2:])
    return node.type == "tensor(float)" and free and shape[1] == 3


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:120]
