"""Ink and wash: mountains in mist, wet edges, dry brush and splashes on rough paper."""

import numpy as np
from PIL import Image

from nst_lightning.examples.fields import Array, grid, smooth_noise, step, to_image

PAPER = np.array([0.955, 0.935, 0.885])
INK = np.array([0.86, 0.80, 0.72])  # the red, green and blue that a full layer of ink absorbs
SEAL = np.array([0.22, 0.78, 0.82])


def ink_wash(size: int = 768, seed: int = 0) -> Image.Image:
    """Draw the picture, `size` pixels square, always the same for the same seed."""
    random = np.random.default_rng(seed)
    x, y = grid(size)
    grain = smooth_noise(random, size, 260, octaves=2)
    wet = smooth_noise(random, size, 7, octaves=5)
    colors = PAPER * (1 + 0.018 * grain)[..., None]
    moon = np.hypot(x - 0.70, y - 0.19) + 0.004 * wet
    halo = 0.30 * step(moon - 0.085, 0.006) * np.exp(-np.clip(moon - 0.085, 0, 1) / 0.16)
    colors = _soak(colors, halo * (1 + 0.5 * wet), INK * 0.75)
    for i in range(6):
        colors = _range(colors, x, y, random, i, wet, grain)
    colors = _splashes(colors, x, y, random, wet)
    across, down = (x - 0.10) / 0.032, (y - 0.10) / 0.042
    seal = (np.maximum(np.abs(across), np.abs(down)) + 0.03 * wet < 1) & (grain < 0.75)
    carved = (np.abs(np.hypot(across, down) - 0.55) < 0.12) | (np.abs(across) + 0.1 * wet < 0.12)
    return to_image(_soak(colors, 0.75 * (seal & ~carved), SEAL))


def _soak(colors: Array, density: Array, ink: Array) -> Array:
    """Colors under a layer of ink of a density, which absorbs light."""
    return colors * (1 - np.clip(ink, 0, 1)) ** (1.6 * np.clip(density, 0, 1.2))[..., None]


def _range(colors: Array, x: Array, y: Array, random: np.random.Generator, i: int, wet: Array, grain: Array) -> Array:
    """A mountain range, darker and lower than the one behind, that fades into mist below."""
    size = len(x)
    outline = smooth_noise(random, size, 3 + i, octaves=6)[size // 2][None, :]
    top = 0.22 + 0.115 * i - (0.13 - 0.010 * i) * outline
    depth = y - top + 0.0035 * wet
    fade = 0.085 + 0.012 * i
    inside = step(depth, 0.0035)
    body = 0.10 + 0.10 * i
    wash = body * np.exp(-np.clip(depth, 0, 1) / fade) * (1 + 0.55 * wet)
    edge = (0.12 + 0.07 * i) * np.exp(-np.clip(depth, 0, 1) / 0.006)  # pigment gathers where a wash dries last
    folds = smooth_noise(random, size, 11 + 2 * i, octaves=3) + 2.2 * outline
    strokes = np.exp(-((np.sin(9 * folds + 26 * depth) / 0.30) ** 2)) * np.exp(-depth / (0.8 * fade))
    dry = step(0.55 * strokes + 0.28 * grain - 0.42, 0.35) * (0.10 + 0.10 * i)
    return _soak(colors, inside * (wash + edge + dry), INK)


def _splashes(colors: Array, x: Array, y: Array, random: np.random.Generator, wet: Array) -> Array:
    """Drops of thin and thick ink, each with the dark rim of a dried drop."""
    density = np.zeros_like(x)
    for _ in range(110):
        cx, cy = random.uniform(0, 1, 2)
        radius = 0.0012 + 0.007 * random.uniform() ** 6
        distance = np.hypot(x - cx, y - cy) * (1 + 0.25 * wet) / radius
        rim = np.exp(-(((distance - 0.93) / 0.12) ** 2))
        density += random.uniform(0.08, 0.5) * (step(1 - distance, 0.2) * 0.6 + 0.6 * rim * (distance < 1.2))
    return _soak(colors, density, INK)
