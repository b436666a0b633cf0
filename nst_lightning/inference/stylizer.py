"""The `Stylizer`, which stylizes pictures with an ONNX file."""

import math
import os
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime
from PIL import Image

from nst_lightning.errors import UserError, WorkError, naming, require, require_above, require_at_least
from nst_lightning.images import fit_short_side, resize_array
from nst_lightning.images.pillow_limits import check_pixels
from nst_lightning.inference.coarse_to_fine import mix_color, paint_coarse_to_fine, plan_short_sides
from nst_lightning.inference.input_shape import BYTES, MINIMUM_SIZE, InputShape
from nst_lightning.inference.large_photos import MIDDLING, LargePhotos
from nst_lightning.inference.metadata import parse_object, read_styles
from nst_lightning.inference.models import ModelError, bundled_models, find_model
from nst_lightning.inference.photos import (
    Given,
    Photo,
    join_pictures,
    like,
    scale_photo,
    size_of,
    split_photos,
    to_array,
    to_raster,
)
from nst_lightning.inference.providers import Provider, default_providers, find_providers, name_providers
from nst_lightning.inference.sessions import first_line, forget_after_fork, open_session, run_session
from nst_lightning.inference.style_weights import style_weights
from nst_lightning.limits import threads_for_onnx_runtime

CONTROLS = ("style", "strength", "preserve_color")
LEAST_FIRST_SIDE = 512
"""Least short side of the first pass, in pixels, at strokes of size 1: a picture painted at less, the size of some
trainings, lacks details, and its pixels show when it is enlarged."""
BATCH_PIXELS = 2**18
"""Pixels of photos that the network paints at once, if there are several. More don't fit the processor's caches."""


