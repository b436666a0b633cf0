"""Stained glass: a rose window of coloured panes in lead."""

import numpy as np
from PIL import Image

from nst_lightning.examples.fields import Array, blur, grid, lit, smooth_noise, step, to_image

PANES = np.array(
    [
        (0.07, 0.17, 0.55),
        (0.10, 0.38, 0.72),
        (0.72, 0.07, 0.12),
        (0.95, 0.66, 0.12),
        (0.06, 0.45, 0.30),
        (0.45, 0.12, 0.50),
        (0.93, 0.86, 0.62),
    ]
)
RINGS = ((0.0, 1, (3,)), (0.10, 8, (2, 3)), (0.215, 16, (0, 1)), (0.33, 16, (2, 5, 0)), (0.45, 24, (1, 4, 0, 6)))
RINGS = (*RINGS, (0.565, 32, (0, 2, 1, 3)), (0.68, 36, (4, 0, 5)), (0.80, 40, (0, 1)))


def stained_glass(size: int = 768, seed: int = 0) -> Image.Image:
    """Draw it, `size` pixels square."""
    random = np.random.default_rng(seed)
    centres, colours = _panes(random)
    x, y = grid(size)
    x = x + 0.006 * smooth_noise(random, size, 12)  # no line of lead is quite straight
    y = y + 0.006 * smooth_noise(random, size, 12)
    nearest, second, owner = _nearest(x, y, centres)
    edge = (second - nearest) / 2
    glass = colours[owner]
    streaks = smooth_noise(random, size, 9, octaves=4) + 0.5 * smooth_noise(random, size, 90)
    depth = np.exp(-edge / 0.03)  # glass is darker towards the lead
    glass = glass * (1.12 + 0.22 * streaks - 0.45 * depth)[..., None]
    glow = np.clip(1 - edge / edge.max(), 0, 1)
    glass = glass + 0.16 * (1 - glow)[..., None]
    lead = 1 - step(edge - 0.0065, 0.003)
    bulge = blur(np.sqrt(np.clip(1 - (edge / 0.0075) ** 2, 0, 1)), size / 500)
    metal = 0.10 + 0.05 * smooth_noise(random, size, 60, octaves=2)[..., None] * np.ones(3)
    colours = glass * (1 - lead[..., None]) + metal * lead[..., None]
    ripple = 0.35 * smooth_noise(random, size, 45, octaves=2)
    return to_image(lit(colours, bulge + ripple * (1 - lead), strength=1.4))


def _panes(random: np.random.Generator) -> tuple[Array, Array]:
    """Centres of the panes, shape (P, 2), ring by ring, and their colours, shape (P, 3)."""
    centres, colours = [], []
    for i, (radius, count, palette) in enumerate(RINGS):
        turns = (np.arange(count) + 0.5 * (i % 2)) / count * 2 * np.pi
        for k, turn in enumerate(turns):
            distance = radius * (1 + 0.05 * (-1) ** k) + random.normal(0, 0.006)
            turn = turn + random.normal(0, 0.03)
            centres.append((0.5 + distance * np.cos(turn), 0.5 + distance * np.sin(turn)))
            colours.append(PANES[palette[k % len(palette)]] * random.uniform(0.75, 1.2) + random.normal(0, 0.03, 3))
    return np.array(centres), np.clip(colours, 0, 1)


def _nearest(x: Array, y: Array, centres: Array) -> tuple[Array, Array, Array]:
    """Distances of the nearest and the second nearest centre, and which the nearest is, each of x's shape."""
    nearest, second = np.full(x.shape, np.inf), np.full(x.shape, np.inf)
    owner = np.zeros(x.shape, int)
    for i, (cx, cy) in enumerate(centres):
        distance = np.hypot(x - cx, y - cy)
        closer = distance < nearest
        second = np.where(closer, nearest, np.minimum(second, distance))
        owner = np.where(closer, i, owner)
        nearest = np.minimum(nearest, distance)
    return nearest, second, owner
