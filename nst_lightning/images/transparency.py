"""Transparency: what an image says about it, and how to keep hidden pixels from influencing visible ones."""

import numpy as np
from PIL import Image


def fill_hidden(rgb: Image.Image, alpha: Image.Image) -> Image.Image:
    """Give hidden pixels, those with alpha 0, smooth colors that continue their visible neighbors.

    Whatever looks at a whole picture, such as a normalization layer or a resize, would otherwise spread the colors
    below alpha 0, which are arbitrary, to visible pixels. This is the push-pull pyramid of Gortler et al. 1996, "The
    Lumigraph", section 3.4: averages of visible pixels at ever smaller sizes, which then fill the holes of the next
    larger one.

    Args:
        rgb: the RGB image.
        alpha: its alpha, of mode L.

    Returns:
        An RGB image in which pixels with other alpha keep their color; it is white if all pixels are hidden.
    """
    visible = np.asarray(alpha) > 0
    if visible.all():
        return rgb
    level = rgb.copy()
    level.putalpha(Image.fromarray(np.uint8(visible) * np.uint8(255)))
    levels = [level]
    while max(level.size) > 1 and level.getchannel("A").getextrema()[0] == 0:
        level = level.reduce(2)  # which weights colors by alpha
        level.putalpha(level.getchannel("A").point(lambda weight: 255 if weight else 0))
        levels.append(level)
    filled = Image.new("RGB", levels[-1].size, "white")
    for level in reversed(levels):
        filled = filled.resize(level.size, Image.Resampling.BILINEAR)
        filled.paste(level.convert("RGB"), mask=level.getchannel("A"))
    return filled


def transparency_of(image: Image.Image) -> Image.Image | None:
    """The alpha of an image of any mode as an image of mode L; None if it has no transparency."""
    if not image.has_transparency_data:
        return None
    if image.mode.startswith("I"):  # Pillow's conversion would compare values that it has clipped
        hidden = np.asarray(image) == image.info["transparency"]
        return Image.fromarray(np.where(hidden, np.uint8(0), np.uint8(255)))
    if image.mode == "La":  # which Pillow converts to nothing else
        image = image.convert("LA")
    return image.convert("RGBA").getchannel("A")


def scale_transparent_color(image: Image.Image) -> None:
    """Correct the color that a PNG declares transparent, in place, if its pixels are not loaded yet.

    PNG states it in the file's own depth; Pillow scales 2, 4 and 16 bits to 8, but not this color. Among colors with
    16 bits, all that look the same with 8 bits become transparent.
    """
    color, tiles = image.info.get("transparency"), getattr(image, "tile", None)
    if color is None or image.format != "PNG" or not tiles:
        return
    raw_mode = tiles[0].args
    if raw_mode in ("L;2", "L;4"):
        image.info["transparency"] = color * 255 // (2 ** int(raw_mode[-1]) - 1)
    elif raw_mode == "RGB;16B":
        image.info["transparency"] = tuple(value >> 8 for value in color)