class Stylizer:
    """A transfer network in an ONNX file: `Stylizer("style.onnx")(image)` is the stylized image.

    `styles` has the names of the network's styles, if there are several; only such networks have `strength` and
    `preserve_color`. `input_shape` says whether the file is fixed at a height, width or batch size, and whether it
    takes bytes. All of the variants that `export` writes are used in the same way.

    A pickle, a deep copy, and a process that is forked later have the file's path, not its content, and load it again.

    Args:
        model: the .onnx file that `fit` or `export` wrote, or the name of a bundled network, such as `styles`.
        threads: number of processor threads to use; 0 for all that this process may use.
        providers: what to run on: `cpu`, `cuda`, `tensorrt`, `migraphx`, `openvino`, `directml`, `coreml` or `webgpu`,
            another name that ONNX Runtime has, a pair of a name and options, or several of these, best first. What they
            can't run, the CPU does. By default CUDA where it is installed and works, or else the CPU.
        max_memory: memory for the whole process in bytes. Photos that need more are painted in strips, with the same
            result. By default 1.1 GB beyond what the process uses, or more where strips need it.

    Raises:
        ModelError: the file is missing, damaged or not a transfer network.
        UserError: the number of threads is negative, `max_memory` is not above 0, or a provider can't be used here.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        threads: int = 0,
        providers: Provider | Sequence[Provider] | None = None,
        max_memory: float | None = None,
    ) -> None:
        require_at_least(0, threads=threads)
        require_above(0, max_memory=max_memory)
        path = find_model(model)
        name = str(model) if path == bundled_models().get(str(model)) else path.resolve()
        self._restore = partial(type(self), name, threads=threads, providers=providers, max_memory=max_memory)
        self._path, self._data, self._max_memory = path.resolve(), path.read_bytes(), max_memory
        self._threads, self._fall_back = threads_for_onnx_runtime(threads), providers is None
        self._providers = default_providers() if providers is None else find_providers(providers, self._threads)
        self._has_loops = b"Loop" in self._data
        forget_after_fork(self, "_session", "_large_photos")
        try:
            self.providers: list[str] = name_providers(self._session)
        except UserError:
            raise
        except Exception as error:  # ONNX Runtime's own exceptions share no base class but this
            raise ModelError(f"model: {path} is damaged or not an ONNX file ({first_line(error)})") from None
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        adjustable = tuple(node.name for node in inputs[1:]) == CONTROLS
        if len(inputs) not in (1, 1 + len(CONTROLS) * adjustable) or not _is_transfer(inputs[0], *outputs):
            described = ", ".join(f"{node.name} {node.type} {node.shape}" for node in (*inputs, *outputs))
            raise ModelError(f"model: {path} is not a transfer network for photos: {described}")
        self._input = inputs[0].name
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        self.input_shape = InputShape.of(inputs[0], self.metadata)
        self.styles: list[str] = read_styles(self.metadata, inputs[1], path) if adjustable else []

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle how to load the file again, since ONNX Runtime's session can't be pickled."""
        return self._restore, ()

    def __call__(
        self,
        image: Given,
        *,
        short_side: int | None = None,
        style: str | Mapping[str, float] | None = None,
        strength: float = 1.0,
        preserve_color: float = 0.0,
        strokes: float | Literal["native"] = 1.0,
    ) -> Given:
        """Stylize an image, coarse to fine if it is larger than the photos of the training, and than 512 pixels.

        Args:
            image: the photo, of any mode and color space; it is turned upright as its EXIF orientation says, and its
                transparency is dropped. Or an array of a photo in sRGB, of shape (H, W, 3), or of several equal ones,
                of shape (N, H, W, 3): bytes, or float32 in [0, 1].
            short_side: short side in pixels to scale the photo to before it is stylized; by default it keeps its size.
            style: the name of one of `styles`, by default the first, or several names with their weights.
            strength: strength of the style, from 0, the photo itself, to 1.
            preserve_color: from 0, the painting's colors, to 1, the photo's own.
            strokes: the size of strokes in large photos, relative to the painting's: 0.5 is finer, 2 bolder. `native`
                is a single pass, whose strokes have a fixed size in pixels; so do those of files of a fixed size, and
                those in photos that are not larger than the first pass. This has a short side of
                `trained_short_side` / `strokes`, or of 512 / `strokes` for networks that were trained for less.

        Returns:
            An RGB image in sRGB, as large as the upright photo, or as the scaled one; for an array, an array of the
            same type. If a file of a fixed size allows only a smaller picture, it is painted at that size and enlarged.
            Pictures that are painted in strips have 8 bits, whatever the type. Those of several photos may differ by
            rounding from those of each.

        Raises:
            UserError: the photo, also after it is scaled down for a file of a fixed size, or `short_side` is smaller
                than 32 pixels, or the scaled photo has more than 500 megapixels, the array is of another type or shape
                or out of range, the style is unknown, a number is out of range, `strokes` is another word, or the
                network has one style and nothing to adjust.
            WorkError: ONNX Runtime failed, or the photo is too large for the memory.
        """
        check_short_side(short_side)
        check_strokes(strokes)
        controls = self.controls(style, strength, preserve_color)
        photos = split_photos(image)
        width, height = size = size_of(photos[0])
        if short_side is not None:
            size = fit_short_side(size, short_side)
            with naming("short_side"):
                check_pixels(size)
        elif min(size) < MINIMUM_SIZE:
            raise UserError(f"a photo of {width}x{height} is too small: at least {MINIMUM_SIZE}x{MINIMUM_SIZE} pixels")
        fitting = self.input_shape.fit_whole(size)
        short_sides = plan_short_sides(min(fitting), self._first_short_side(min(fitting), style, strokes))
        sizes = [fit_short_side(fitting, short_side) for short_side in short_sides]
        count = self._count_at_once(fitting)
        pictures: list[Photo] = []
        try:
            for start in range(0, len(photos), count):
                scaled = [scale_photo(scale_photo(photo, size), fitting) for photo in photos[start : start + count]]
                pictures += [scale_photo(picture, size) for picture in self._paint(scaled, sizes, controls)]
        except (WorkError, MemoryError) as error:
            problem = f"a photo of {fitting[0]}x{fitting[1]} could not be stylized ({first_line(error)})"
            raise WorkError(problem) from None
        return join_pictures(pictures, image)

    def warm_up(self, size: tuple[int, int]) -> None:
        """Paint a black photo of a width and height in pixels, so that the first real one takes no longer than others.

        Networks are loaded and prepared when they first see a size, above all by GPUs and OpenVINO.

        Raises:
            UserError: a side is smaller than 32 pixels.
            WorkError: as above.
        """
        require("size", size, min(size) >= MINIMUM_SIZE, f"a width and a height >= {MINIMUM_SIZE}")
        self(Image.new("RGB", size))

    def _first_short_side(
        self, short_side: int, style: str | Mapping[str, float] | None, strokes: float | Literal["native"]
    ) -> int:
        """The short side at which a photo with some short side is painted first: its own, for a single pass."""
        if strokes == "native" or self.input_shape.height or self.input_shape.width:
            return short_side
        trained = self.trained_short_side(style)
        if trained is None:
            return short_side
        return max(MINIMUM_SIZE, round(min(max(trained, LEAST_FIRST_SIDE) / strokes, short_side)))

    def _count_at_once(self, size: tuple[int, int]) -> int:
        """The number of photos of a width and height that go through the network at once."""
        if self.input_shape.batch or self._max_memory:
            return self.input_shape.batch or 1
        return max(1, BATCH_PIXELS // (size[0] * size[1]))

    def _paint(
        self, photos: Sequence[Photo], sizes: Sequence[tuple[int, int]], controls: Mapping[str, np.ndarray]
    ) -> list[Photo]:
        """Paint photos at several sizes, one after the other."""
        if len(photos) == 1 and (self._max_memory or math.prod(sizes[-1]) > MIDDLING) and self._large_photos:
            picture = self._large_photos.paint(to_raster(photos[0]), sizes, controls)
            if picture is not None:
                return [like(picture, photos[0])]
        array = np.concatenate([to_array(photo) for photo in photos])
        painted = self._paint_whole([resize_array(array, size) for size in sizes], controls)
        return [like(picture, photo) for picture, photo in zip(np.split(painted, len(photos)), photos)]

    @cached_property
    def _session(self) -> onnxruntime.InferenceSession:
        return self._open_session(self._path if _is_unicode(self._path) else self._data)

    @cached_property
    def _large_photos(self) -> LargePhotos | None:
        """What paints large photos in strips; None if the file can't be cut into stages."""
        if self.input_shape.height or self.input_shape.width or self.input_shape.batch not in (None, 1):
            return None
        try:
            return LargePhotos(
                self._data,
                self._open_session,
                self._paint_whole,
                multiple=self.input_shape.multiple,
                max_memory=self._max_memory,
            )
        except Exception:  # of any class, as above
            return None

    def _open_session(self, model: Path | bytes) -> onnxruntime.InferenceSession:
        return open_session(model, self._threads, self._providers, fall_back=self._fall_back)

    def _paint_whole(self, photos: Sequence[np.ndarray], controls: Mapping[str, np.ndarray]) -> np.ndarray:
        """Paint a photo at the sizes that it is given in, or several with the channels of all, shape (3 N, H, W)."""
        if len(photos) == 1:
            return self._run(photos[0], controls)

        def paint(array: np.ndarray, strength: float) -> np.ndarray:
            if controls:
                return self._run(array, {**controls, "strength": _number(strength), "preserve_color": _number(0)})
            return array + strength * (self._run(array, {}) - array)

        picture = paint_coarse_to_fine(photos, paint, controls["strength"].item() if controls else 1.0)
        if controls and controls["preserve_color"]:  # once for all passes
            for start in range(0, len(picture), 3):
                own = slice(start, start + 3)
                mix_color(picture[own], photos[-1][own], controls["preserve_color"].item())
        return picture

    def _run(self, array: np.ndarray, controls: Mapping[str, np.ndarray]) -> np.ndarray:
        given = array.reshape(-1, 3, *array.shape[1:])
        try:
            photos = self.input_shape.fill(given)
            large = photos.size > 3 * MIDDLING // 2  # the next small ones need the memory again
            inputs = {self._input: photos, **controls}
            (pictures,) = run_session(self._session, inputs, large=large, endless=self._has_loops)
        except Exception as error:  # of any class, as above
            raise WorkError(first_line(error)) from None
        if pictures.shape != photos.shape:
            raise WorkError(
                f"the network made a picture of shape {pictures.shape} from a photo of shape {photos.shape}"
            )
        if np.isnan(pictures.min()):
            raise WorkError("the network made a picture with values that are not numbers")
        return self.input_shape.cut(pictures, given.shape).reshape(array.shape)

    @property
    def credits(self) -> dict[str, str]:
        """Who made the styles' paintings, by the names of the styles, as far as the file says."""
        return {name: str(text) for name, text in parse_object(self.metadata.get("credits", "{}")).items()}

    def trained_short_side(self, style: str | Mapping[str, float] | None = None) -> int | None:
        """Short side, in pixels, of the photos on which a style, by default the first, was trained.

        At this size, strokes are as large as in the painting. The mean for a blend; None if the file doesn't say. The
        name doesn't matter for a network of one style.

        Raises:
            UserError: the style is unknown.
        """
        weights = style_weights(style, self.styles) if self.styles else [1.0]
        stated, general = parse_object(self.metadata.get("sizes", "{}")), self.metadata.get("size")
        names = self.styles or [""]
        sides = [(weight, str(stated.get(name, general))) for name, weight in zip(names, weights) if weight]
        if not all(side.isdecimal() and len(side) < 10 and int(side) >= MINIMUM_SIZE for _, side in sides):
            return None
        return round(sum(weight * int(side) for weight, side in sides))

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
        weights = np.array(style_weights(style, self.styles), np.float32)
        return dict(zip(CONTROLS, (weights, _number(strength), _number(preserve_color))))


def check_short_side(short_side: int | None, name: str = "short_side") -> None:
    """Refuse a short side that is too small for networks; None means that photos keep their size.

    Raises:
        UserError: the short side is smaller than 32 pixels.
    """
    require_at_least(MINIMUM_SIZE, **{name: short_side})


def check_strokes(strokes: float | str) -> None:
    """Refuse a size of strokes that is neither `native` nor a number above 0.

    Raises:
        UserError: it is something else.
    """
    number = isinstance(strokes, int | float) and strokes is not True and 0 < strokes < math.inf
    require("strokes", strokes, number or strokes == "native", "> 0, or native")


def _number(value: float) -> np.ndarray:
    return np.array([value], np.float32)


def _is_unicode(path: Path) -> bool:
    """Whether ONNX Runtime can open a file by its name."""
    return str(path).encode("utf-8", "ignore") == os.fsencode(path)


def _is_transfer(photo: onnxruntime.NodeArg, *outputs: onnxruntime.NodeArg) -> bool:
    """Whether there is one output, and it and the photo have the same shape, fixed or not.

    Both are float32 of shape (N, 3, H, W), or bytes of shape (N, H, W, 3).
    """
    nodes = (photo, *outputs)
    channels = {"tensor(float)": 1, BYTES: 3}.get(photo.type)
    if len(nodes) != 2 or channels is None or any(n.type != photo.type or len(n.shape) != 4 for n in nodes):
        return False
    pairs = [set(lengths) for lengths in zip(*(node.shape for node in nodes))]
    fixed = [{length for length in pair if isinstance(length, int)} for pair in pairs]
    return fixed[channels] == pairs[channels] == {3} and all(len(lengths) < 2 for lengths in fixed)
