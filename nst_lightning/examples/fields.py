"""Functions that the drawn style pictures share: coordinates, smooth noise, mixing colors, light on a relief."""

import numpy as np
from PIL import Image, ImageFilter

Array = np.ndarray


def grid(size: int) -> tuple[Array, Array]:
    """Coordinates x (to the right) and y (down) in [0, 1] of a square's pixels, each of shape (size, size)."""
    y, x = np.mgrid[0:size, 0:size] / size
    return x, y


def smooth_noise(random: np.random.Generator, size: int, cells: int, octaves: int = 1) -> Array:
    """Noise of shape (size, size), about -1 to 1, with details of 1/cells of the side, and finer with each octave."""
    total, field = 0.0, np.zeros((size, size))
    for octave in range(octaves):
        count = min(size, cells * 2**octave) + 3
        coarse = Image.fromarray(random.uniform(-1, 1, (count, count)).astype(np.float32))
        margin = size / (count - 3)
        fine = coarse.resize([round(size + 3 * margin)] * 2, Image.Resampling.BICUBIC)
        start = round(1.5 * margin)
        field += np.asarray(fine)[start : start + size, start : start + size] / 2**octave
        total += 0.5**octave
    return field / total * 1.6


def mix(first: Array, second: Array, share: Array) -> Array:
    """Colors between `first` and `second`, of shape (..., 3); `share` of shape (...) is clipped to [0, 1]."""
    share = np.clip(share, 0, 1)[..., None]
    return first * (1 - share) + second * share


def ramp(colors: Array, place: Array) -> Array:
    """Interpolate in a row of colors, shape (count, 3): the first color is at place 0, the last at place 1."""
    place = np.clip(place, 0, 0.999) * (len(colors) - 1)
    lower = place.astype(int)
    return mix(colors[lower], colors[lower + 1], place - lower)


def step(values: Array, width: float) -> Array:
    """A smooth step from 0 for values below 0 to 1 for values above, over a range of `width`."""
    t = np.clip(values / width + 0.5, 0, 1)
    return t * t * (3 - 2 * t)


def blur(field: Array, radius: float) -> Array:
    """Blur a field of shape (H, W) with values in [0, 1] over `radius` pixels."""
    image = Image.fromarray((np.clip(field, 0, 1) * 255).round().astype(np.uint8))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(radius))) / 255


def lit(colors: Array, relief: Array, strength: float) -> Array:
    """Light colors of shape (H, W, 3) from the upper left, on a relief of shape (H, W)."""
    down, across = np.gradient(relief)
    slope = -strength * (down + across)
    shaded = colors * (1 + np.clip(slope, -0.5, 0.35))[..., None]
    return np.clip(shaded + np.clip(slope - 0.2, 0, 0.25)[..., None], 0, 1)


def to_image(colors: Array) -> Image.Image:
    """An RGB picture from colors in [0, 1] of shape (H, W, 3)."""
    return Image.fromarray((np.clip(colors, 0, 1) * 255).round().astype(np.uint8))
