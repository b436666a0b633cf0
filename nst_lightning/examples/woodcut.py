"""A woodcut in colours: cut lines follow waves, a hill and the sky round a red sun."""

import numpy as np
from PIL import Image

from nst_lightning.examples.fields import Array, grid, mix, smooth_noise, step, to_image

PAPER, INK, RED = np.array([0.92, 0.87, 0.76]), np.array([0.19, 0.24, 0.34]), np.array([0.80, 0.20, 0.12])
SEA, SKY = np.array([0.36, 0.55, 0.60]), np.array([0.62, 0.70, 0.68])


def woodcut(size: int = 768, seed: int = 0) -> Image.Image:
    """Draw it, `size` pixels square."""
    random = np.random.default_rng(seed)
    x, y = grid(2 * size)  # drawn larger and reduced, for smooth edges
    rough = 0.9 * smooth_noise(random, 2 * size, 70, octaves=2)
    drift = 0.02 * smooth_noise(random, 2 * size, 5, octaves=2)
    to_sun = np.hypot(x - 0.36, y - 0.30)
    sky = _cut(to_sun + drift, 46, 0.04 + 0.62 * np.clip(to_sun - 0.16, 0, 1) + 0.10 * (y < 0.05), rough)
    colours = np.where(sky[..., None], INK, mix(PAPER, SKY, 2.2 * (to_sun - 0.12)))
    sun = to_sun < 0.135
    colours[sun] = np.where(_cut(y[sun] + drift[sun], 46, 0.16, rough[sun])[..., None], PAPER, RED)
    colours = _mountain(colours, x, y, drift, rough)
    for i in range(6):
        colours = _wave(colours, x, y, drift, rough, i)
    worn = smooth_noise(random, 2 * size, 240) + 0.8 * smooth_noise(random, 2 * size, 6) > 1.55
    colours[worn] = 0.35 * colours[worn] + 0.65 * PAPER
    colours = colours + 0.025 * smooth_noise(random, 2 * size, 300)[..., None]
    return to_image(colours).resize((size, size), Image.Resampling.LANCZOS)


def _cut(phase: Array, lines: float, tone: Array | float, rough: Array) -> Array:
    """Where ink stays between cuts: `lines` a side along `phase`, `tone` from 0 (all cut away) to 1 (all ink)."""
    saw = np.abs(((phase * lines) % 1) * 2 - 1)
    return saw < tone + 0.10 * rough


def _mountain(colours: Array, x: Array, y: Array, drift: Array, rough: Array) -> Array:
    ridge = 0.34 + 0.52 * np.abs(x - 0.72) ** 0.85 + 0.6 * drift + 0.012 * rough * (np.abs(x - 0.72) > 0.01)
    depth = y - ridge
    side = step(x - 0.72 + 1.5 * drift + 0.05 * np.sin(18 * y), 0.02)
    hatch = _cut(depth * 0.55 + 0.55 * (x - 0.72) * np.where(x < 0.72, 1, -0.4), 60, 0.18 + 0.62 * side, rough)
    snow = depth < 0.085 + 0.035 * np.sin(60 * x + 9 * drift) + 0.6 * drift
    ink = np.where(snow, _cut(depth - x, 26, 0.10 + 0.30 * side, rough), hatch)
    inside = np.where(ink[..., None], INK, np.where(snow[..., None], PAPER, mix(PAPER, SEA, np.full(x.shape, 0.55))))
    outline = np.abs(depth) < 0.005
    return np.where((depth > 0)[..., None], np.where(outline[..., None], INK, inside), colours)


def _wave(colours: Array, x: Array, y: Array, drift: Array, rough: Array, i: int) -> Array:
    """One of the rows of waves, the next nearer than the one before."""
    length, height = 0.16 + 0.055 * i, 0.020 + 0.0085 * i
    along = ((x + 0.37 * i * length + 1.2 * drift) / length) % 1
    crest = height * (1.6 * np.minimum(along / 0.72, (1 - along) / 0.28) ** 1.5 - 0.6)  # steep in front, long behind
    depth = y - (0.60 + 0.062 * i + 0.004 * i * i - crest)
    foam = (depth > 0) & (depth < 0.011 + 0.002 * i + 0.004 * rough)
    tone = np.clip(0.70 - 9 * depth + 0.25 * np.cos(2 * np.pi * along), -0.1, 0.85)
    lines = _cut(depth * 0.8 + 0.15 * crest + 0.3 * drift, 84 - 5 * i, tone, rough)
    inside = np.where(lines[..., None], INK, SEA * (1.05 - 0.05 * i))
    inside = np.where(foam[..., None], PAPER, inside)
    outline = np.abs(depth - 0.0005) < 0.0025
    return np.where((depth > 0)[..., None], np.where(outline[..., None], INK, inside), colours)
