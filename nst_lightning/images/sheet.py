"""Sheets: several pictures side by side in one, for comparison by eye."""

from collections.abc import Sequence

from PIL import Image, ImageDraw

from nst_lightning.images.fonts import load_font
from nst_lightning.system import normalize_name

PAPER, INK = (250, 249, 246), (60, 58, 54)


def draw_sheet(
    painting: Image.Image,
    pairs: Sequence[tuple[Image.Image, Image.Image]],
    *,
    caption: str = "",
    height: int = 256,
    columns: int = 2,
) -> Image.Image:
    """Draw the painting on top and (photo, stylized) pairs below it, `columns` pairs in each row.

    Args:
        painting: the style picture.
        pairs: photos, each with its stylized picture.
        caption: a line of text beside the painting.
        height: height of every picture on the sheet, in pixels.
        columns: number of pairs in each row.
    """
    margin = max(4, height // 24)
    rows = [pairs[start : start + columns] for start in range(0, len(pairs), columns)]
    strips = [_strip([_fit(painting, height), *_caption(caption, height)], margin)]
    strips += [_strip([_fit(image, height) for pair in row for image in pair], margin) for row in rows]
    return _stack(strips, margin)


def draw_labeled(rows: Sequence[Sequence[tuple[str, Image.Image]]], *, height: int = 256) -> Image.Image:
    """Draw rows of pictures, each with a label below it.

    Args:
        rows: pictures with their labels, which may have several lines.
        height: height of every picture on the sheet, in pixels.
    """
    margin, size = max(4, height // 24), max(11, height // 18)
    strips = [_strip([_add_label(label, _fit(image, height), size) for label, image in row], margin) for row in rows]
    return _stack(strips, margin)


def _add_label(label: str, image: Image.Image, size: int) -> Image.Image:
    label = normalize_name(label)
    font = load_font(label, size)
    draw = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    _, top, right, bottom = draw.multiline_textbbox((0, 0), label or " ", font=font)
    cell = Image.new("RGB", (max(image.width, int(right)), image.height + int(bottom + top) + 4), PAPER)
    cell.paste(image)
    ImageDraw.Draw(cell).multiline_text((0, image.height + 4), label, font=font, fill=INK)
    return cell


def _fit(image: Image.Image, height: int) -> Image.Image:
    return image.resize((max(1, round(image.width * height / image.height)), height), Image.Resampling.LANCZOS)


def _caption(text: str, height: int) -> list[Image.Image]:
    if not text:
        return []
    text = normalize_name(text)
    font = load_font(text, max(12, height // 14))
    *_, right, _ = ImageDraw.Draw(Image.new("RGB", (1, 1))).multiline_textbbox((0, 0), text, font=font)
    label = Image.new("RGB", (int(right) + 1, height), PAPER)
    ImageDraw.Draw(label).multiline_text((0, 0), text, font=font, fill=INK)
    return [label]


def _strip(images: Sequence[Image.Image], margin: int) -> Image.Image:
    width = sum(image.width + margin for image in images) + margin
    strip = Image.new("RGB", (width, max(image.height for image in images)), PAPER)
    left = margin
    for image in images:
        strip.paste(image, (left, 0))
        left += image.width + margin
    return strip


def _stack(strips: Sequence[Image.Image], margin: int) -> Image.Image:
    sheet = Image.new(
        "RGB", (max(strip.width for strip in strips), sum(strip.height + margin for strip in strips) + margin), PAPER
    )
    top = margin
    for strip in strips:
        sheet.paste(strip, (0, top))
        top += strip.height + margin
    return sheet
