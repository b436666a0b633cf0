"""Painting large photos coarse to fine: large strokes at a small size first, then finer ones at each doubled size.

A network paints strokes of a fixed size in pixels, so a large photo that is painted in a single pass is covered with
tiny strokes, all alike. Here the first pass is at the size that the network was trained for. Each further pass paints
what it has made, enlarged, with a part of the photo's own detail. It changes only strokes and edges: what is larger
than a few pixels, and so the whole picture's colors and composition, stays as the first pass made it.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from nst_lightning.images import fit_short_side, resize_array
from nst_lightning.images.color import LUMA
from nst_lightning.inference.rasters import Element, Raster, convert

Paint = Callable[[np.ndarray, float], np.ndarray]
"""Paints an array of shape (C, H, W) at a strength from 0 to 1, and returns a new one."""
PaintRaster = Callable[[Raster, float, Element], np.ndarray]
"""Paints a picture at a strength from 0 to 1, and returns an array with elements of some type."""

# Tuned by eye on photos of 3840x2160 and 5184x3456 pixels, with the twelve bundled styles.
FURTHER_STRENGTH = 0.3
"""Strength of the passes after the first. At 0.2, strokes are a little soft; at 0.5, smooth areas look engraved."""
PHOTO_DETAIL = 0.5
"""Share of the photo's own detail in what is painted again. Without it, lines fade; all of it shows noise and JPEG
blocks."""
KEPT = 4
"""A pass keeps what is left when its picture is scaled down this many times. At 2, strokes are fuzzy; without a limit,
each pass adds its own suns or curls, and the subject dissolves."""


def plan_short_sides(short_side: int, first: int) -> list[int]:
    """The short sides, in pixels, to paint a photo at: the first, then the photo's own after halving it repeatedly.

    So the first step enlarges by up to 2, all others by 2.

    Args:
        short_side: the photo's own.
        first: the short side of the first pass.

    >>> plan_short_sides(3456, 512)
    [512, 864, 1728, 3456]
    >>> plan_short_sides(500, 512)
    [500]
    """
    halved = [short_side]
    while halved[0] > 2 * first:
        halved.insert(0, (halved[0] + 1) // 2)
    return [first, *halved] if halved[0] > first else halved


def paint_coarse_to_fine(photos: Sequence[np.ndarray], paint: Paint, strength: float) -> np.ndarray:
    """Paint a photo at several sizes, one after the other.

    Args:
        photos: the photo at the sizes to paint it at, from the smallest to its own: RGB in [0, 1], float32 of shape
            (3, H, W). Or several photos at once, with the channels of all.
        paint: function that paints an array at a strength.
        strength: strength of the first pass. Those after it are weaker, and are given more of the photo's detail where
            the strength is lower, so that 0 gives the photo itself.

    Returns:
        The picture, RGB in [0, 1], of the last shape.
    """
    picture = paint(photos[0], strength)
    for seen, now in pairwise(photos):
        canvas = _add_detail(picture, seen, now, 1 - strength * (1 - PHOTO_DETAIL))
        picture = _paint_again(canvas, paint, _further_strength(strength, seen.shape[1:], now.shape[1:]))
    return picture


def go_on_in_strips(
    picture: np.ndarray, photo: Raster, sizes: Sequence[tuple[int, int]], paint: PaintRaster, strength: float
) -> np.ndarray:
    """Go on with `paint_coarse_to_fine`, at sizes for which arrays of floats would take too much memory.

    Args:
        picture: what has been painted so far, see `Raster.of_array`.
        photo: the photo.
        sizes: width and height of the pictures that are still to be made.
        paint: function that paints a picture at a strength.
        strength: strength of the first pass.

    Returns:
        The picture in 8 bits, of shape (3, H, W). On the way there, 16 bits keep what flat areas have.
    """
    for size in sizes:
        element: Element = np.uint8 if size == sizes[-1] else np.uint16
        before = picture.shape[:0:-1]
        canvas = _enlarge(Raster.of_array(picture), photo, size, 1 - strength * (1 - PHOTO_DETAIL)).stored(element)
        del picture  # memory for the pass
        picture = paint(Raster.of_array(canvas), _further_strength(strength, before, size), element)
        _keep_in_strips(picture, canvas)
    return picture


def mix_color(picture: np.ndarray, photo: np.ndarray, share: float) -> None:
    """Give a picture, in place, a share from 0 to 1 of the photo's color in place of its own; it keeps its luma."""
    gray = sum(weight * (own - other) for weight, own, other in zip(LUMA.astype(np.float32), photo, picture))
    for own, channel in zip(photo, picture):
        channel += share * (own - channel - gray)
    picture.clip(0, 1, out=picture)


def _further_strength(strength: float, before: Sequence[int], now: Sequence[int]) -> float:
    """The strength of a pass after the first, at sizes before and now.

    A step by less than 2 is weaker, so that a photo one pixel larger does not get a pass more at once.
    """
    return strength * FURTHER_STRENGTH * math.log2(min(now) / min(before))


def _add_detail(picture: np.ndarray, seen: np.ndarray, photo: np.ndarray, share: float) -> np.ndarray:
    """A picture enlarged to the photo's size, with a share of what the photo has more than it had when `seen`."""
    size = photo.shape[:0:-1]
    canvas = resize_array(picture, size)
    for channel, before, now in zip(canvas, seen, photo):  # one by one, since each may be large
        channel += share * (now - resize_array(before[None], size)[0])
    return canvas.clip(0, 1, out=canvas)


def _paint_again(canvas: np.ndarray, paint: Paint, strength: float) -> np.ndarray:
    """Paint an array, of which all that is larger than strokes is kept."""
    size = canvas.shape[:0:-1]
    small = fit_short_side(size, -(-min(size) // KEPT))
    kept = resize_array(canvas, small)
    picture = paint(canvas, strength)
    for channel, wanted in zip(picture, kept):
        found = resize_array(channel[None], small)
        channel += resize_array(wanted[None], size)[0] - resize_array(found, size)[0]
    return picture.clip(0, 1, out=picture)


def _enlarge(picture: Raster, photo: Raster, size: tuple[int, int], share: float) -> Raster:
    """What `_add_detail` makes of a picture, the photo of the picture's size, and the photo of another size."""
    rasters = (picture.resized(size), photo.resized(size), photo.resized(picture.size).resized(size))

    def read(start: int, stop: int) -> np.ndarray:
        enlarged, now, seen = (raster.read(start, stop) for raster in rasters)
        return enlarged + share * (now - seen)

    return Raster(size, read, max(raster.row_pixels for raster in rasters))


def _keep_in_strips(picture: np.ndarray, canvas: np.ndarray) -> None:
    """Keep, in place, all of a canvas that is larger than strokes, as `_paint_again` does."""
    painted = Raster.of_array(picture)
    size = painted.size
    small = fit_short_side(size, -(-min(size) // KEPT))
    found, wanted = (Raster.of_array(array).resized(small).stored(np.float32) for array in (picture, canvas))
    lost = [Raster.of_array(array).resized(size) for array in (found, wanted)]
    for start, rows in painted.strips():
        found, wanted = (raster.read(start, start + rows.shape[1]) for raster in lost)
        picture[:, start : start + rows.shape[1]] = convert(rows + wanted - found, picture.dtype.type)
