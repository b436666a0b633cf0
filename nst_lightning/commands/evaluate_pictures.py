"""The command `evaluate pictures`: quality figures of pictures on disk."""

from itertools import groupby
from pathlib import Path

from nst_lightning.commands.evaluation import format_figures, format_header
from nst_lightning.commands.pictures import find_files
from nst_lightning.encoders import build_encoder, image_to_tensor
from nst_lightning.errors import naming, require, require_at_least
from nst_lightning.images import read_rgb
from nst_lightning.metrics import LEAST_SHORT_SIDE, SHORT_SIDE, STYLE_LAYERS, Evaluator


def evaluate_pictures(
    pictures: list[str],
    photos: list[str],
    paintings: list[str],
    vgg19: str | None = "imagenet",
    compact: str | None = None,
    short_side: int = SHORT_SIDE,
) -> None:
    """Print content, style (across scales and at each scale) and grit of a photo and of pictures stylized from it.

    Photo, painting and pictures are scaled to the same short side. A good picture has a content of 0.2 to 0.45, a style
    far below the photo's at every scale, and a grit of 0.7 to 1.3. Figures depend on the encoder: compare only figures
    of the same encoder.

    Args:
        pictures: stylized pictures.
        photos: the photo that the pictures were made from; if given several times, one photo for each picture.
        paintings: the painting; if given several times, one painting for each picture.
        vgg19: weights of VGG-19: `imagenet`, `caffe`, or a file, which may end early if `compact` is given; `null` for
            none.
        compact: weights of a compact encoder for the layers that VGG-19 does not offer: `bundled`, or a file.
        short_side: short side in pixels at which pictures are compared.
    """
    given = {"photos": photos, "paintings": paintings, "pictures": pictures}
    files = {argument: find_files(argument, names) for argument, names in given.items()}
    shown = files["pictures"]
    originals, styles = (_for_each(argument, files[argument], shown) for argument in ("photos", "paintings"))
    jobs = list(zip(originals, styles, shown))
    require_at_least(LEAST_SHORT_SIDE, short_side=short_side)
    for argument, paths in files.items():
        with naming(argument):
            for file in paths:
                read_rgb(file)  # refused before anything is printed
    encoder = build_encoder(vgg19, compact)
    encoder.require(STYLE_LAYERS)
    print(f"{format_header()}  picture")
    for (photo, painting), group in groupby(jobs, key=lambda job: job[:2]):
        evaluator = Evaluator(encoder, image_to_tensor(read_rgb(painting)), short_side=short_side)
        content = image_to_tensor(read_rgb(photo))
        for path in (photo, *(picture for *_, picture in group)):
            figures = evaluator.measure(image_to_tensor(read_rgb(path)), content)[0]
            print(f"{format_figures(figures.tolist())}  {path.name}")


def _for_each(name: str, files: list[Path], pictures: list[Path]) -> list[Path]:
    count = len(pictures)
    require(name, [*map(str, files)], len(files) in (1, count), f"one file, or one for each of the {count} pictures")
    return files if len(files) == count else files * count
