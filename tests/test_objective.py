"""The objective against float64 formulas written out in NumPy, and in tiles against the whole."""

import re
from itertools import pairwise

import numpy as np
import pytest
import torch

from nst_lightning.encoders import CompactEncoder, CompressedVGG, Encoder
from nst_lightning.encoders.base import ALL_LAYERS, reach_of, run_convolutions, stride_of
from nst_lightning.errors import UserError
from nst_lightning.losses import ObjectiveOptions, PerceptualLoss, total_variation_loss
from nst_lightning.optimization.memory import bytes_of_copies, bytes_of_loss, tile_side
from nst_lightning.optimization.objective import Objective
from nst_lightning.optimization.single_scale import Region
from nst_lightning.optimization.tiles import LEAST_TILE, tiles_of

LAYERS = ("relu1_1", "relu2_1", "relu3_1")


def pictures(count, height=45, width=53):
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, height // 4, width // 4, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic").clamp(0, 1)
    return [0.8 * picture[None] + 0.2 * torch.rand(1, 3, height, width, generator=generator) for picture in smooth]


def features_of(encoder, picture, layer, *, shift=0.0, blur=False):
    features = encoder(picture, [layer])[layer][0].double().numpy() + shift
    if blur:
        rows, columns = features.shape[1:]
        padded = np.pad(features, ((0, 0), (1, 1), (1, 1)), mode="edge")
        kernel = np.outer([1, 2, 1], [1, 2, 1]) / 16
        shifted = (kernel[i, j] * padded[:, i : i + rows, j : j + columns] for i in range(3) for j in range(3))
        features = sum(shifted)
    return features


def enlarged(features, shape):
    """Twice the size, bilinear, and the last row and column once more where the shape is odd."""
    for axis in (1, 2):
        length = features.shape[axis]
        positions = (np.arange(2 * length) + 0.5) / 2 - 0.5
        low = np.clip(np.floor(positions), 0, length - 1).astype(int)
        high = np.clip(np.floor(positions) + 1, 0, length - 1).astype(int)
        share = (positions - np.floor(positions)).reshape([-1 if i == axis else 1 for i in range(3)])
        features = np.take(features, low, axis) * (1 - share) + np.take(features, high, axis) * share
        missing = shape[axis] - features.shape[axis]
        features = np.pad(features, [(0, missing if i == axis else 0) for i in range(3)], mode="edge")
    return features


def gram(features, others, weights=None):
    weights = np.ones(features.shape[1:]) if weights is None else weights
    return np.einsum("chw,dhw,hw->cd", features, others, weights) / weights.sum()


def relative(a, b):
    return ((a - b) ** 2).sum() / (b**2).sum()


def options_of(**options):
    defaults = {"style_layers": dict.fromkeys(LAYERS, 1.0), "content_layers": {"relu3_1": 1}, "style_scales": {1: 1}}
    return ObjectiveOptions(**{**defaults, **options})


def style_of(encoder, options, picture, paintings, shares, pairs, mask=None):
    """The style loss by its definition, in float64."""
    kwargs = {"shift": options.activation_shift, "blur": options.blur}

    def matrix(x, shallow, deep, mask=None):
        features, others = (features_of(encoder, x, layer, **kwargs) for layer in (shallow, deep))
        if stride_of(shallow) != stride_of(deep):
            others = enlarged(others, features.shape)
        weights = None
        if mask is not None:
            weights = torch.nn.functional.avg_pool2d(mask, stride_of(shallow))[0, 0].double().numpy() ** 2
        return gram(features, others, weights)

    loss = 0
    for (shallow, deep), weight in pairs.items():
        target = sum(share * matrix(painting, shallow, deep) for painting, share in zip(paintings, shares))
        loss += weight * relative(matrix(picture, shallow, deep, mask), target)
    return loss / sum(pairs.values())


