"""Sample sheets: the painting, and photos beside what became of them, on one picture."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

PAPER, INK = (250, 249, 246), (60, 58, 54)


def draw_sheet(
    painting: Image.Image,
    pairs: Sequence[tuple[Image.Image, Image.Image]],
    *,
    caption: str = "",
    height: int = 256,
    columns: int = 2,
) -> Image.Image:
    """Draw the painting on top and (photo, stylized) pairs below it, `columns` pairs a row.

    Args:
        painting: the style picture.
        pairs: photos, each with its stylized picture.
        caption: a line of text beside the painting.
        height: of every picture on the sheet, in pixels.
        columns: pairs in a row.
    """
    margin = max(4, height // 24)
    rows = [pairs[start : start + columns] for start in range(0, len(pairs), columns)]
    strips = [_strip([_fit(painting, height), *_caption(caption, height)], margin)]
    strips += [_strip([_fit(image, height) for pair in row for image in pair], margin) for row in rows]
    sheet = Image.new(
        "RGB", (max(strip.width for strip in strips), sum(strip.height + margin for strip in strips) + margin), PAPER
    )
    top = margin
    for strip in strips:
        sheet.paste(strip, (0, top))
        top += strip.height + margin
    return sheet


def _fit(image: Image.Image, height: int) -> Image.Image:
    return image.resize((max(1, round(image.width * height / image.height)), height), Image.Resampling.LANCZOS)


def _caption(text: str, height: int) -> list[Image.Image]:
    if not text:
        return []
    font = ImageFont.load_default(max(12, height // 14))
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
