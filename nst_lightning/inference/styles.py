"""The command `styles`: the styles of a network that has several, in words and as a sheet."""

import json
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from nst_lightning.images import draw_labelled, keep_inputs, read_rgb, resize_short_side, writable, write_picture
from nst_lightning.inference.models import DEFAULT_MODEL, ModelError, find_model
from nst_lightning.inference.stylizer import Stylizer, check_size

COLUMNS = 5


def styles(photos: list[str], output: str | None = None, model: str = DEFAULT_MODEL, size: int = 256) -> None:
    """List the styles that come with the package, and draw photos in each of them.

    Args:
        photos: photos to draw in every style, on one sheet; without any, the list ends with the sheet of a bundled
            network.
        output: the sheet: .png, .jpg, .webp or .tif; by default `styles.jpg`.
        model: a network of many styles: the .onnx file, or the name of a bundled one.
        size: height of each picture on the sheet in pixels. It is stylized at a short side of as many, or of what the
            network was trained for, if that is more.
    """
    check_size(size)
    if output is not None and not photos:
        raise ValueError(f"output: {output} is not allowed without a photo to draw")
    stylizer = Stylizer(model)
    if not stylizer.styles:
        raise ModelError(f"model: {model} has one style, {stylizer.metadata.get('style', 'without a name')}")
    target = writable(output or "styles.jpg") if photos else find_model(model).with_suffix(".jpg")
    keep_inputs([target], map(Path, photos))
    credits = json.loads(stylizer.metadata.get("credits", "{}"))
    longest = max(map(len, stylizer.styles))
    for name in stylizer.styles:
        print(f"{name:{longest}}  {credits.get(name, '')}".rstrip())
    if photos:
        painted = max(size, stylizer.size or 0)
        write_picture(target, _sheet(stylizer, [resize_short_side(read_rgb(path), painted) for path in photos], size))
    if target.is_file():
        print(target)


def _sheet(stylizer: Stylizer, photos: Sequence[Image.Image], size: int) -> Image.Image:
    """A row for each style, or, of one photo, all of them one after the other."""
    rows = [[("the photo" if len(photos) == 1 else "", photo) for photo in photos]]
    rows += [[(name, stylizer(photo, style=name)) for photo in photos] for name in stylizer.styles]
    if len(photos) == 1:
        cells = [cell for row in rows for cell in row]
        rows = [cells[i : i + COLUMNS] for i in range(0, len(cells), COLUMNS)]
    return draw_labelled(rows, height=size)
