"""Flicker: how much painted pictures change where the photos hardly do."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageChops

from nst_lightning.inference.motion import find_motion, follow_motion, no_motion, to_gray_frame
from nst_lightning.inference.steady import find_agreement

LARGEST_SHIFT = 4
NOISE = 0.02 * 255
"""Standard deviation of the noise, in levels of 255: that of a camera in dim light."""
_BORDER = 16
"""Pixels along the border that are left out: there, pictures know another part of the scene."""


def shake(photo: Image.Image, count: int, *, seed: int = 0) -> tuple[list[Image.Image], list[tuple[int, int]]]:
    """Frames of a camera that is held by hand in dim light, and looks at a photo.

    Args:
        photo: the photo, an RGB image.
        count: number of frames.
        seed: the same seed gives the same frames.

    Returns:
        The frames, which are 8 pixels smaller than the photo, and the numbers of pixels by which the photo is shifted
        down and to the right in each. The first has neither a shift nor noise.
    """
    random = np.random.default_rng(seed)
    pixels = np.asarray(photo, np.float32)
    height, width = (side - 2 * LARGEST_SHIFT for side in pixels.shape[:2])
    frames, shifts = [], []
    for number in range(count):
        down, right = random.integers(-LARGEST_SHIFT, LARGEST_SHIFT + 1, 2).tolist() if number else (0, 0)
        top, left = LARGEST_SHIFT - down, LARGEST_SHIFT - right
        frame = pixels[top : top + height, left : left + width]
        noise = random.normal(0, NOISE, frame.shape) if number else 0
        frames.append(Image.fromarray((frame + noise).round().clip(0, 255).astype(np.uint8)))
        shifts.append((down, right))
    return frames, shifts


def measure_shaken(pictures: Sequence[Image.Image], shifts: Sequence[tuple[int, int]]) -> float:
    """The flicker of pictures of shaken frames: the difference from the first one, after they are moved back.

    Args:
        pictures: the pictures, of one size.
        shifts: how far they are shifted down and to the right; see `shake`.

    Returns:
        The root mean square, in levels of 255.
    """
    first, *others = (np.asarray(picture, np.float32) for picture in pictures)
    back = [np.roll(other, (-down, -right), (0, 1)) for other, (down, right) in zip(others, shifts[1:])]
    inside = slice(_BORDER, -_BORDER)
    return float(np.sqrt(np.mean([(picture - first)[inside, inside] ** 2 for picture in back])))


def measure_clip(frames: Sequence[Image.Image], pictures: Sequence[Image.Image]) -> float:
    """The flicker of pictures of a video: the difference from the one before, after it is moved as the frame did.

    The motion is estimated, and only what looks alike in both frames counts, so mistakes of the estimate hardly do.

    Args:
        frames: the frames, RGB images.
        pictures: their pictures, of one size.

    Returns:
        The root mean square, in levels of 255; 0 if nothing looks alike in any two frames.
    """
    energy = total = 0.0
    for before, now, old, new in zip(frames, frames[1:], pictures, pictures[1:]):
        gray = to_gray_frame(now)
        motion = find_motion(gray, to_gray_frame(before), no_motion(gray))
        weight = np.asarray(find_agreement(now, before, motion).resize(new.size), np.float32) / 255
        difference = np.asarray(ImageChops.difference(new, follow_motion(old, motion)), np.float32)
        energy += float((weight * (difference**2).mean(-1)).sum())
        total += float(weight.sum())
    return (energy / total) ** 0.5 if total else 0.0
