import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch.autograd import gradcheck

from nst_lightning.encoders import resize_tensor
from nst_lightning.errors import UserError
from nst_lightning.losses import (
    ObjectiveOptions,
    PerceptualLoss,
    content_loss,
    covariance_root,
    gram_loss,
    gram_matrix,
    grid_loss,
    mean_std_loss,
    moments,
    tent_downsample,
    total_variation_loss,
    wasserstein_loss,
)


def reference_gram(features):
    """Sums over positions, in float64, element by element as in Gatys et al. 2015, equation 3."""
    channels = features.reshape(features.shape[0], -1).astype(np.float64)
    return np.array([[np.sum(a * b) for b in channels] for a in channels])


def features_of(seed, *shape):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape)).float()


def test_gram_by_hand():
    features = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])  # two channels, two positions
    assert gram_matrix(features).tolist() == [[[2.5, 5.5], [5.5, 12.5]]]


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_gram_against_float64(memory_format):
    features = features_of(0, 2, 5, 7, 6).contiguous(memory_format=memory_format)
    for gram, one in zip(gram_matrix(features), features):
        np.testing.assert_allclose(gram, reference_gram(one.numpy()) / 42, rtol=1e-5, atol=1e-6)


def test_gram_gradient():
    assert gradcheck(gram_matrix, features_of(0, 1, 3, 4, 4).double().requires_grad_())


@pytest.mark.parametrize(("dtype", "rounded"), [(torch.float16, 1e-6), (torch.bfloat16, 2**-8)])
def test_gram_is_float32_whatever_the_features_are(dtype, rounded):
    features = (300 * features_of(0, 1, 4, 64, 64)).to(dtype)  # sums of squares are beyond float16
    with torch.autocast("cpu", dtype=torch.bfloat16):
        gram = gram_matrix(features)
    assert gram.dtype == torch.float32
    torch.testing.assert_close(gram, gram_matrix(features.float()), rtol=rounded, atol=0)


def test_content_by_hand():
    picture, photo = torch.tensor([3.0, 0.0, 0.0, 0.0]), torch.tensor([1.0, 2.0, 0.0, 0.0])
    arguments = (picture.view(1, 1, 2, 2), photo.view(1, 1, 2, 2))  # squared differences 4 + 4
    assert content_loss(*arguments, "gatys").item() == 4
    assert content_loss(*arguments, "mean").item() == 8 / (4 * 2 * 2 * 1)
    assert content_loss(*arguments, "relative").item() == pytest.approx(8 / 5)


@pytest.mark.parametrize("normalization", ["gatys", "mean", "relative"])
def test_losses_against_float64(normalization):
    picture, photo = features_of(1, 2, 4, 6, 5), features_of(2, 2, 4, 6, 5)
    f, p = picture.double().numpy(), photo.double().numpy()
    content = {
        "gatys": np.mean([0.5 * np.sum((a - b) ** 2) for a, b in zip(f, p)]),
        "mean": np.mean([np.sum((a - b) ** 2) / (4 * 6 * 5 * 4) for a, b in zip(f, p)]),
        "relative": np.sum((f - p) ** 2) / np.sum(p**2),
    }
    assert content_loss(picture, photo, normalization).item() == pytest.approx(content[normalization], rel=1e-5)

    painting = features_of(3, 1, 4, 6, 5)
    target = reference_gram(painting[0].numpy())
    channels, positions = 4, 30
    of_each = []
    for one in f:
        difference = np.sum((reference_gram(one) - target) ** 2)
        if normalization == "relative":
            of_each.append(difference / np.sum(target**2))
        else:
            of_each.append(difference / (4 * channels**2 * positions**2))
    found = gram_loss(gram_matrix(picture), gram_matrix(painting), normalization)
    np.testing.assert_allclose(found, of_each, rtol=1e-5)


def test_total_variation_by_hand():
    chessboard = torch.tensor([[[[0.0, 1.0], [1.0, 0.0]]] * 3])
    assert total_variation_loss(chessboard).item() == pytest.approx(2)
    assert total_variation_loss(torch.full((1, 3, 4, 4), 0.5)).item() == 0
    steps = torch.tensor([[[[0.0, 0.5, 1.0]] * 2] * 3])
    assert total_variation_loss(steps).item() == pytest.approx(0.25)


