"""A watercolor: washes that run into each other, pigment that gathers at their edges, blossoms over a meadow."""

from typing import NamedTuple

import numpy as np
from PIL import Image

from nst_lightning.examples.fields import Array, grid, mix, smooth_noise, step, to_image

PAPER = np.array([0.98, 0.965, 0.93])
# the red, green and blue that a full wash absorbs
ULTRAMARINE, PEACH, VIOLET = np.array([0.66, 0.38, 0.10]), np.array([0.05, 0.30, 0.45]), np.array([0.48, 0.58, 0.20])
TEAL, MEADOW, LEAF = np.array([0.70, 0.36, 0.36]), np.array([0.30, 0.16, 0.72]), np.array([0.66, 0.34, 0.72])
BLOSSOMS = np.array(
    [
        (0.08, 0.78, 0.62),
        (0.05, 0.52, 0.52),
        (0.02, 0.22, 0.80),
        (0.42, 0.70, 0.14),
        (0.12, 0.62, 0.28),
    ]
)


class _Sheet(NamedTuple):
    """Coordinates, and noise of the same shape: how wet the paper is, how washes run, how edges tear, its grain."""

    x: Array
    y: Array
    wet: Array
    runs: Array
    torn: Array
    grain: Array


def watercolor(size: int = 768, seed: int = 0) -> Image.Image:
    """Draw the picture, `size` pixels square, always the same for the same seed."""
    random = np.random.default_rng(seed)
    noise = (smooth_noise(random, size, cells, octaves) for cells, octaves in ((5, 5), (4, 3), (22, 3), (200, 2)))
    sheet = _Sheet(*grid(size), *noise)
    colors = np.broadcast_to(PAPER, (size, size, 3))
    colors = _sky(colors, sheet)
    for i, pigment in enumerate((VIOLET, ULTRAMARINE, TEAL)):
        colors = _hills(colors, sheet, random, i, pigment)
    colors = _meadow(colors, sheet)
    for _ in range(60):
        colors = _leaf(colors, sheet, random)
    for nearness in np.sort(random.uniform(0, 1, 70)):
        colors = _blossom(colors, sheet, random, nearness)
    return to_image(colors)


def _wash(colors: Array, sheet: _Sheet, density: Array, pigment: Array) -> Array:
    """Colors under a wash, whose pigment settles in the hollows of the paper."""
    density = 1.25 * np.clip(density, 0, 1.6) * (1 + 0.10 * sheet.grain)
    return colors * (1 - pigment) ** density[..., None]


def _edge(depth: Array, width: float) -> Array:
    """1 at the edge of a shape and less inside, where depths are above 0."""
    return np.exp(-np.clip(depth, 0, None) / width)


def _sky(colors: Array, sheet: _Sheet) -> Array:
    _, y, wet, runs, _, _ = sheet
    blue = step(0.42 * runs + 0.30 * wet + 0.30 - 0.55 * y, 0.25) * (0.95 - 2.0 * y + 0.25 * wet)
    glow = np.exp(-(((y - 0.40 + 0.08 * runs) / 0.16) ** 2)) * (0.75 + 0.3 * wet)
    return _wash(_wash(colors, sheet, blue, ULTRAMARINE), sheet, glow, PEACH)


def _hills(colors: Array, sheet: _Sheet, random: np.random.Generator, i: int, pigment: Array) -> Array:
    """A range, nearer than the one before, that fades downwards."""
    outline = smooth_noise(random, len(sheet.y), 3 + i, octaves=4)[len(sheet.y) // 2][None, :]
    depth = sheet.y - 0.40 - 0.055 * i + (0.075 - 0.012 * i) * outline + 0.004 * sheet.wet
    body = step(depth, 0.004) * _edge(depth, 0.16) * (1 + 0.5 * sheet.wet + 0.3 * sheet.runs)
    return _wash(colors, sheet, (0.40 + 0.13 * i) * body + 0.25 * _edge(depth, 0.007) * step(depth, 0.003), pigment)


def _meadow(colors: Array, sheet: _Sheet) -> Array:
    depth = sheet.y - 0.58 + 0.05 * sheet.runs + 0.006 * sheet.wet
    colors = _wash(colors, sheet, step(depth, 0.05) * (0.62 + 0.35 * sheet.wet), MEADOW)
    shade = np.clip(0.5 * sheet.runs + 0.55 * depth + 0.4 * sheet.wet, 0, 1)
    return _wash(colors, sheet, step(depth - 0.05, 0.2) * shade, TEAL)


def _leaf(colors: Array, sheet: _Sheet, random: np.random.Generator) -> Array:
    """A stroke of the brush's tip, upwards."""
    cx, cy, lean = random.uniform(0, 1), random.uniform(0.70, 1.02), random.normal(0, 0.5)
    along = (cy - sheet.y) / (0.05 + 0.09 * (cy - 0.65))
    across = (sheet.x - cx - lean * (cy - sheet.y) * (0.4 + along)) / (0.012 + 0.02 * (cy - 0.65))
    depth = 4 * along * (1 - along) - across**2 + 0.25 * sheet.wet - 0.1
    density = step(depth, 0.1) * (0.45 + 0.4 * sheet.wet) + 0.3 * _edge(depth, 0.15) * (depth > 0)
    return _wash(colors, sheet, random.uniform(0.4, 1) * density, LEAF)


def _blossom(colors: Array, sheet: _Sheet, random: np.random.Generator, nearness: float) -> Array:
    """A blossom of a few petals, at a `nearness` from 0 to 1; most paint below it is lifted first."""
    cx, cy = random.uniform(-0.02, 1.02), 0.66 + 0.34 * nearness + random.normal(0, 0.02)
    radius = (0.012 + 0.055 * nearness) * random.uniform(0.7, 1.3)
    dx, dy = (sheet.x - cx) / radius, (sheet.y - cy) / (0.8 * radius)
    petals = random.integers(4, 7) * np.arctan2(dy, dx)
    depth = 1 + 0.12 * np.cos(petals + random.uniform(0, 6)) + 0.30 * sheet.torn - np.hypot(dx, dy)
    inside = step(depth, 0.12)
    body = 0.35 + 0.65 * np.clip(1 - np.hypot(dx + 0.3, dy + 0.3), 0, 1) + 0.35 * sheet.wet
    lifted = mix(colors, PAPER, 0.75 * inside)
    pigment = np.clip(BLOSSOMS[random.integers(len(BLOSSOMS))] + random.normal(0, 0.04, 3), 0.01, 0.9)
    return _wash(lifted, sheet, inside * (body + 0.5 * _edge(depth, 0.10)), pigment)
