"""Painting photos that are too large to be painted whole: strip by strip, within a given amount of memory."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import psutil
from PIL import Image

from nst_lightning.errors import UserError
from nst_lightning.images import array_to_image
from nst_lightning.inference.coarse_to_fine import go_on_in_strips, mix_color
from nst_lightning.inference.rasters import Element, Raster, store
from nst_lightning.inference.stages import OpenSession, Stage, StagedNetwork
from nst_lightning.inference.strips import StripPainter
from nst_lightning.limits import available_memory
from nst_lightning.system import give_back_freed_memory

GB = 1e9
DEFAULT_MEMORY = 1.1 * GB
"""Memory that is taken by default, where that is enough, beyond what the process uses already."""
USABLE = 0.8
"""Share of the free memory that is taken by default."""
MIDDLING = 2**21
"""Pixels up to which a photo is painted whole, unless the memory is limited."""
WORKING = (64e6, 32e6, 16e6)
"""Bytes for the features of a strip, by preference: small strips are mostly borders, and the C library gives the memory
of single large tensors back to the system, which has to clear it before it lends it again."""
OVERHEAD = 2.0
"""Memory that a strip takes in practice, relative to the features in use: operators copy some of them."""
WHOLE_OVERHEAD = 3.0
"""The same for a photo that is painted whole, where ONNX Runtime also sets memory aside."""
ENOUGH = 0.65 * GB
"""Memory, beyond what the process uses already, that is kept between stages, unless the memory is limited. Freed memory
is given back then, which takes time: blocks of other sizes can't always be made of it."""
SESSIONS = 60e6
"""Bytes that the sessions of all stages take."""
ARRAYS = 60
"""Bytes for each pixel of a photo that is painted whole, besides its features: five arrays."""
ADJUSTED = ("strength", "preserve_color")
_SAMPLES, _END = 3, 7  # bytes for each pixel of a picture in 8 bits, and of one with the image that is made of it
_HEIGHT, _WIDTH = 192, 64  # of the photo on which strips are tried
_DECIBELS = 45

Controls = Mapping[str, np.ndarray]
"""The network's inputs besides the photo; none for a network of one style."""
PaintWhole = Callable[[Sequence[np.ndarray], Controls], np.ndarray]
"""Paints a photo at several sizes, one after the other, given as arrays of shape (3, H, W)."""


@dataclass(frozen=True)
class StripPlan:
    """How to paint a photo in strips.

    Args:
        stages: the stages of the network.
        working: bytes for the features of a strip.
    """

    stages: Sequence[Stage]
    working: float