@pytest.mark.parametrize("color", [0.0, 10.0])
def test_total_variation_can_count_color_more_than_brightness(color):
    """Pillow's own Cb and Cr are the reference."""
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    chroma = np.asarray(Image.fromarray(pixels).convert("YCbCr"), dtype=np.float64)[..., 1:]
    expected = sum(
        np.mean(np.diff(pixels / 255, axis=axis) ** 2) + color * np.mean(np.diff(chroma / 255, axis=axis) ** 2) * 2 / 3
        for axis in (0, 1)
    )
    tensor = torch.from_numpy(pixels / 255).permute(2, 0, 1)[None]
    assert total_variation_loss(tensor, color=color).item() == pytest.approx(expected, rel=1e-3)
    with torch.autocast("cpu", torch.bfloat16):
        assert total_variation_loss(tensor.float(), color=color).item() == pytest.approx(expected, rel=1e-3)


def test_total_variation_has_the_gradient_of_its_value():
    pictures = features_of(0, 2, 3, 4, 5).double().requires_grad_()
    for color in (0.0, 10.0):
        assert gradcheck(lambda given, color=color: total_variation_loss(given, color=color), pictures)


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize(
    ("steps", "odd", "even"),
    [([1, 3, 1, 3, 1, 3, 1, 3, 1], 2, 2), ([1, 1, 3, 3, 1, 1, 3, 3, 1], 0, 2), ([0, 1, 3, 2, 0, 1, 3, 2, 0], 1, 2)],
)
def test_grid_by_hand(steps, odd, even, down):
    """The steps between pixels differ by `odd` at odd places and by `even` at even ones."""
    line = torch.tensor([0, *steps]).cumsum(0) / 40
    picture = line.expand(2, 3, 10, 10)
    expected = math.log((odd / 40 + 1e-4) / (even / 40 + 1e-4)) ** 2 / 2  # and none in the other direction
    assert grid_loss(picture.mT if down else picture).item() == pytest.approx(expected, rel=1e-4, abs=1e-9)


