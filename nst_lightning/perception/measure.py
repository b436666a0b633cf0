"""The command `measure`: quality figures of pictures on disk."""

from pathlib import Path

import torch
from PIL import Image

from nst_lightning.images import image_to_array, read_rgb, resize_short_side
from nst_lightning.perception.compact import encoder_of
from nst_lightning.perception.encoders import Encoder
from nst_lightning.perception.metrics import (
    SHORT_SIDE,
    content_distance,
    fine_energy,
    style_distance,
    style_grams,
)


def measure(
    photo: str,
    painting: str,
    pictures: list[str],
    vgg19: str | None = "imagenet",
    compact: str | None = None,
    size: int = SHORT_SIDE,
) -> None:
    """Print content, style across scales (and at each) and grit of stylized pictures, after the photo's own.

    Photo, painting and pictures are brought to the same short side. A good picture has content 0.2 to 0.45, style far
    below the photo's at every scale, and grit 0.7 to 1.3. Figures depend on the encoder: compare only those of one.

    Args:
        photo: the photo the pictures were made of.
        painting: the style picture.
        pictures: stylized pictures.
        vgg19: weights of VGG-19: `imagenet`, `caffe`, or a file, which may end early beside `compact`; `null` for none.
        compact: weights file of a compact encoder, for the layers that VGG-19's file does not have.
        size: short side in pixels at which everything is compared.
    """
    if size < 128:
        raise ValueError(f"size: {size} is not allowed; relu5_1 at a quarter of the size needs 128 or more")
    encoder = encoder_of(vgg19, compact)
    photo_image = resize_short_side(read_rgb(photo), size)
    painting_tensor = _tensor(resize_short_side(read_rgb(painting), size))
    reference = style_grams(painting_tensor, encoder)
    print(f"{'content':>8}{'style':>8}{'at 1':>8}{'at 1/2':>8}{'at 1/4':>8}{'grit':>8}  picture")
    for path in (photo, *pictures):
        # a picture may be a pixel longer or shorter than its photo: both are compared at the photo's size
        image = read_rgb(path).resize(photo_image.size, Image.Resampling.LANCZOS)
        figures = _figures(_tensor(image), _tensor(photo_image), painting_tensor, reference, encoder)
        print("".join(f"{figure:8.3f}" for figure in figures) + f"  {Path(path).name}")


@torch.no_grad()
def _figures(
    picture: torch.Tensor, photo: torch.Tensor, painting: torch.Tensor, reference: list, encoder: Encoder
) -> list[float]:
    style = style_distance(style_grams(picture, encoder), reference)[0]
    content = content_distance(picture, photo, encoder)
    grit = fine_energy(picture) / fine_energy(painting)
    return [content.item(), style.mean().item(), *style.tolist(), grit.item()]


def _tensor(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(image_to_array(image))[None]
