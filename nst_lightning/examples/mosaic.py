"""A mosaic: fans of small stones set in arcs, from a warm sky down to a deep sea."""

import numpy as np
from PIL import Image

from nst_lightning.examples.fields import Array, blur, grid, lit, mix, smooth_noise, step, to_image

WARM = np.array([(0.96, 0.90, 0.76), (0.93, 0.55, 0.38), (0.98, 0.80, 0.42), (0.80, 0.28, 0.27), (0.97, 0.72, 0.58)])
COOL = np.array([(0.90, 0.93, 0.84), (0.16, 0.62, 0.60), (0.45, 0.80, 0.74), (0.05, 0.30, 0.42), (0.10, 0.46, 0.55)])
FANS, RINGS = 3, 8
"""Fans across the picture, and rings of stones in each."""


def mosaic(size: int = 768, seed: int = 0) -> Image.Image:
    """Draw the picture, `size` pixels square, always the same for the same seed."""
    random = np.random.default_rng(seed)
    x, y = grid(size)
    bend = [0.012 * smooth_noise(random, size, 7) for _ in range(2)]  # irregular, as if set by hand
    fan, center, radius, angle = _fans(x + bend[0], y + bend[1])
    ring = np.clip((radius * RINGS).astype(int), 0, RINGS - 1)
    count = np.maximum(3, np.round(2 * np.pi * (ring + 0.5) * 0.8))  # stones about as long as wide
    along = angle / (2 * np.pi) * count + _random_values(random, fan, ring)
    stone = _random_values(random, fan, ring, np.floor(along).astype(int), shape=(6,))
    gaps = [0.5 - np.abs(part % 1 - 0.5) for part in (radius * RINGS, along)]
    edge = np.minimum(*gaps) - 0.055 - 0.05 * (stone[..., 0] - 0.5)
    kind = (ring + 2 * (fan % 2)) % len(WARM)
    sunken = step(center - 0.5 + 0.12 * (stone[..., 1] - 0.5), 0.5)
    colors = mix(WARM[kind], COOL[kind], sunken)
    colors = colors * (0.78 + 0.42 * stone[..., 2])[..., None] + 0.10 * (stone[..., 3:] - 0.5)
    colors = colors * (1 + 0.10 * smooth_noise(random, size, 110))[..., None]
    mortar = np.array([0.24, 0.21, 0.22]) * (1 + 0.35 * smooth_noise(random, size, 90, octaves=2))[..., None]
    inside = step(edge, 0.05)
    tilt = 1.2 * (stone[..., 4] - 0.5) * (radius * RINGS % 1) + 1.2 * (stone[..., 5] - 0.5) * (along % 1)
    relief = blur(np.clip(inside * (0.55 + 0.4 * tilt), 0, 1), size / 500)
    return to_image(lit(mix(mortar, colors, inside), 2.2 * relief, strength=1.0))


def _fans(x: Array, y: Array) -> tuple[Array, Array, Array, Array]:
    """For each pixel: number and height of its fan in the picture, and its radius (0 to 1) and angle in the fan."""
    reach = 0.5 / FANS
    number, center, radius, angle = (np.zeros(x.shape, kind) for kind in (int, float, float, float))
    for row in range(-1, 2 * FANS + 4):  # each row lies over the one above
        middle = row * reach
        column = np.floor(x * FANS + 0.5 * (row % 2)).astype(int)
        across = x - (column + 0.5 - 0.5 * (row % 2)) / FANS
        distance = np.hypot(across, y - middle) / reach
        over = distance < 1
        values = (row * 64 + column + 64, np.full(x.shape, middle), distance, np.arctan2(y - middle, across))
        number, center, radius, angle = (
            np.where(over, new, old) for new, old in zip(values, (number, center, radius, angle))
        )
    return number, center, radius, angle


def _random_values(random: np.random.Generator, *numbers: Array, shape: tuple[int, ...] = ()) -> Array:
    """Random numbers from 0 to 1, equal wherever all of `numbers` are equal."""
    table = random.random((4093, *shape))
    place = sum(number * factor for number, factor in zip(numbers, (1, 733, 1571)))
    return table[place % len(table)]