class LargePhotos:
    """A network that paints photos in strips where there is no memory to paint them whole.

    Args:
        data: the bytes of an ONNX file.
        open_session: function that makes a session of a model's bytes.
        paint_whole: function that paints a photo whole, with the same network.
        multiple: what the network's heights and widths must be multiples of.
        max_memory: bytes for the whole process; by default 1.1 GB more than it uses, or what strips need.
    """

    def __init__(
        self,
        data: bytes,
        open_session: OpenSession,
        paint_whole: PaintWhole,
        *,
        multiple: int = 1,
        max_memory: float | None = None,
    ) -> None:
        self._network, self._paint_whole = StagedNetwork(data, open_session), paint_whole
        self._multiple, self._max_memory = multiple, max_memory
        self._tried: dict[int, bool] = {}

    def paint(self, photo: Raster, sizes: Sequence[tuple[int, int]], controls: Controls) -> Image.Image | None:
        """Paint a photo at several sizes, one after the other; the first ones whole, if there is memory for it.

        Args:
            photo: the photo.
            sizes: widths and heights to paint it at, from the smallest to the photo's own.
            controls: the network's other inputs.

        Returns:
            An image of mode RGB, or None if there is memory to paint the photo whole at all sizes, or if the network
            does not paint the same in strips.

        Raises:
            UserError: even the narrowest strips need more memory than allowed.
        """
        # the photo's own size needs most memory, and says how much if there is too little
        plans = {size: self._plan(size, controls, passes=len(sizes)) for size in reversed(sizes)}
        whole = sum(plan is None for plan in plans.values())  # the smallest sizes
        if whole == len(sizes):
            return None

        def paint(raster: Raster, strength: float, element: Element) -> np.ndarray:
            plan = plans[raster.size]
            assert plan is not None
            strips = self._paint_strips(raster, plan, controls, strength)
            return store(raster.size, strips, element)

        strength, color = (controls[name].item() for name in ADJUSTED) if controls else (1.0, 0.0)

        def first() -> np.ndarray:
            if not whole:
                return paint(photo.resized(sizes[0]), strength, np.uint16 if len(sizes) > 1 else np.uint8)
            photos = [photo.resized(size).stored(np.float32) for size in sizes[:whole]]
            return self._paint_whole(photos, _adjusted(controls, strength))

        further = sizes[max(1, whole) :]
        return _with_color(go_on_in_strips(first(), photo, further, paint, strength), photo, color)

    def _plan(self, size: tuple[int, int], controls: Controls, *, passes: int) -> StripPlan | None:
        """How to paint a photo of a size, (width, height), in strips.

        The plan is None if there is memory to paint the photo whole, or if strips would not look the same.
        """
        pixels, available = size[0] * size[1], self._available()
        if pixels * (self._network.working * WHOLE_OVERHEAD + ARRAYS) <= available:
            return None
        plans = self._cut(size[1] + -size[1] % self._multiple, controls)
        if not plans:
            return None
        needs = [self._needed(plan, pixels, passes) for plan in plans]
        fitting = [plan for plan, needed in zip(plans, needs) if needed <= available]
        if not fitting and self._max_memory is not None:
            least = f"{(self._max_memory - available + min(needs)) / GB:.3g} GB for a photo of {size[0]}x{size[1]}"
            raise UserError(f"max_memory must be >= {least}, got {self._max_memory / GB:.3g} GB", argument="max_memory")
        return [*fitting, plans[-len(WORKING)]][0]

    def _cut(self, height: int, controls: Controls) -> list[StripPlan]:
        """Plans for photos of a height, by preference; none if strips would not look the same, or can't be painted."""
        scales = reversed(self._network.scales)
        try:
            plans = [StripPlan(self._network.stages(height, scale), size) for scale in scales for size in WORKING]
            same = self._equals_whole(plans[-1], height % self._network.rows.step, controls)
        except Exception:  # of any kind, depending on what operators a network has
            same = False
        return plans if same else []

    def _paint_strips(
        self, raster: Raster, plan: StripPlan, controls: Controls, strength: float
    ) -> Iterator[tuple[int, np.ndarray]]:
        """The strips of a picture at a strength, with the network's own colors."""
        adjusted = _adjusted(controls, strength)
        filled, (width, height) = raster.filled(self._multiple), raster.size
        give_back_freed_memory()
        enough = _used_memory() + ENOUGH if self._max_memory is None else 0

        def tidy() -> None:
            if _used_memory() > enough:
                give_back_freed_memory()

        painter = StripPainter(self._network, plan.stages, filled, adjusted, working=plan.working, after_stage=tidy)
        for start, rows in painter.paint():
            painted = rows[:, : height - start, :width]
            if controls:
                yield start, painted
            else:
                own = raster.read(start, start + painted.shape[1])
                yield start, own + np.float32(strength) * (painted - own)

    def _needed(self, plan: StripPlan, pixels: int, passes: int) -> float:
        """The bytes that a plan needs at once, beyond those that the process uses already."""
        *kept, last = self._network.kept_bytes(plan.stages)
        canvas = _SAMPLES if passes > 1 else 0
        return SESSIONS + pixels * max(*kept, last + _SAMPLES, _END) + pixels * canvas + OVERHEAD * plan.working

    def _available(self) -> float:
        """The bytes that this process may still take."""
        give_back_freed_memory()
        if self._max_memory is not None:
            return self._max_memory - _used_memory()
        return min(DEFAULT_MEMORY, USABLE * available_memory())

    def _equals_whole(self, plan: StripPlan, remainder: int, controls: Controls) -> bool:
        """Whether a small photo looks the same in narrow strips; networks may have operators that see all of it."""
        if remainder not in self._tried:
            rows = np.linspace(0, 1, _HEIGHT + remainder, dtype=np.float32)[:, None]  # no strip is like another
            photo = rows * np.random.default_rng(0).random((3, len(rows), _WIDTH), np.float32)
            strips = self._paint_strips(Raster.of_array(photo), replace(plan, working=0), controls, 1.0)
            picture = store((_WIDTH, photo.shape[1]), strips, np.float32)
            error = np.square(picture - self._paint_whole([photo], _adjusted(controls, 1.0))).mean()
            self._tried[remainder] = bool(error <= 10 ** (-_DECIBELS / 10))
        return self._tried[remainder]


def _used_memory() -> float:
    return float(psutil.Process().memory_info().rss)


def _adjusted(controls: Controls, strength: float) -> Controls:
    """The controls at another strength, and without the photo's own colors, if the network has controls."""
    values = dict(zip(ADJUSTED, (strength, 0))) if controls else {}
    return {**controls, **{name: np.array([value], np.float32) for name, value in values.items()}}


def _with_color(picture: np.ndarray, photo: Raster, share: float) -> Image.Image:
    """An image of a picture, see `Raster.of_array`, with a share of the photo's colors, as `mix_color` gives it."""
    raster = Raster.of_array(picture)
    image = Image.new("RGB", raster.size)
    for start, rows in raster.strips():
        if share:
            mix_color(rows, photo.read(start, start + rows.shape[1]), share)
        image.paste(array_to_image(rows), (0, start))
    return image
