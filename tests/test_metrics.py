import numpy as np
import pytest
import torch
from narrow_vgg16 import NarrowVGG16
from PIL import Image

from nst_lightning.encoders import CompactEncoder
from nst_lightning.images import image_to_array, read_rgb
from nst_lightning.metrics import (
    FIGURES,
    JUDGE_FIGURES,
    JUDGE_LAYERS,
    SCALES,
    STYLE_LAYERS,
    Evaluator,
    EvaluatorGroup,
    FigureLayers,
    fine_energy,
    list_short_sides,
    measure_untouched,
    resize_to_each,
)


def pictures_of(seed, count=4):
    return torch.rand(count, 3, 128, 144, generator=torch.Generator().manual_seed(seed))


def reference_style(picture, painting, encoder, factor, layers=STYLE_LAYERS):
    """|G(y) - G(s)|^2 / |G(s)|^2 averaged over layers, in float64, by pixels averaged with NumPy."""
    distances = []
    for layer in layers:
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
    assert figures == pytest.approx([0, 0, 0, 0, 0, 1, 1], abs=1e-5)


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
        grit = Evaluator(encoder, edges).measure(picture, edges)[0, FIGURES.index("grit")]
        assert low < grit.item() < high
    odd = fine_energy(edges[..., :-1, :-1]) / fine_energy(edges)
    assert odd.item() == pytest.approx(1, abs=0.01)
    assert fine_energy(torch.full((1, 3, 64, 64), 0.3)).item() == pytest.approx(0, abs=1e-6)