WITHIN = {(layer, layer): 1 for layer in LAYERS}
CHAIN = {("relu1_1", "relu2_1"): 1, ("relu2_1", "relu3_1"): 1}
VARIANTS = {
    "plain": ({}, WITHIN),
    "geometric weights": ({"geometric_weights": True}, dict(zip(WITHIN, (4, 2, 1)))),
    "activation shift": ({"activation_shift": -1.0}, WITHIN),
    "chain": ({"correlation_chain": True}, CHAIN),
    "blurred chain": ({"correlation_chain": True, "blur": True}, CHAIN),
    "all": (
        {"geometric_weights": True, "activation_shift": -1.0, "correlation_chain": True},
        dict(zip(CHAIN, (2, 1))),
    ),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_style_is_its_formula(encoder, variant):
    changed, pairs = VARIANTS[variant]
    options = options_of(**changed)
    photo, one, two, picture = pictures(4)
    losses, _ = Objective(encoder, photo, [Region([one, two], [0.25, 0.75])], options)(picture)
    assert losses["style"] == pytest.approx(
        style_of(encoder, options, picture, [one, two], [0.25, 0.75], pairs), rel=1e-4
    )


class EveryLayer(Encoder):
    """All convolutions from conv1_1 to conv5_1, as VGG-19 has them."""

    def __init__(self, weights):
        network = CompactEncoder(weights).network
        convolutions = {name: module for name, module in network.items() if name.startswith("conv")}
        super().__init__(["relu" + name[4:] for name in convolutions], "every layer", reflects=True)
        self.convolutions = torch.nn.ModuleDict(convolutions)

    def forward(self, pictures, layers):
        return run_convolutions(self.convolutions, pictures, layers, "max")


@pytest.mark.parametrize("geometric", [False, True])
def test_all_layers_are_all_there_are(compact_weights, geometric):
    """Novak & Nikulin 2016, 3.2 and 3.1: every convolution, style by 2^(D-d), content by 2^d."""
    encoder = EveryLayer(compact_weights)
    assert len(encoder.layers) == 13
    options = ObjectiveOptions(
        style_layers="all", content_layers="all", geometric_weights=geometric, style_scales={1: 1}
    )
    photo, painting, picture = pictures(3)
    losses, _ = Objective(encoder, photo, [Region([painting], [1.0])], options)(picture)
    style = {(layer, layer): 2.0 ** (13 - d) if geometric else 1 for d, layer in enumerate(encoder.layers, 1)}
    content = {layer: 2.0**d if geometric else 1 for d, layer in enumerate(encoder.layers, 1)}
    expected = sum(
        weight * relative(features_of(encoder, picture, layer), features_of(encoder, photo, layer))
        for layer, weight in content.items()
    ) / sum(content.values())
    assert losses["style"] == pytest.approx(style_of(encoder, options, picture, [painting], [1.0], style), rel=1e-4)
    assert losses["content"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("geometric", [False, True])
def test_a_chain_of_all_layers_is_its_formula(compact_weights, geometric):
    """Most neighbors have features of the same size, some of half of it."""
    encoder, depth = EveryLayer(compact_weights), 13
    options = ObjectiveOptions(
        style_layers="all",
        correlation_chain=True,
        geometric_weights=geometric,
        content_layers={"relu4_1": 1},
        style_scales={1: 1},
    )
    photo, painting, picture = pictures(3)
    losses, _ = Objective(encoder, photo, [Region([painting], [1.0])], options)(picture)
    chain = pairwise(encoder.layers)
    pairs = {pair: 2.0 ** (depth - d) if geometric else 1 for d, pair in enumerate(chain, 2)}  # by the deeper one
    assert losses["style"] == pytest.approx(style_of(encoder, options, picture, [painting], [1.0], pairs), rel=1e-4)


@pytest.mark.parametrize("geometric", [False, True])
def test_content_and_the_sum_are_their_formulas(encoder, geometric):
    layers = {"relu3_1": 1.0, "relu2_1": 3.0}  # in no order
    options = options_of(content_layers=layers, geometric_weights=geometric, style_weight=7, tv_weight=3)
    photo, painting, picture = pictures(3)
    losses, _ = Objective(encoder, photo, [Region([painting], [1.0])], options)(picture)
    weights = {"relu2_1": 2, "relu3_1": 4} if geometric else layers
    content = sum(
        weight * relative(features_of(encoder, picture, layer), features_of(encoder, photo, layer))
        for layer, weight in weights.items()
    ) / sum(weights.values())
    variation = total_variation_loss(picture.double(), color=10).item()
    assert losses["content"] == pytest.approx(content, rel=1e-4)
    assert losses["variation"] == pytest.approx(variation, rel=1e-4)
    assert losses["loss"] == pytest.approx(content + 7 * losses["style"] + 3 * variation, rel=1e-4)


def halved(picture):
    """Each pixel of four by four, weighted 1 3 3 1, reflected at the borders."""
    x = np.pad(picture[0].double().numpy(), ((0, 0), (1, 1), (1, 1)), mode="reflect")
    for axis in (1, 2):
        count = (x.shape[axis] - 2) // 2
        parts = [np.take(x, range(first, first + 2 * count, 2), axis) for first in range(4)]
        x = (parts[0] + 3 * parts[1] + 3 * parts[2] + parts[3]) / 8
    return torch.from_numpy(x).float()[None]


def test_style_at_several_scales_is_its_formula(encoder):
    options = options_of(style_scales={1: 3.0, 2: 1.0, 4: 1.0})
    photo, painting, picture = pictures(3, 44, 31)
    losses, _ = Objective(encoder, photo, [Region([painting], [1.0])], options)(picture)
    halves = [halved(x) for x in (picture, painting)]
    at_one, at_half = (style_of(encoder, options, x, [y], [1.0], WITHIN) for x, y in ((picture, painting), halves))
    assert losses["style"] == pytest.approx(
        0.75 * at_one + 0.25 * at_half, rel=1e-4
    )  # a quarter is too small for relu3_1


def test_the_papers_own_normalization(encoder):
    """Gatys et al. 2015: L_content = 1/2 sum (F-P)^2, E_l = 1/(4 N^2 M^2) sum (G-A)^2."""
    layer = "relu2_1"
    options = ObjectiveOptions(
        content_layers={layer: 1}, style_layers={layer: 1}, style_scales={1: 1}, normalization="gatys"
    )
    photo, painting, picture = pictures(3)
    losses, _ = Objective(encoder, photo, [Region([painting], [1.0])], options)(picture)
    f, p, s = (features_of(encoder, x, layer).reshape(-1, 22 * 26) for x in (picture, photo, painting))
    channels, positions = f.shape
    assert losses["content"] == pytest.approx(0.5 * ((f - p) ** 2).sum(), rel=1e-4)
    expected = ((f @ f.T - s @ s.T) ** 2).sum() / (4 * channels**2 * positions**2)
    assert losses["style"] == pytest.approx(expected, rel=1e-4)


def masks(height=45, width=53):
    ramp = torch.linspace(0, 1, width).expand(1, 1, height, width)
    return [ramp, (1 - 2 * ramp).clamp(0, 1)]


def test_masked_style_is_its_formula(encoder):
    options = options_of()
    photo, one, two, pixels = pictures(4)
    of_one, of_two = masks()
    regions = [Region([one], [1.0], of_one), Region([two], [1.0], of_two)]
    losses, gradient = Objective(encoder, photo, regions, options)(pixels)
    union = (of_one + of_two).clamp(0, 1)
    picture = photo + union * (pixels - photo)
    expected = sum(
        float(mask.square().mean()) * style_of(encoder, options, picture, [painting], [1.0], WITHIN, mask)
        for painting, mask in ((one, of_one), (two, of_two))
    )
    assert losses["style"] == pytest.approx(expected, rel=1e-4)
    assert (gradient[union.expand_as(gradient) == 0] == 0).all()


STYLE_LOSSES = {**{name: changed for name, (changed, _) in VARIANTS.items()}}
STYLE_LOSSES["scales"] = {"style_scales": {1: 2.0, 2: 1.0, 3: 1.0}}
STYLE_LOSSES |= {name: {"style_loss": name} for name in ("wasserstein", "mean_std", "sliced")}
STYLE_LOSSES["content at half size"] = {"content_scale": 2, "grid_weight": 0.5}


@pytest.mark.parametrize("normalization", ["relative", "gatys", "mean"])
@pytest.mark.parametrize("variant", STYLE_LOSSES)
def test_training_and_optimization_have_the_same_objective(encoder, variant, normalization):
    """A batch of one: all losses, their sum, and its gradient."""
    options = options_of(**{"style_scales": {1: 2.0, 3: 1.0}, "normalization": normalization} | STYLE_LOSSES[variant])
    photo, painting, picture = pictures(3)
    found, gradient = Objective(encoder, photo, [Region([painting], [1.0])], options)(picture)
    picture.requires_grad_()
    losses = PerceptualLoss(encoder, [painting], options)(picture, photo)
    for name, value in found.items():
        assert value == pytest.approx(losses[name].item(), rel=1e-5), name
    (expected,) = torch.autograd.grad(losses["loss"], picture)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item())


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("variant", STYLE_LOSSES)
def test_tiles_agree_with_the_whole(encoder, variant, masked):
    options = options_of(**STYLE_LOSSES[variant])
    photo, one, two, picture = pictures(4, 141, 118)
    of_one, of_two = masks(141, 118) if masked else (None, None)
    regions = [Region([one], [1.0], of_one), *([Region([two], [1.0], of_two)] if masked else [])]
    whole, in_tiles = (Objective(encoder, photo, regions, options, tile=tile) for tile in (None, 32))
    assert len(in_tiles.scale_losses[1].tiles) == 5 * 4
    losses, gradient = whole(picture)
    of_tiles, gradient_of_tiles = in_tiles(picture)
    assert of_tiles == pytest.approx(losses, rel=1e-3 if "style_loss" in STYLE_LOSSES[variant] else 1e-4)
    if options.style_loss == "sliced":  # in half precision, whose rounding makes values equal, in any order
        assert (gradient_of_tiles - gradient).norm() < 2e-3 * gradient.norm()
    else:
        torch.testing.assert_close(gradient_of_tiles, gradient, rtol=1e-3, atol=1e-3 * gradient.abs().max().item())


def test_tiles_agree_with_the_whole_at_the_deepest_layers(compressed_weights):
    """They are wide enough for VGG-19, and so for the fewer convolutions of VGG-16."""
    encoder, (photo, painting, picture) = CompressedVGG(compressed_weights), pictures(3, 210, 150)
    options = options_of(style_layers={"relu1_1": 1, "relu5_1": 1}, content_layers={"relu4_1": 1})
    whole, in_tiles = (
        Objective(encoder, photo, [Region([painting], [1.0])], options, tile=tile) for tile in (None, 64)
    )
    assert len(in_tiles.scale_losses[1].tiles) == 4 * 3
    (losses, gradient), (of_tiles, gradient_of_tiles) = whole(picture), in_tiles(picture)
    assert of_tiles == pytest.approx(losses, rel=1e-4)
    torch.testing.assert_close(gradient_of_tiles, gradient, rtol=1e-3, atol=1e-3 * gradient.abs().max().item())


@pytest.mark.parametrize(
    "variant", ["plain", "all", "scales", "wasserstein", "mean_std", "sliced", "content at half size"]
)
def test_the_gradient_is_that_of_the_loss(encoder, variant):
    photo, painting, picture = pictures(3)
    objective = Objective(encoder, photo, [Region([painting], [1.0])], options_of(**STYLE_LOSSES[variant]))
    _, gradient = objective(picture)
    direction = 0.02 * gradient / gradient.norm()
    ahead, behind = (objective(picture + sign * direction)[0]["loss"] for sign in (1, -1))
    assert (ahead - behind) / 0.04 == pytest.approx(gradient.norm().item(), rel=0.05)


@pytest.mark.parametrize("layer", ["relu1_1", "relu1_2", "relu2_1", "relu3_4", "relu4_1", "relu5_4"])
def test_reach_is_how_far_a_position_sees(layer):
    """All weights positive: what changes at a position is all it can see."""
    convolutions = {}
    for name in (name[4:] for name in ALL_LAYERS if name.startswith("conv")):
        convolutions["conv" + name] = torch.nn.Conv2d(1, 1, 3, padding=1, bias=False)
        torch.nn.init.constant_(convolutions["conv" + name].weight, 1 / 9)
    stride, reach = stride_of(layer), reach_of(layer)
    side = 2 * (reach // stride + 2) * stride
    picture = torch.rand(1, 1, side, side, requires_grad=True)
    middle = side // stride // 2
    run_convolutions(convolutions, picture, [layer], "average")[layer][0, 0, middle, middle].backward()
    seen = picture.grad[0, 0].sum(0).nonzero().flatten()
    first, last = middle * stride, middle * stride + stride - 1
    assert max(first - seen.min().item(), seen.max().item() - last) <= reach
    assert max(first - seen.min().item(), seen.max().item() - last) > reach - 2 * stride


@pytest.mark.parametrize("size", [(64, 64), (100, 37), (129, 16), (33, 80)])
@pytest.mark.parametrize("side", [None, 16, 40])
def test_cores_fill_the_picture_once(size, side):
    height, width = size
    filled = torch.zeros(height, width)
    for tile in tiles_of(height, width, ["relu3_1"], side=side):
        filled[tile.core] += 1
        assert all(seen.start <= core.start < core.stop <= seen.stop for seen, core in zip(tile.seen, tile.core))
    assert (filled == 1).all()


def test_memory_decides_about_tiles():
    size, copies, margin = (2048, 2048), bytes_of_copies("lbfgs", 20), 16

    def side(limit, size=size):
        return tile_side(size, copies=copies, loss=100, border=448, margin=margin, used=1e9, limit=1e9 + limit)

    vectors = 2048**2 * copies
    assert side(vectors + 101 * 2048**2) is None
    assert LEAST_TILE <= side(vectors + 50 * 2048**2) < 2048
    message = (
        r"max_memory must be >= \d\.\d+ GB for a picture of 2048x2048, margins included, got \d\.\d+ GB; "
        r"a long_side of \d+ or less would fit"
    )
    with pytest.raises(UserError, match=message) as error:
        side(0.5 * vectors)
    fits = _named(error)[1] + 2 * margin
    assert side(0.5 * vectors, (fits, fits)) >= LEAST_TILE


@pytest.mark.parametrize(("loss", "limit"), [(8000, 3e9), (3000, 1.5e9), (3000, 3e9), (200, 3e9)])
def test_what_a_refusal_names_is_enough(loss, limit):
    """Whole or in tiles: small pictures with deep layers may fit whole where not even one tile does."""
    size, margin = (4128, 2764), 16

    def side(size, limit):
        copies = bytes_of_copies("lbfgs", 2)
        return tile_side(size, copies=copies, loss=loss, border=448, margin=margin, used=1e9, limit=limit)

    with pytest.raises(UserError, match="a long_side of") as error:
        side(size, limit)
    needed, fits = _named(error)
    scale = (fits + 2 * margin) / size[0]
    side((round(scale * size[0]), round(scale * size[1])), limit)
    with pytest.raises(UserError, match="a long_side of"):
        side((round(1.05 * scale * size[0]), round(1.05 * scale * size[1])), limit)
    side(size, 1.01e9 * needed)
    with pytest.raises(UserError, match="a long_side of"):
        side(size, 0.98e9 * needed)


def _named(error):
    """GB and long side that a refusal names."""
    gigabytes, fits = re.search(r">= (\S+) GB .* long_side of (\d+)", str(error.value)).groups()
    return float(gigabytes), int(fits)


@pytest.mark.parametrize("masks", [0, 2])
@pytest.mark.parametrize("variant", ["plain", "all"])
def test_memory_per_pixel_counts_all_that_is_kept(encoder, variant, masks):
    """Against the features alone, which are kept at the very least."""
    options = options_of(**STYLE_LOSSES[variant])
    features = encoder(torch.rand(1, 3, 64, 64), LAYERS)
    least = 4 * sum(x.numel() for x in features.values()) / 64**2
    found = bytes_of_loss(encoder, options, masks=masks)
    assert found > 2 * least
    assert found > bytes_of_loss(encoder, options_of()) or (variant, masks) == ("plain", 0)
