"""The command `styles`: the styles of a network that has several, in words and as a sheet."""

import json

from nst_lightning.images import draw_labelled, read_rgb, resize_short_side, writable, write_picture
from nst_lightning.inference.models import DEFAULT_MODEL, ModelError
from nst_lightning.inference.stylizer import Stylizer


def styles(photo: str | None = None, output: str = "styles.jpg", model: str = DEFAULT_MODEL, size: int = 256) -> None:
    """List the styles that come with the package, and draw a photo in each of them.

    Args:
        photo: a photo to draw in every style, on one sheet; by default there is only the list.
        output: the sheet: .png, .jpg, .webp or .tif.
        model: a network of many styles: the .onnx file, or the name of a bundled one.
        size: short side of each picture on the sheet in pixels.
    """
    stylizer = Stylizer(model)
    if not stylizer.styles:
        raise ModelError(f"model: {model} has one style, {stylizer.metadata.get('style', 'without a name')}")
    credits = json.loads(stylizer.metadata.get("credits", "{}"))
    longest = max(map(len, stylizer.styles))
    for name in stylizer.styles:
        print(f"{name:{longest}}  {credits.get(name, '')}".rstrip())
    if photo is None:
        return
    target, content = writable(output), resize_short_side(read_rgb(photo), size)
    cells = [("the photo", content), *((name, stylizer(content, style=name)) for name in stylizer.styles)]
    columns = 5
    write_picture(target, draw_labelled([cells[i : i + columns] for i in range(0, len(cells), columns)], height=size))
    print(target)
