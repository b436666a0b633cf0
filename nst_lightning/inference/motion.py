"""Motion between two frames of a video: a mesh over the frame, fitted from coarse to fine by Lucas and Kanade's method.

The method is that of B. Lucas and T. Kanade (1981), in windows around the corners of the mesh.
"""

import numpy as np
from PIL import Image

BLOCK = 16
"""Side of the mesh's cells, in pixels of the frame as it is compared; windows are twice as large."""
_LEVELS = 3
_MULTIPLE = BLOCK * 2 ** (_LEVELS - 1)
_LARGEST_SIDE = 480
"""Short side, in pixels, above which frames are scaled down to be compared: this is exact enough, and faster."""
_STEPS = 2
"""Steps at each level; each moves a corner by at most 1.5 pixels of the level."""
_LARGEST_STEP = 1.5
_LARGEST_DIFFERENCE = 32.0
"""Levels of 255 above which a difference counts no more: it is something else that appeared."""
_STIFFNESS = 4.0 * (2 * BLOCK) ** 2
"""Added to the squared gradients of a window: without edges or texture, nothing moves."""


def to_gray_frame(frame: Image.Image) -> Image.Image:
    """The gray frame, of the size at which frames are compared."""
    scale = min(1.0, _LARGEST_SIDE / min(frame.size))
    width, height = (_MULTIPLE * max(1, round(side * scale / _MULTIPLE)) for side in frame.size)
    return frame.convert("L").resize((width, height), Image.Resampling.BILINEAR)


def no_motion(gray: Image.Image) -> np.ndarray:
    """The mesh of a frame that stands still; see `find_motion`."""
    return np.zeros((2, gray.height // BLOCK + 1, gray.width // BLOCK + 1))


def find_motion(now: Image.Image, before: Image.Image, start: np.ndarray) -> np.ndarray:
    """Where the corners of a mesh over a frame were in an earlier one.

    Args:
        now: the frame, from `to_gray_frame`.
        before: the earlier frame.
        start: where to begin, such as the motion of the frame before.

    Returns:
        How far each corner is moved down and to the right, in pixels of these frames; of shape (2, rows, columns).
    """
    motion = start[:, :: 2 ** (_LEVELS - 1), :: 2 ** (_LEVELS - 1)]
    for level in reversed(range(_LEVELS)):
        scale = 2**level
        size = now.width // scale, now.height // scale
        seen, known = (np.asarray(frame.resize(size, Image.Resampling.BOX), np.float32) for frame in (now, before))
        motion = motion if level == _LEVELS - 1 else _refine(motion)
        for _ in range(_STEPS):
            motion = _median(motion + scale * _step(seen, known, motion / scale))
    return motion


def follow_motion(image: Image.Image, motion: np.ndarray) -> Image.Image:
    """An image, of any size and mode, moved as the mesh says; what comes from outside of it is black."""
    corners = motion.shape[1:]
    rows, columns = (np.linspace(0, side, count).round() for side, count in zip((image.height, image.width), corners))
    scales = (side / ((count - 1) * BLOCK) for side, count in zip((image.height, image.width), corners))
    down, right = (scale * moved for scale, moved in zip(scales, motion))
    y, x = rows[:, None] + down, columns + right
    top, left, bottom, rest = slice(-1), slice(-1), slice(1, None), slice(1, None)
    order = ((top, left), (bottom, left), (bottom, rest), (top, rest))  # as Pillow wants it
    quads = np.stack([axis[place] for place in order for axis in (x, y)], -1).reshape(-1, 8).tolist()
    edges = [[*map(int, values)] for values in (columns, rows)]
    boxes = [(x0, y0, x1, y1) for y0, y1 in zip(edges[1], edges[1][1:]) for x0, x1 in zip(edges[0], edges[0][1:])]
    return image.transform(image.size, Image.Transform.MESH, [*zip(boxes, quads)], Image.Resampling.BICUBIC)


def _step(now: np.ndarray, before: np.ndarray, motion: np.ndarray) -> np.ndarray:
    """A step of the corners that lessens the squared difference in their windows."""
    moved = np.asarray(follow_motion(Image.fromarray(before + 1), motion)) - 1  # so that only what is outside is < 0
    inside = moved > -0.5
    slope = np.array(np.gradient(np.where(inside, (now + moved) / 2, now)))
    change = np.where(inside, (now - moved).clip(-_LARGEST_DIFFERENCE, _LARGEST_DIFFERENCE), 0)
    down, right = slope * inside
    yy, xx, yx, yt, xt = (
        _sum_windows(product) for product in (down * down, right * right, down * right, down * change, right * change)
    )
    yy, xx = yy + _STIFFNESS, xx + _STIFFNESS
    step = np.stack([xx * yt - yx * xt, yy * xt - yx * yt]) / (yy * xx - yx * yx)
    return step.clip(-_LARGEST_STEP, _LARGEST_STEP)


def _sum_windows(values: np.ndarray) -> np.ndarray:
    """Sums of values over the cells around each corner of the mesh."""
    height, width = values.shape
    cells = values.reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK).sum((1, 3), dtype=np.float64)
    padded = np.pad(cells, 1)
    return padded[:-1, :-1] + padded[1:, :-1] + padded[:-1, 1:] + padded[1:, 1:]


def _refine(motion: np.ndarray) -> np.ndarray:
    """The mesh with cells of half the side."""
    for axis in (1, 2):
        before, after = np.delete(motion, -1, axis), np.delete(motion, 0, axis)
        between = np.stack([before, (before + after) / 2], axis + 1)
        shape = [*motion.shape]
        shape[axis] = 2 * shape[axis] - 2
        motion = np.concatenate([between.reshape(shape), np.take(motion, [-1], axis)], axis)
    return motion


def _median(motion: np.ndarray) -> np.ndarray:
    """The median of each corner and its eight neighbors, which drops single mistakes."""
    padded = np.pad(motion, ((0, 0), (1, 1), (1, 1)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    return np.median(windows, axis=(-2, -1))
