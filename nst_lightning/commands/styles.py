"""The command `styles`: the styles of a network, as a list and as a sheet."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from nst_lightning.commands.pictures import expand_argument, find_files
from nst_lightning.commands.provider import open_stylizer
from nst_lightning.errors import UserError, naming
from nst_lightning.images import (
    Picture,
    check_writable,
    draw_labeled,
    lay_on_white,
    read_picture,
    refuse_overwriting_inputs,
    resize_short_side,
    write_picture,
)
from nst_lightning.inference import DEFAULT_MODEL, ModelError, Stylizer, bundled_models, check_short_side

COLUMNS = 5


def styles(
    photos: list[str],
    output: str | None = None,
    model: str = DEFAULT_MODEL,
    height: int = 256,
    provider: str | None = None,
) -> None:
    """List the styles of a network, by default the bundled one, and draw photos in each of them.

    Args:
        photos: photos, or folders of photos, to draw in every style, on one sheet. Without photos, the list ends with
            the path of the sheet that comes with a bundled network.
        output: the sheet to write: .png, .jpg, .webp or .tif; by default `styles.jpg`.
        model: a network of several styles: an .onnx file, or the name of a bundled network.
        height: height of each picture on the sheet in pixels. Photos are stylized at this short side, or at the one
            that a style was trained for if that is larger; above this and 512 pixels, they are painted coarse to fine.
        provider: what the network runs on, such as `cpu`, `cuda` or `openvino`; the guide to apps lists them. By
            default CUDA where it is installed and works, or else the CPU.
    """
    check_short_side(height, "height")
    if output is not None and not photos:
        raise UserError(f"output needs a photo to draw, got {output} without one")
    stylizer = open_stylizer(model, provider)
    if not stylizer.styles:
        raise ModelError(f"model: {model} has one style, {stylizer.metadata.get('style', 'without a name')}")
    sides = {name: max(height, stylizer.trained_short_side(name) or 0) for name in stylizer.styles}
    largest = max(sides.values())
    files = find_files("photos", photos)
    with naming("output"):
        target = (
            check_writable(expand_argument("output", "styles.jpg" if output is None else output))
            if photos
            else _find_sheet(model)
        )
    refuse_overwriting_inputs([target] if photos and target else [], files)
    with naming("photos"):
        read = [_resize(read_picture(path), largest) for path in files]
    credits, longest = stylizer.credits, max(map(len, stylizer.styles))
    for name in stylizer.styles:
        print(f"{name:{longest}}  {credits.get(name, '')}".rstrip())
    if read and target is not None:
        write_picture(target, _draw_sheet(stylizer, read, sides, height))
    if target is not None:
        print(target)


def _find_sheet(model: str) -> Path | None:
    """The sheet that comes with a bundled network, if it has one."""
    network = bundled_models().get(model)
    return network.with_suffix(".jpg") if network and network.with_suffix(".jpg").is_file() else None


def _resize(photo: Picture, short_side: int) -> Picture:
    return photo.with_pixels(resize_short_side(photo.image, short_side))


def _draw_sheet(
    stylizer: Stylizer, photos: Sequence[Picture], short_sides: Mapping[str, int], height: int
) -> Image.Image:
    """Draw a row for each style, or, for a single photo, all styles one after the other."""
    rows = [[("the photo" if len(photos) == 1 else "", _show(photo.image, photo.alpha)) for photo in photos]]
    for name in stylizer.styles:
        painted = [stylizer(resize_short_side(photo.image, short_sides[name]), style=name) for photo in photos]
        rows.append([(name, _show(picture, photo.alpha)) for picture, photo in zip(painted, photos)])
    if len(photos) == 1:
        cells = [cell for row in rows for cell in row]
        rows = [cells[i : i + COLUMNS] for i in range(0, len(cells), COLUMNS)]
    return draw_labeled(rows, height=height)


def _show(picture: Image.Image, alpha: Image.Image | None) -> Image.Image:
    """A picture as it looks on white paper."""
    return picture if alpha is None else lay_on_white(picture, alpha.resize(picture.size))
