"""The command `evaluate pictures`: quality figures of pictures on disk."""

from itertools import groupby
from pathlib import Path

from nst_lightning.commands.evaluation import choose_short_sides, format_header, format_rows, load_judge
from nst_lightning.commands.pictures import find_files
from nst_lightning.encoders import image_to_tensor
from nst_lightning.encoders.weights import BUNDLED
from nst_lightning.errors import naming, require
from nst_lightning.images import read_rgb
from nst_lightning.metrics import EvaluatorGroup, build_yardstick

MOST_SHORT_SIDE = 1024
"""The longest short side, in pixels, at which pictures are compared unless the user asks for more."""


def evaluate_pictures(
    pictures: list[str],
    photos: list[str],
    paintings: list[str],
    vgg19: str | None = BUNDLED,
    compact: str | None = BUNDLED,
    judge: str | None = None,
    short_side: list[int] | None = None,
) -> None:
    """Print content, style (across scales and at each scale), grit and color grit of a photo and of pictures of it.

    Photo, painting and pictures are scaled to the same short side. A good picture has a content of 0.2 to 0.45, a style
    far below the photo's at every scale, a grit of 0.7 to 1.3, and a color grit of at most 1.1. Figures depend on the
    encoder and on the size: compare only figures of the same encoder at the same size.

    Args:
        pictures: stylized pictures.
        photos: the photo that the pictures were made from; if given several times, one photo for each picture.
        paintings: the painting; if given several times, one painting for each picture.
        vgg19: weights of VGG-19: `bundled` (exact to relu3_1), `imagenet` or `caffe` (all layers, downloaded once), a
            file, or `null` for none.
        compact: weights of a compact encoder for the layers that `vgg19` does not offer: `bundled`, a file, or `null`.
        judge: weights of VGG-16, `imagenet` or a file, for a second content and style, at layers that nothing was
            trained with; `null` for none.
        short_side: short side in pixels at which pictures are compared; may be given several times. By default 256, and
            each picture's own if that is larger, but at most 1024.
    """
    given = {"photos": photos, "paintings": paintings, "pictures": pictures}
    files = {argument: find_files(argument, names) for argument, names in given.items()}
    shown = files["pictures"]
    originals, styles = (_for_each(argument, files[argument], shown) for argument in ("photos", "paintings"))
    choose_short_sides(short_side, MOST_SHORT_SIDE)  # refused before anything is read
    sizes = {argument: _read_sizes(argument, paths) for argument, paths in files.items()}["pictures"]
    compared = [choose_short_sides(short_side, min(*size, MOST_SHORT_SIDE)) for size in sizes]
    jobs = zip(originals, styles, compared, shown)
    encoder, judging = build_yardstick(vgg19, compact), load_judge(judge)
    print(f"{format_header(judged=judging is not None)}  picture")
    for (photo, painting, short_sides), members in groupby(jobs, key=lambda job: job[:3]):
        style, content = (image_to_tensor(read_rgb(path)) for path in (painting, photo))
        group = EvaluatorGroup(encoder, style, short_sides=short_sides, judge=judging)
        for path in (photo, *(picture for *_, picture in members)):
            for row in format_rows(group, group.measure(image_to_tensor(read_rgb(path)), content)):
                print(f"{row}  {path.name}")


def _read_sizes(argument: str, files: list[Path]) -> list[tuple[int, int]]:
    """Width and height of each picture; what can't be read is refused before anything is printed."""
    with naming(argument):
        return [read_rgb(file).size for file in files]


def _for_each(name: str, files: list[Path], pictures: list[Path]) -> list[Path]:
    count = len(pictures)
    require(name, [*map(str, files)], len(files) in (1, count), f"one file, or one for each of the {count} pictures")
    return files if len(files) == count else files * count
