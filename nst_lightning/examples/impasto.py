"""An oil painting: thick brush strokes along a flow, a low sun over terraced hills."""

import numpy as np
from PIL import Image, ImageDraw

from nst_lightning.examples.fields import Array, grid, lit, mix, ramp, smooth_noise, step, to_image

SKY = np.array([(1.00, 0.90, 0.55), (0.98, 0.66, 0.33), (0.86, 0.42, 0.36), (0.25, 0.48, 0.58), (0.10, 0.22, 0.46)])
HILLS = np.array([(0.42, 0.36, 0.55), (0.20, 0.42, 0.46), (0.72, 0.56, 0.22), (0.18, 0.38, 0.24), (0.82, 0.45, 0.16)])


def impasto(size: int = 768, seed: int = 0) -> Image.Image:
    """Draw the picture, `size` pixels square, always the same for the same seed."""
    random = np.random.default_rng(seed)
    colors, angles = _scene(size, random)
    scale = 2  # drawn larger and scaled down, for smooth edges
    paint = to_image(colors).resize((scale * size, scale * size))  # shows between strokes
    relief = Image.new("L", paint.size, 128)
    for width, cover in ((0.055, 2.5), (0.034, 2.0), (0.020, 1.6), (0.012, 0.7)):
        for start in random.uniform(-0.02, 1.02, (round(cover / (5 * width * width)), 2)):
            _stroke(paint, relief, colors, angles, start, width, random)
    paint, relief = (image.resize((size, size), Image.Resampling.LANCZOS) for image in (paint, relief))
    return to_image(lit(np.asarray(paint) / 255, np.asarray(relief) / 255, strength=1.1))


def _scene(size: int, random: np.random.Generator) -> tuple[Array, Array]:
    """Colors of shape (size, size, 3), and the directions of the strokes in radians."""
    x, y = grid(size)
    to_sun = np.hypot(x - 0.64, y - 0.30)
    wobble = 0.06 * smooth_noise(random, size, 4, octaves=2)
    colors = ramp(SKY, (to_sun + wobble - 0.09) / 0.62)
    colors = mix(np.array([1.0, 0.97, 0.80]), colors, step(to_sun - 0.085, 0.01))
    angles = np.arctan2(y - 0.30, x - 0.64) + np.pi / 2 + 0.9 * smooth_noise(random, size, 3)
    for i, color in enumerate(HILLS):
        phase, slope = random.uniform(0, 6), random.uniform(-0.12, 0.12)
        top = 0.50 + 0.105 * i + slope * (x - 0.5) + 0.05 * np.sin(5 * x + phase) + 0.02 * np.sin(13 * x + 2 * phase)
        depth = y - top
        inside = step(depth, 0.006)
        furrows = np.sin(70 / (1 + i) * (depth + 0.25 * x * (-1) ** i) * 2 * np.pi / 2)
        lights = mix(color * 0.72, np.clip(color * 1.35 + 0.06, 0, 1), 0.5 + 0.5 * furrows)
        lights = mix(lights, np.array([1.0, 0.80, 0.45]), 0.55 * np.exp(-depth / 0.015) * (x > 0.2))
        colors = mix(colors, lights, inside)
        ridge = np.arctan2(np.gradient(top, axis=1) * size, 1) + 0.35 * (-1) ** i
        angles = np.where(depth > 0, ridge + 0.4 * smooth_noise(random, size, 4), angles)
    return colors, angles


def _stroke(
    paint: Image.Image,
    relief: Image.Image,
    colors: Array,
    angles: Array,
    start: Array,
    width: float,
    random: np.random.Generator,
) -> None:
    """One stroke that follows the directions: a bundle of bristles, each of its own tone and height."""
    size, side = len(colors), paint.width
    column, row = np.clip(start * size, 0, size - 1).astype(int)
    color = colors[row, column] + random.normal(0, 0.035, 3) + random.normal(0, 0.03)
    ways = []
    for length in (-0.8 * width, 0.8 * width):  # both ways from the start
        points = [start]
        for _ in range(random.integers(2, 5)):
            column, row = np.clip(points[-1] * size, 0, size - 1).astype(int)
            points.append(points[-1] + length * np.array([np.cos(angles[row, column]), np.sin(angles[row, column])]))
        ways.append(points)
    path = np.array(ways[0][:0:-1] + ways[1])
    along = np.gradient(path, axis=0)
    normal = np.stack([-along[:, 1], along[:, 0]], 1) / np.linalg.norm(along, axis=1, keepdims=True)
    bristles = max(4, round(width * side / 3.2))
    lines, heights = ImageDraw.Draw(paint), ImageDraw.Draw(relief)
    for across in np.linspace(-1, 1, bristles):
        first, last = random.integers(0, 2), len(path) - random.integers(0, 2)
        offset = path[first:last] + 0.5 * width * across * normal[first:last]
        line = [(float(x), float(y)) for x, y in offset * side]
        tone = np.clip(color + random.normal(0, 0.035), 0, 1)
        height = int(np.clip(random.normal(128 + 60 * abs(across), 34), 0, 255))
        thick = max(2, round(1.9 * width * side / bristles))
        lines.line(line, fill=tuple(int(255 * c) for c in tone), width=thick, joint="curve")
        heights.line(line, fill=height, width=thick, joint="curve")