def test_a_flat_picture_has_no_grid():
    picture = torch.full((1, 3, 8, 8), 0.5, requires_grad=True)
    loss = grid_loss(picture)
    loss.backward()
    assert loss.item() == 0
    assert picture.grad.isfinite().all()


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_downsampled_pictures_keep_their_middle_and_their_size_is_rounded_down(factor):
    ramp = torch.arange(40.0).expand(1, 1, 22, 40)
    small = tent_downsample(ramp, factor)
    assert small.shape[-2:] == (22 // factor, 40 // factor)
    centers = (torch.arange(40 // factor) + 0.5) * factor - 0.5
    torch.testing.assert_close(small[0, 0, 0, 1:-1], centers[1:-1])
    assert tent_downsample(ramp, 1) is ramp


def test_a_downsampled_pictures_gradient_has_no_blocks():
    slope = torch.arange(64.0).view(1, 1, 8, 8)
    large = torch.zeros(1, 1, 32, 32, requires_grad=True)
    (gradient,) = torch.autograd.grad(tent_downsample(large, 4), large, slope)
    steps = gradient[0, 0, 16].diff()[6:-6]
    assert steps.max() < 1.01 * steps.min()  # a ramp's gradient is a ramp


def test_pictures_are_downsampled_in_their_own_precision():
    picture = features_of(0, 1, 3, 16, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = tent_downsample(picture, 2)
    assert torch.equal(found, tent_downsample(picture, 2))


def test_resize_to():
    x = torch.full((1, 3, 40, 60), 0.25)
    assert resize_tensor(x, 40) is x
    torch.testing.assert_close(resize_tensor(x, 20), torch.full((1, 3, 20, 30), 0.25))


PAINTING = torch.rand(1, 3, 80, 90, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def loss_of(encoder):
    """A perceptual loss of few layers, with some options changed."""

    def make(*paintings, **changes):
        options = {
            "content_layers": {"relu3_1": 3.0},
            "style_layers": {"relu1_1": 1.0, "relu2_1": 3.0},
            "style_scales": {1: 0.5, 2: 0.5},
            "content_weight": 2.0,
            "style_weight": 5.0,
            "tv_weight": 7.0,
            "grid_weight": 0.5,
        }
        return PerceptualLoss(encoder, paintings or [PAINTING], ObjectiveOptions(**options | changes))

    return make


def test_perceptual_loss_is_the_weighted_sum(loss_of, encoder):
    pictures, photos = torch.rand(2, 3, 64, 72), torch.rand(2, 3, 64, 72)
    losses = loss_of()(pictures, photos)
    content = content_loss(*(encoder(x, ["relu3_1"])["relu3_1"] for x in (pictures, photos)))
    style = 0.0
    for factor in (1, 2):
        for layer, share in (("relu1_1", 0.25), ("relu2_1", 0.75)):
            found, target = (
                gram_matrix(encoder(tent_downsample(x, factor), [layer])[layer]) for x in (pictures, PAINTING)
            )
            style += 0.5 * share * gram_loss(found, target).mean()
    variation, grid = total_variation_loss(pictures, color=10), grid_loss(pictures)
    for name, expected in (("content", content), ("style", style), ("variation", variation), ("grid", grid)):
        torch.testing.assert_close(losses[name], expected)
    torch.testing.assert_close(losses["loss"], 2 * content + 5 * style + 7 * variation + 0.5 * grid)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"style_loss": "wasserstein"},
        {"style_loss": "mean_std"},
        {"style_loss": "sliced"},
        {"correlation_chain": True, "blur": True},
    ],
)
def test_each_picture_has_a_painting_and_a_factor_of_its_own(loss_of, changes):
    pictures, photos = torch.rand(3, 3, 64, 72), torch.rand(3, 3, 64, 72)
    paintings = [PAINTING, torch.rand(1, 3, 90, 70) ** 2]
    factors = torch.tensor([1.0, 0.25, 0.5])
    found = loss_of(*paintings, **changes)(pictures, photos, styles=torch.tensor([1, 0, 1]), style_factors=factors)
    one_by_one = [
        loss_of(paintings[i], **changes)(pictures[n : n + 1], photos[n : n + 1])["style"]
        for n, i in enumerate([1, 0, 1])
    ]
    torch.testing.assert_close(found["style"], (torch.stack(one_by_one) * factors).mean())
    torch.testing.assert_close(found["style_of_each"], torch.stack(one_by_one))


@pytest.mark.parametrize("layers", [{"relu4_1": 1.0}, {"relu2_1": 1.0, "relu3_1": 3.0}])
def test_contents_of_pictures_make_up_that_of_the_batch(loss_of, encoder, layers):
    pictures, photos = torch.rand(3, 3, 64, 72), torch.rand(3, 3, 64, 72) ** 2
    found = loss_of(PAINTING, content_layers=layers)(pictures, photos)
    numerators, energies = found["content_of_each"].unbind(1)
    assert energies.sum().item() == pytest.approx(1, rel=1e-5)
    torch.testing.assert_close(numerators.sum(), found["content"])
    weights = {layer: weight / sum(layers.values()) for layer, weight in layers.items()}
    for place in range(3):
        wanted, made = (encoder(each, list(layers)) for each in (photos, pictures))
        expected = sum(
            weight * (made[layer] - wanted[layer])[place].square().sum() / wanted[layer].square().sum()
            for layer, weight in weights.items()
        )
        torch.testing.assert_close(numerators[place], expected)


@pytest.mark.parametrize("scales", [{1: 1.0}, {2: 0.5, 1: 0.5}, {2: 1.0}])
@pytest.mark.parametrize("content_scale", [1, 2, 3])
def test_content_is_compared_at_its_own_scale(loss_of, encoder, scales, content_scale):
    pictures, photos = torch.rand(2, 3, 66, 72), torch.rand(2, 3, 66, 72)
    found = loss_of(style_scales=scales, content_scale=content_scale)(pictures, photos)
    small = (tent_downsample(x, content_scale) for x in (pictures, photos))
    content = content_loss(*(encoder(x, ["relu3_1"])["relu3_1"] for x in small))
    torch.testing.assert_close(found["content"], content)
    style = loss_of(style_scales=scales)(pictures, photos)["style"]
    torch.testing.assert_close(found["style"], style)


@pytest.mark.parametrize("scales", [{1: 1.0}, {2: 1.0}])
def test_the_photo_has_no_content_loss_and_the_painting_no_style_loss(loss_of, scales):
    losses = loss_of(style_scales=scales)(PAINTING, PAINTING)
    assert losses["content"].item() == pytest.approx(0, abs=1e-8)
    assert losses["style"].item() == pytest.approx(0, abs=1e-6)


def test_paintings_are_measured_with_the_first_pictures(loss_of, encoder):
    passes, photo = [], torch.rand(1, 3, 64, 64)
    with encoder.register_forward_pre_hook(lambda *_: passes.append(1)):
        loss = loss_of()
        counts = [len(passes)]
        for _ in range(2):
            loss(photo, photo)
            counts.append(len(passes))
    assert counts == [0, 3 + 2, 3 + 2 + 3]  # the painting takes a pass for each scale


def test_validation_in_inference_mode_may_come_before_training(loss_of):
    loss, pictures, photos = loss_of(), torch.rand(1, 3, 64, 64, requires_grad=True), torch.rand(1, 3, 64, 64)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        loss(pictures, photos)
    found, expected = loss(pictures, photos)["loss"], loss_of()(pictures, photos)["loss"]
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    found.backward()
    assert pictures.grad.isfinite().all()


def test_gradients_reach_the_pictures_only(loss_of):
    pictures = torch.rand(1, 3, 64, 64, requires_grad=True)
    loss = loss_of()
    loss(pictures, torch.rand(1, 3, 64, 64))["loss"].backward()
    assert pictures.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in loss.parameters())


@pytest.mark.parametrize(
    "changes",
    [{}, {"style_loss": "mean_std"}, {"style_loss": "sliced"}, {"correlation_chain": True, "blur": True}],
)
def test_half_precision_changes_losses_little(loss_of, changes):
    torch.manual_seed(0)
    pictures, photos = torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64)
    loss = loss_of(PAINTING**3, **changes)
    exact = loss(pictures, photos)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = loss(pictures, photos)
    for name, value in exact.items():
        assert rounded[name].dtype == torch.float32
        torch.testing.assert_close(rounded[name], value, rtol=0.03, atol=0, msg=name)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"style_weight": -1.0}, r"style_weight must be >= 0, got -1\.0"),
        ({"content_weight": float("nan")}, "content_weight must be >= 0, got nan"),
        ({"tv_weight": float("inf")}, "tv_weight must be >= 0, got inf"),
        ({"style_weight": 0, "content_weight": 0}, "style_weight or content_weight must be > 0, got 0 for both"),
        ({"style_layers": {"relu1_1": -1.0}}, "style_layers must be weights >= 0, one of them > 0, got {'relu1_1': -1"),
        ({"style_layers": {"relu1_1": 0.0}}, "style_layers must be weights >= 0, one of them > 0, got {'relu1_1': 0"),
        ({"content_layers": {}}, "content_layers must be weights >= 0, one of them > 0, got {}"),
        ({"style_scales": {0: 1.0}}, "style_scales must be factors >= 1 with weights > 0, got {0: 1.0}"),
        ({"style_scales": {1: 1.0, 2: 0.0}}, "style_scales must be factors >= 1 with weights > 0, got {1: 1.0, 2: 0.0"),
        ({"content_scale": 0}, "content_scale must be >= 1, got 0"),
        ({"style_loss": "max"}, "style_loss must be gram or wasserstein or mean_std or sliced, got 'max'"),
        ({"style_directions": 0}, "style_directions must be >= 1, got 0"),
        ({"style_loss": "mean_std", "correlation_chain": True}, "style_loss must be gram with correlation_chain, got"),
        ({"style_layers": {"relu1_1": 1.0}, "correlation_chain": True}, "style_layers must be two or more layers with"),
        ({"style_layers": {"relu9_9": 1.0}}, "unknown layer 'relu9_9'"),
        ({"style_layers": {"relu1_2": 1.0}}, "has no layer relu1_2; it offers relu1_1"),
        ({"style_layers": {"relu5_1": 1.0}, "style_scales": {4: 1.0}}, "painting of 90x80 is too small .* 128x128"),
    ],
)
def test_bad_options(loss_of, changes, message):
    with pytest.raises(UserError, match=message):
        loss_of(**changes)


