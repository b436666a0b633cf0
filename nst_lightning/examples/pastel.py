"""A pastel: chalk strokes on dark paper, poplars by a river at dusk."""

import numpy as np
from PIL import Image

from nst_lightning.examples.fields import Array, grid, mix, ramp, smooth_noise, step, to_image

PAPER = np.array([0.33, 0.30, 0.40])
SKY = np.array([(0.26, 0.46, 0.70), (0.48, 0.70, 0.78), (0.96, 0.80, 0.62), (0.93, 0.58, 0.50)])
LAND = np.array([(0.56, 0.46, 0.66), (0.36, 0.52, 0.50), (0.74, 0.66, 0.34)])
TREES = np.array([(0.16, 0.34, 0.36), (0.30, 0.46, 0.28), (0.66, 0.58, 0.24), (0.80, 0.46, 0.26)])
WATERLINE, SHORE = 0.62, 0.60


def pastel(size: int = 768, seed: int = 0) -> Image.Image:
    """Draw the picture, `size` pixels square, always the same for the same seed."""
    random = np.random.default_rng(seed)
    colors, angles = _scene(size, random)
    grain = smooth_noise(random, size, size // 5) + 0.6 * smooth_noise(random, size, size // 2)
    picture = np.broadcast_to(PAPER, colors.shape)
    for width, cover, tone in ((0.032, 0.72, -0.06), (0.018, 0.15, 0.0), (0.010, -0.30, 0.10)):
        strokes, light = (
            _smear(smooth_noise(random, size, round(cells / width)), angles, 7 * width) for cells in (1, 0.7)
        )
        chalk = step(strokes + cover + 0.22 * grain, 0.5)
        picture = mix(picture, colors + (tone + 0.16 * light)[..., None], 0.92 * chalk)
    return to_image(picture + 0.02 * grain[..., None])


def _smear(noise: Array, angles: Array, length: float) -> Array:
    """Smear noise of shape (size, size) along directions in radians, over a fraction `length` of the side."""
    size, steps = len(noise), 24
    down, across = (0.5 * length * size / steps * turn(angles) for turn in (np.sin, np.cos))
    total = noise.copy()
    for way in (-1, 1):
        row, column = np.mgrid[0:size, 0:size]
        y, x = row.astype(float), column.astype(float)
        for _ in range(steps):
            y, x = y + way * down[row, column], x + way * across[row, column]
            row, column = (np.clip(place, 0, size - 1).astype(int) for place in (y, x))
            total += noise[row, column]
    return 0.5 * total / total.std()


def _scene(size: int, random: np.random.Generator) -> tuple[Array, Array]:
    """Colors of shape (size, size, 3), and the directions of the strokes in radians."""
    x, y = grid(size)
    mirrored = np.where(y > WATERLINE, 2 * WATERLINE - y + 0.010 * np.sin(150 * y**1.5), y)
    wobble = 0.10 * smooth_noise(random, size, 3, octaves=3)
    colors = ramp(SKY, (mirrored + wobble) / SHORE)
    clouds = smooth_noise(random, size, 4, octaves=4) + 1.2 * mirrored - 0.45
    colors = mix(colors, np.array([0.99, 0.84, 0.72]), 0.75 * step(clouds, 0.6))
    angles = 0.5 + 0.9 * smooth_noise(random, size, 3)
    for i, color in enumerate(LAND):
        top = 0.44 + 0.05 * i + 0.05 * np.sin((4 + 2 * i) * x + 2 * i) * (3 - i) / 3
        depth = mirrored - top
        lights = mix(color * 0.75, np.clip(color * 1.25, 0, 1), 0.5 + 0.9 * smooth_noise(random, size, 7, octaves=2))
        colors = mix(colors, lights, step(depth, 0.008))
        angles = np.where(depth > 0, 0.25 * (-1) ** i + 0.4 * smooth_noise(random, size, 4), angles)
    for place in random.uniform(-0.02, 1.02, 22):
        colors, angles = _poplar(colors, angles, x, mirrored, place, random)
    ripple = 0.06 * np.sin(2 * np.pi * 15 * y**1.6 + 50 * wobble)
    water = step(y - WATERLINE, 0.006)
    colors = mix(colors, 0.86 * colors + np.array([0.0, 0.03, 0.07]) + ripple[..., None], water)
    return colors, np.where(y > WATERLINE, 0.12 * smooth_noise(random, size, 4), angles)


def _poplar(
    colors: Array, angles: Array, x: Array, y: Array, place: float, random: np.random.Generator
) -> tuple[Array, Array]:
    """A slender tree on the shore, lit from the left."""
    height, width = random.uniform(0.14, 0.44), random.uniform(0.020, 0.045)
    up = (SHORE + 0.01 - y) / height
    across = (x - place) / width
    edge = 0.16 * smooth_noise(random, len(x), 40, octaves=2)
    depth = np.clip(up / 0.16, 0, 1) ** 0.5 * np.clip(1 - up, 0, 1) ** 0.6 - np.abs(across) + edge
    color = TREES[random.integers(len(TREES))]
    light = 0.5 - 0.45 * across + 0.7 * smooth_noise(random, len(x), 36)
    inside = step(depth, 0.25) * (up > 0) * (up < 1)
    shaded = mix(color * 0.62, np.clip(color * 1.35 + 0.06, 0, 1), light)
    return mix(colors, shaded, inside), np.where(inside > 0.5, 1.35 + 0.5 * across, angles)
