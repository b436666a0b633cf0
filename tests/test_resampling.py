import numpy as np
import pytest
import torch
from PIL import Image

from nst_lightning.metrics.resampling import lanczos_weights, resize_by_products, resize_lanczos


@pytest.mark.parametrize(
    ("old", "new"),
    [((67, 45), (256, 171)), ((301, 200), (128, 85)), ((64, 64), (32, 40)), ((50, 31), (31, 50)), ((9, 8), (8, 8))],
)
def test_products_resample_like_pillow(old, new):
    pictures = torch.rand(2, 3, old[1], old[0], generator=torch.Generator().manual_seed(0))
    expected = [
        [np.asarray(Image.fromarray(channel.numpy()).resize(new, Image.Resampling.LANCZOS)) for channel in picture]
        for picture in pictures
    ]
    expected = torch.from_numpy(np.array(expected)).clamp(0, 1)
    for resize in (resize_by_products, resize_lanczos):
        with torch.autocast("cpu", torch.bfloat16):  # as in validation; figures are computed precisely all the same
            found = resize(pictures, new)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_a_picture_of_the_size_stays_as_it_is():
    picture = torch.rand(1, 3, 5, 7)
    assert resize_lanczos(picture, (7, 5)) is picture


@pytest.mark.parametrize(("length", "new_length"), [(100, 37), (37, 100), (64, 32)])
def test_weights_keep_flat_pictures_flat_and_have_no_side(length, new_length):
    weights = lanczos_weights(length, new_length)
    assert weights.shape == (new_length, length)
    torch.testing.assert_close(weights.sum(1), torch.ones(new_length, dtype=torch.float64))
    torch.testing.assert_close(weights, weights.flip(0, 1))
