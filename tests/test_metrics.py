import numpy as np
import pytest
import torch

from nst_lightning.commands.evaluate_pictures import measure
from nst_lightning.encoders import CompactEncoder
from nst_lightning.metrics.distances import SCALES, STYLE_LAYERS, ContentDistance, Grit, StyleDistance, fine_energy


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


def test_content_is_the_median_of_relative_differences(encoder):
    pictures, photos = pictures_of(1), pictures_of(2)
    metric = ContentDistance(encoder, short_side=128)
    metric.update(pictures[:1], photos[:1])
    metric.update(pictures[1:], photos[1:])
    expected = []
    for y, x in zip(pictures, photos):
        a, b = (encoder(z[None], ["relu4_1"])["relu4_1"].double().numpy() for z in (y, x))
        expected.append(np.sum((a - b) ** 2) / np.sum(b**2))
    assert metric.compute().item() == pytest.approx(np.median(expected), rel=1e-4)  # of an even count, too


def test_style_at_three_scales(encoder):
    pictures, painting = pictures_of(1), pictures_of(3, 1)
    metric = StyleDistance(encoder, painting, short_side=128)
    metric.update(pictures)
    expected = np.array([[reference_style(y, painting[0], encoder, factor) for factor in SCALES] for y in pictures])
    of_all, *of_scales = metric.compute().tolist()
    assert of_all == pytest.approx(np.median(expected.mean(1)), rel=1e-3)
    assert of_scales == pytest.approx(np.median(expected, 0), rel=1e-3)


def test_the_painting_itself_is_perfect(encoder):
    painting = pictures_of(3, 1)
    style, grit, content = StyleDistance(encoder, painting), Grit(painting), ContentDistance(encoder)
    style.update(painting)
    grit.update(painting)
    content.update(painting, painting)
    assert style.compute().max().item() == pytest.approx(0, abs=1e-6)
    assert grit.compute().item() == pytest.approx(1, rel=1e-5)
    assert content.compute().item() == pytest.approx(0, abs=1e-6)


def test_grit_rises_with_noise_and_falls_with_blur():
    x = torch.linspace(0, 1, 256).expand(1, 3, 256, 256) * 0.5
    edges = x + 0.2 * (torch.arange(256) // 16 % 2)
    noise = 0.1 * torch.randn(edges.shape, generator=torch.Generator().manual_seed(0))
    blurred = torch.nn.functional.avg_pool2d(edges, 5, 1, 2, count_include_pad=False)
    for picture, low, high in ((edges + noise, 1.3, 9), (edges, 0.99, 1.01), (blurred, 0, 0.7)):
        metric = Grit(edges)
        metric.update(picture)
        assert low < metric.compute().item() < high
    odd = fine_energy(edges[..., :-1, :-1]) / fine_energy(edges)
    assert odd.item() == pytest.approx(1, abs=0.01)
    assert fine_energy(torch.full((1, 3, 64, 64), 0.3)).item() == pytest.approx(0, abs=1e-6)


def test_measure_prints_the_photo_first(capsys, compact_weights, photos, painting):
    photo = photos / "photo0.jpg"
    measure(str(photo), painting, [painting, str(photo)], vgg19=None, compact=compact_weights, size=128)
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split()[:2] == ["content", "style"]
    names = [row.split()[-1] for row in rows]
    assert names == ["photo0.jpg", "painting.png", "photo0.jpg"]
    figures = np.array([[float(cell) for cell in row.split()[:-1]] for row in rows])
    assert figures[0, 0] == 0  # the photo has its own content
    np.testing.assert_array_equal(figures[0], figures[2])
    assert figures[1, 1] < 0.5 * figures[0, 1]  # the painting, squeezed to the photo's shape, has its own style
    with pytest.raises(ValueError, match="size must be .*, got 64"):
        measure(str(photo), painting, [painting], size=64)


@pytest.mark.weights
def test_noise_moves_a_photo_away_from_itself(shared):
    from nst_lightning.images import image_to_array, read_rgb

    encoder = CompactEncoder(str(shared / "weights/vgg19_16x_distilled.safetensors"))
    photo = torch.from_numpy(image_to_array(read_rgb(shared / "photos/test/chicago.jpg")))[None]
    metric = ContentDistance(encoder)
    metric.update(photo, photo)
    metric.update((photo + 0.2 * torch.randn(photo.shape)).clamp(0, 1), photo)
    same, noisy = (value.item() for value in metric.values)
    assert same == pytest.approx(0, abs=1e-6)
    assert 0.1 < noisy < 2