def reference_color_energy(picture):
    """The energy of the finest details of Cb and Cr, with the matrix of JFIF, and Pillow's scaling."""
    matrix = np.array([[-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
    bands = []
    for channel in np.einsum("ij,jhw->ihw", matrix, picture.double().numpy()):
        height, width = channel.shape
        half = channel.reshape(height // 2, 2, width // 2, 2).mean((1, 3)).astype(np.float32)
        blurred = Image.fromarray(half).resize((width, height), Image.Resampling.BILINEAR)
        bands.append(channel - np.asarray(blurred, np.float64))
    return np.sqrt(np.mean(np.square(bands)))


def test_color_grit_is_the_fine_energy_of_the_chroma(encoder):
    picture, painting = pictures_of(1, 1) * 0.3 + 0.2, pictures_of(3, 1)
    expected = reference_color_energy(picture[0]) / reference_color_energy(painting[0])
    found = Evaluator(encoder, painting, short_side=128).measure(picture, picture)[0, FIGURES.index("color_grit")]
    assert found.item() == pytest.approx(expected, rel=1e-4)


def test_beside_a_painting_without_colors_a_step_of_8_bits_is_one(encoder):
    gray = pictures_of(3, 1).mean(1, keepdim=True).expand(-1, 3, -1, -1)
    picture = pictures_of(1, 1)
    evaluator = Evaluator(encoder, gray, short_side=128)
    found = torch.cat([evaluator.measure(each, picture) for each in (picture, gray)])[:, FIGURES.index("color_grit")]
    assert found.tolist() == pytest.approx([255 * reference_color_energy(picture[0]), 0], rel=1e-4, abs=1e-4)


def test_color_speckle_is_seen_by_color_grit_and_hardly_by_grit(encoder):
    random = torch.Generator().manual_seed(0)
    strokes = 0.5 + 0.1 * torch.randn(1, 1, 128, 144, generator=random)
    red, blue = torch.randn(2, 1, 128, 144, generator=random)
    speckle = torch.stack([red, -(0.299 * red + 0.114 * blue) / 0.587, blue], dim=1)  # of no luma
    painting, picture = strokes + 0.01 * speckle, strokes + 0.03 * speckle
    figures = Evaluator(encoder, painting, short_side=128).measure(picture, painting)[0]
    grit, color_grit = (figures[FIGURES.index(name)].item() for name in ("grit", "color_grit"))
    assert 1 < grit < 1.05
    assert color_grit == pytest.approx(3, rel=1e-3)


@pytest.fixture
def judge():
    return NarrowVGG16()


def test_a_group_measures_as_an_evaluator_for_each_size_and_encoder(encoder, judge):
    pictures, photos, painting = pictures_of(1), pictures_of(2), pictures_of(3, 1)
    group = EvaluatorGroup(encoder, painting, short_sides=(128, 160), judge=judge)
    found = group.measure(pictures, photos)
    assert group.figures == FIGURES + JUDGE_FIGURES
    for row, short_side in zip(found.unbind(1), (128, 160)):
        own = Evaluator(encoder, painting, short_side=short_side)
        judged = Evaluator(judge, painting, short_side=short_side, layers=JUDGE_LAYERS)
        expected = torch.cat([own.measure(pictures, photos), judged.measure(pictures, photos)[:, :2]], dim=1)
        torch.testing.assert_close(row, expected)
    group.update(pictures[:3], photos[:3])
    group.update(pictures[3:], resize_to_each(photos[3:], (128, 160)))
    medians = group.compute()
    assert list(medians) == [128, 160]
    for short_side, row in zip(medians, found.unbind(1)):
        assert list(medians[short_side]) == list(group.figures)
        torch.testing.assert_close(torch.stack([*medians[short_side].values()]), row.quantile(0.5, dim=0))


def test_a_judge_compares_layers_of_vgg16_that_nothing_is_trained_with(encoder, judge):
    picture, photo, painting = pictures_of(1, 1), pictures_of(2, 1), pictures_of(3, 1)
    group = EvaluatorGroup(encoder, painting, short_sides=[128], judge=judge)
    found = dict(zip(group.figures, group.measure(picture, photo)[0, 0].tolist()))
    a, b = (judge(x, ["relu4_3"])["relu4_3"].double().numpy() for x in (picture, photo))
    assert found["judge_content"] == pytest.approx(np.sum((a - b) ** 2) / np.sum(b**2), rel=1e-4)
    layers = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
    styles = [reference_style(picture[0], painting[0], judge, factor, layers) for factor in (1, 2, 4)]
    assert found["judge_style"] == pytest.approx(np.mean(styles), rel=1e-3)


def test_content_may_be_compared_at_a_layer_without_style(encoder):
    picture, photo, painting = pictures_of(1, 1), pictures_of(2, 1), pictures_of(3, 1)
    layers = FigureLayers("relu3_1", ("relu2_1", "relu1_1"))
    content, style, *_ = Evaluator(encoder, painting, short_side=128, layers=layers).measure(picture, photo)[0].tolist()
    a, b = (encoder(x, ["relu3_1"])["relu3_1"].double().numpy() for x in (picture, photo))
    assert content == pytest.approx(np.sum((a - b) ** 2) / np.sum(b**2), rel=1e-4)
    styles = [reference_style(picture[0], painting[0], encoder, factor, layers.style) for factor in SCALES]
    assert style == pytest.approx(np.mean(styles), rel=1e-3)


def test_untouched_photos_are_encoded_once_for_all_groups(encoder, judge, monkeypatch):
    photos, calls, forward = pictures_of(2, 1), [], encoder.forward
    paintings, sizes = [pictures_of(3, 1), pictures_of(4, 1)], [(128,), (128, 160)]
    groups = [EvaluatorGroup(encoder, *given[:1], short_sides=given[1], judge=judge) for given in zip(paintings, sizes)]
    expected = [group.measure(photos, photos) for group in groups]
    monkeypatch.setattr(encoder, "forward", lambda *given: calls.append(given) or forward(*given))
    found = measure_untouched(groups, resize_to_each(photos, (128, 160)))
    assert len(calls) == 2 * len(SCALES)
    for mine, theirs in zip(found, expected):
        torch.testing.assert_close(mine, theirs)


def test_a_judge_that_ends_early_is_named(encoder, judge):
    judge.layers = judge.layers[:4]
    with pytest.raises(ValueError, match="judge: a narrow VGG-16 has no layer relu2_2; it goes as far as relu1_2"):
        EvaluatorGroup(encoder, pictures_of(3, 1), judge=judge)


def test_pictures_are_compared_at_256_pixels_and_as_large_as_they_were_painted():
    assert [list_short_sides(painted) for painted in (128, 256, 512)] == [(256,), (256,), (256, 512)]


@pytest.mark.weights
def test_noise_moves_a_photo_away_from_itself(shared):
    encoder = CompactEncoder(str(shared / "weights/vgg19_16x_distilled.safetensors"))
    photo = torch.from_numpy(image_to_array(read_rgb(shared / "photos/test/chicago.jpg")))[None]
    evaluator = Evaluator(encoder, photo)
    noise = 0.2 * torch.randn(photo.shape)
    same, noisy = (evaluator.measure(x, photo)[0, 0].item() for x in (photo, (photo + noise).clamp(0, 1)))
    assert same == pytest.approx(0, abs=1e-6)
    assert 0.1 < noisy < 2
