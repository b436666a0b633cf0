"""The command `examples`: photographs and style pictures for training, without a download."""

import importlib.util
import shutil
from dataclasses import dataclass
from pathlib import Path

from nst_lightning.commands.pictures import expand_argument
from nst_lightning.errors import UserError
from nst_lightning.examples import impasto, ink_wash, mosaic, pastel, watercolor
from nst_lightning.extras import install_command
from nst_lightning.images import atomic_path, require_folder, write_picture

STYLES = {
    "impasto": impasto,
    "watercolor": watercolor,
    "pastel": pastel,
    "ink_wash": ink_wash,
    "mosaic": mosaic,
}


@dataclass(frozen=True)
class Photo:
    """A photograph in an installed package.

    Args:
        package: import name of the package.
        file: path of the photograph in the package's folder.
        credit: author and license.
        held_out: whether the photograph is for validation.
    """

    package: str
    file: str
    credit: str
    held_out: bool = False


_CC_BY = "CC BY 2.0, https://creativecommons.org/licenses/by/2.0/"
PHOTOS = (
    Photo("skimage", "data/astronaut.png", "NASA; public domain"),
    Photo("skimage", "data/brick.png", "CC0Textures; CC0"),
    Photo("skimage", "data/camera.png", "Lav Varshney; CC0"),
    Photo("skimage", "data/grass.png", "linolafett; CC0"),
    Photo("skimage", "data/gravel.png", "CC0Textures; CC0"),
    Photo("skimage", "data/hubble_deep_field.jpg", "NASA; public domain"),
    Photo("skimage", "data/rocket.jpg", "SpaceX; public domain"),
    Photo(
        "sklearn",
        "datasets/images/flower.jpg",
        f"vultilion, https://www.flickr.com/photos/vultilion/6056698931; {_CC_BY}",
    ),
    Photo("skimage", "data/chelsea.png", "Stefan van der Walt; CC0", held_out=True),
    Photo("skimage", "data/coffee.png", "Rachel Michetti; CC0", held_out=True),
    Photo(
        "sklearn",
        "datasets/images/china.jpg",
        f"danielbuechele, https://www.flickr.com/photos/danielbuechele/6061409035; {_CC_BY}",
        held_out=True,
    ),
)


def examples(output: str = "examples") -> None:
    """Write example photographs and style pictures to a folder: photos/train, photos/val and styles.

    The photographs come from the packages scikit-image and scikit-learn, under free licenses (photos/CREDITS.txt). The
    style pictures are drawn by programs, always the same.

    Args:
        output: folder to write to.
    """
    folder = expand_argument("output", output)
    require_folder(folder)
    sources = [_file(photo) for photo in PHOTOS]
    for name, draw in STYLES.items():
        write_picture(folder / "styles" / f"{name}.png", draw())
    for photo, source in zip(PHOTOS, sources):
        with atomic_path(folder / "photos" / ("val" if photo.held_out else "train") / source.name) as temporary:
            shutil.copyfile(source, temporary)
    with atomic_path(folder / "photos" / "CREDITS.txt") as temporary:
        temporary.write_text(
            "".join(f"{Path(photo.file).name}: {photo.credit}\n" for photo in PHOTOS), encoding="utf-8"
        )
    print(f"{len(PHOTOS)} photos and {len(STYLES)} style pictures: {folder}")


def _file(photo: Photo) -> Path:
    """The file of a photograph in an installed package, which is not imported.

    Raises:
        UserError: the package is not installed, or lacks the file.
    """
    spec = importlib.util.find_spec(photo.package)
    folders = spec.submodule_search_locations if spec else None
    path = Path(folders[0]) / photo.file if folders else None
    if path is None or not path.is_file():
        raise UserError(
            f"{Path(photo.file).name} is missing: the example photographs come with scikit-image and scikit-learn; "
            f"{install_command('quickstart')}"
        )
    return path