@pytest.mark.parametrize(
    ("changes", "needed"),
    [
        ({"style_layers": {"relu4_1": 1.0}}, "relu4_1 at scale 1/2: at least 32x32"),
        ({"content_layers": {"relu4_1": 1.0}, "content_scale": 3}, "relu4_1 at scale 1/3: at least 48x48"),
    ],
)
def test_small_pictures_are_refused_with_the_number(loss_of, changes, needed):
    loss = loss_of(**changes)
    assert needed.endswith(f"{loss.minimum_size}x{loss.minimum_size}")
    with pytest.raises(UserError, match=f"a picture of 60x31 is too small for {needed}"):
        loss(torch.rand(1, 3, 31, 60), torch.rand(1, 3, 31, 60))
    loss(torch.rand(1, 3, loss.minimum_size, 60), torch.rand(1, 3, loss.minimum_size, 60))


def gaussian(seed, channels=5, rank=5):
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(channels, rank, generator=generator) @ torch.randn(rank, 900, generator=generator)
    return mixed.reshape(1, channels, 30, 30) + torch.rand(1, channels, 1, 1, generator=generator)


def mean_and_covariance(features):
    flat = features.double().flatten(2)[0].numpy()
    return flat.mean(1), np.cov(flat, bias=True)


def root(matrix):
    values, vectors = np.linalg.eig(matrix)
    return (vectors * np.sqrt(values.real.clip(0)) @ np.linalg.inv(vectors)).real


