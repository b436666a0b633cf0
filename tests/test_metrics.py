import numpy as np
import pytest
import torch
from PIL import Image

from nst_lightning.encoders import CompactEncoder
from nst_lightning.images import image_to_array, read_rgb
from nst_lightning.metrics import FIGURES, SCALES, STYLE_LAYERS, Evaluator, fine_energy


def pictures_of(seed, count=4):
    return torch.rand(count, 3, 128, 144, generator=torch.Generator().manual_seed(seed))


def reference_style(picture, painting, encoder, factor):
    """|G(y) - G(s)|^2 / |G(s)|^2 averaged over layers, in float64, by pixels averaged with NumPy."""
    distances = []
    for layer in STYLE_LAYERS:
        grams = []
        for x in (picture, painting):
            array = x.numpy()
            small = array.reshape(3, array.shape[1] // factor, factor, array.shape[2] // factor, factor).mean((2, 4))
            flat = encoder(torch.from_numpy(small)[None], [layer])[layer][0].flatten(1).double().numpy()
            grams.append(flat @ flat.T / flat.shape[1])
        distances.append(np.sum((grams[0] - grams[1]) ** 2) / np.sum(grams[1] ** 2))
    return np.mean(distances)


@pytest.fixture
def medians(encoder):
    """The figures of four pictures, which came in two batches, against those of each picture."""
    pictures, photos, painting = pictures_of(1), pictures_of(2), pictures_of(3, 1)
    evaluator = Evaluator(encoder, painting, short_side=128)
    evaluator.update(pictures[:1], photos[:1])
    evaluator.update(pictures[1:], photos[1:])
    return evaluator.compute(), pictures, photos, painting


def test_content_is_the_median_of_relative_differences(encoder, medians):
    found, pictures, photos, _ = medians
    assert tuple(found) == FIGURES
    expected = []
    for y, x in zip(pictures, photos):
        a, b = (encoder(z[None], ["relu4_1"])["relu4_1"].double().numpy() for z in (y, x))
        expected.append(np.sum((a - b) ** 2) / np.sum(b**2))
    assert found["content"].item() == pytest.approx(np.median(expected), rel=1e-4)  # of an even count, too


def test_style_at_three_scales(encoder, medians):
    found, pictures, _, painting = medians
    expected = np.array([[reference_style(y, painting[0], encoder, factor) for factor in SCALES] for y in pictures])
    assert found["style"].item() == pytest.approx(np.median(expected.mean(1)), rel=1e-3)
    at_scales = [found[f"style_at_{factor}"].item() for factor in SCALES]
    assert at_scales == pytest.approx(np.median(expected, 0), rel=1e-3)


def test_the_painting_itself_is_perfect(encoder):
    painting = pictures_of(3, 1)
    figures = Evaluator(encoder, painting).measure(painting, painting)[0].tolist()
    assert figures == pytest.approx([0, 0, 0, 0, 0, 1], abs=1e-5)


def test_a_picture_is_compared_at_the_size_of_its_photo(encoder):
    """One a pixel longer, or several times as large, has the same figures as if it had been scaled before."""
    photo, large = pictures_of(1, 1), torch.rand(1, 3, 300, 339, generator=torch.Generator().manual_seed(5))
    evaluator = Evaluator(encoder, pictures_of(3, 1), short_side=128)
    channels = [Image.fromarray(channel).resize((144, 128), Image.Resampling.LANCZOS) for channel in large[0].numpy()]
    scaled = torch.from_numpy(np.stack([np.asarray(channel) for channel in channels]))[None].clamp(0, 1)
    torch.testing.assert_close(evaluator.measure(large, photo), evaluator.measure(scaled, photo))


def test_figures_need_deep_layers_and_room_for_them(encoder):
    with pytest.raises(ValueError, match="short_side must be >= 128, got 64"):
        Evaluator(encoder, pictures_of(3, 1), short_side=64)
    encoder.layers = encoder.layers[:3]
    with pytest.raises(ValueError, match="has no layer relu4_1"):
        Evaluator(encoder, pictures_of(3, 1))


def test_grit_rises_with_noise_and_falls_with_blur(encoder):
    x = torch.linspace(0, 1, 256).expand(1, 3, 256, 256) * 0.5
    edges = x + 0.2 * (torch.arange(256) // 16 % 2)
    noise = 0.1 * torch.randn(edges.shape, generator=torch.Generator().manual_seed(0))
    blurred = torch.nn.functional.avg_pool2d(edges, 5, 1, 2, count_include_pad=False)
    for picture, low, high in ((edges + noise, 1.3, 9), (edges, 0.99, 1.01), (blurred, 0, 0.7)):
        grit = Evaluator(encoder, edges).measure(picture, edges)[0, -1]
        assert low < grit.item() < high
    odd = fine_energy(edges[..., :-1, :-1]) / fine_energy(edges)
    assert odd.item() == pytest.approx(1, abs=0.01)
    assert fine_energy(torch.full((1, 3, 64, 64), 0.3)).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.weights
def test_noise_moves_a_photo_away_from_itself(shared):
    encoder = CompactEncoder(str(shared / "weights/vgg19_16x_distilled.safetensors"))
    photo = torch.from_numpy(image_to_array(read_rgb(shared / "photos/test/chicago.jpg")))[None]
    evaluator = Evaluator(encoder, photo)
    noise = 0.2 * torch.randn(photo.shape)
    same, noisy = (evaluator.measure(x, photo)[0, 0].item() for x in (photo, (photo + noise).clamp(0, 1)))
    assert same == pytest.approx(0, abs=1e-6)
    assert 0.1 < noisy < 2
