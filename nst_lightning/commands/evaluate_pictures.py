"""The command `measure`: quality figures of pictures on disk."""

from pathlib import Path

import torch
from PIL import Image

from nst_lightning.encoders import Encoder, build_encoder, image_to_tensor
from nst_lightning.errors import UserError
from nst_lightning.images import read_rgb, resize_short_side
from nst_lightning.metrics.distances import SHORT_SIDE, content_distance, fine_energy, style_distance, style_grams


def evaluate_pictures(
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
        raise UserError(f"size: {size} is not allowed; relu5_1 at a quarter of the size needs 128 or more")
    encoder = build_encoder(vgg19, compact)
    judge = Judge(read_rgb(photo), read_rgb(painting), encoder, size=size)
    print(f"{'content':>8}{'style':>8}{'at 1':>8}{'at 1/2':>8}{'at 1/4':>8}{'grit':>8}  picture")
    for path in (photo, *pictures):
        print("".join(f"{figure:8.3f}" for figure in judge(read_rgb(path))) + f"  {Path(path).name}")


class Judge:
    """Measures pictures made of one photo and one painting.

    Args:
        photo: RGB.
        painting: RGB.
        encoder: must offer relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1.
        size: short side in pixels at which everything is compared.
    """

    def __init__(self, photo: Image.Image, painting: Image.Image, encoder: Encoder, *, size: int = SHORT_SIDE) -> None:
        self.encoder = encoder
        photo, painting = (resize_short_side(image, size) for image in (photo, painting))
        self.size = photo.size
        self.photo, self.painting = self._tensor(photo), self._tensor(painting)
        with torch.no_grad():
            self.grams = style_grams(self.painting, encoder)

    @torch.no_grad()
    def __call__(self, image: Image.Image) -> list[float]:
        """Content, style, style at scales 1, 1/2 and 1/4, and grit of a picture."""
        # it may be a pixel longer or shorter than its photo: both are compared at the photo's size
        picture = self._tensor(image.resize(self.size, Image.Resampling.LANCZOS))
        style = style_distance(style_grams(picture, self.encoder), self.grams)[0]
        content = content_distance(picture, self.photo, self.encoder)
        grit = fine_energy(picture) / fine_energy(self.painting)
        return [content.item(), style.mean().item(), *style.tolist(), grit.item()]

    def _tensor(self, image: Image.Image) -> torch.Tensor:
        return image_to_tensor(image).to(next(self.encoder.parameters()).device)