@pytest.mark.parametrize(("seed", "rank"), [(1, 5), (2, 5), (3, 2)])
def test_wasserstein_is_its_formula(seed, rank):
    a, b = gaussian(seed, rank=rank), gaussian(seed + 10)
    (m, c), (n, d) = mean_and_covariance(a), mean_and_covariance(b)
    distance = ((m - n) ** 2).sum() + np.trace(c + d - 2 * root(c @ d))  # tr (D^1/2 C D^1/2)^1/2 = tr (C D)^1/2
    found, target = moments(a).averaged(), moments(b).averaged()
    assert wasserstein_loss(found, target, "mean").item() == pytest.approx(distance / 5, rel=1e-3)
    expected = distance / ((n**2).sum() + np.trace(d))
    assert wasserstein_loss(found, target).item() == pytest.approx(expected, rel=1e-3)
    assert wasserstein_loss(found, target, root=covariance_root(target)) == wasserstein_loss(found, target)
    assert wasserstein_loss(found, found).item() == pytest.approx(0, abs=1e-4)  # roots of rounding errors


def test_mean_std_is_its_formula():
    a, b = gaussian(1), gaussian(2)
    (m, c), (n, d) = mean_and_covariance(a), mean_and_covariance(b)
    squares = ((m - n) ** 2).sum() + ((np.sqrt(np.diag(c)) - np.sqrt(np.diag(d))) ** 2).sum()
    found, target = moments(a).averaged(), moments(b).averaged()
    assert mean_std_loss(found, target, "mean").item() == pytest.approx(squares / 5, rel=1e-4)
    expected = squares / ((n**2).sum() + np.trace(d))
    assert mean_std_loss(found, target).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("loss", [wasserstein_loss, mean_std_loss])
def test_statistical_losses_have_the_gradient_of_their_values(loss):
    target = moments(gaussian(2)).averaged()
    features = gaussian(1).requires_grad_()
    loss(moments(features).averaged(), target).backward()
    direction = features.grad / features.grad.norm()
    with torch.no_grad():
        ahead, behind = (loss(moments(features + step * direction).averaged(), target) for step in (0.5, -0.5))
    assert (ahead - behind).item() == pytest.approx(features.grad.norm().item(), rel=0.02)


def test_moments_of_parts_add_up():
    features, weights = gaussian(1), torch.rand(1, 1, 30, 30)
    whole = moments(features, weights=weights).averaged()
    halves = [moments(features[..., rows, :], weights=weights[..., rows, :]) for rows in (slice(13), slice(13, None))]
    together = (halves[0] + halves[1]).averaged()
    torch.testing.assert_close(together.second, whole.second)
    torch.testing.assert_close(together.first, whole.first)
    flat, w = features[0].flatten(1).double(), weights.flatten().double() / weights.double().sum()
    torch.testing.assert_close(whole.second[0].double(), flat * w @ flat.T, rtol=1e-5, atol=1e-5)
