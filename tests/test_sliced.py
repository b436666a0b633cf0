"""The sliced Wasserstein distance against sorting in NumPy, and against values that are known."""

import numpy as np
import pytest
import torch

from nst_lightning.errors import UserError
from nst_lightning.losses import (
    ObjectiveOptions,
    PerceptualLoss,
    Quantiles,
    build_style_loss,
    draw_directions,
    project,
    sliced_loss,
)
from nst_lightning.optimization import PyramidOptions, optimize_picture, plan_levels
from nst_lightning.optimization.memory import bytes_of_statistics
from nst_lightning.optimization.objective import Objective
from nst_lightning.optimization.single_scale import Region
from nst_lightning.optimization.tiles import LEAST_TILE

CHANNELS = 6
FLOOR = 1e-4  # of relative distances, since quantile functions are kept at few probabilities
DIRECTIONS = draw_directions(CHANNELS, CHANNELS, np.random.default_rng(0))


def features(seed, height=20, width=25, *, count=1):
    """As many values near 0 and as few large ones as after a ReLU."""
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(CHANNELS, CHANNELS, generator=generator)
    noise = torch.randn(count, CHANNELS, height * width, generator=generator)
    return (mixed @ noise + 0.3).relu().reshape(count, CHANNELS, height, width)


def distance(found, target, weights=None):
    """Squared distance along each direction: every position against the target's quantile, in float64."""
    losses = []
    for direction in DIRECTIONS.double().numpy():
        x, y = (direction @ each.double().flatten(2)[0].numpy() for each in (found, target))
        w = np.ones(len(x)) if weights is None else weights.double().flatten().numpy()
        order, y = np.argsort(x), np.sort(y)
        shares = w[order] / w.sum()
        wanted = np.interp(np.cumsum(shares) - shares / 2, (np.arange(len(y)) + 0.5) / len(y), y)
        losses.append((shares * (x[order] - wanted) ** 2).sum())
    return np.array(losses)


def quantiles(target):
    return project(target, DIRECTIONS).averaged()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("size", [(20, 25), (31, 40), (9, 13)])
def test_the_distance_is_its_formula_for_paintings_of_any_size(size, weighted):
    found, target = features(1), features(2, *size)
    weights = torch.rand(1, 1, 20, 25) if weighted else None
    expected = distance(found, target, weights)
    projected = project(found, DIRECTIONS, weights)
    assert sliced_loss(projected, quantiles(target), "mean").item() == pytest.approx(expected.mean(), rel=3e-3)
    energy = target.double().square().sum(1).mean().item()
    relative = sliced_loss(projected, quantiles(target)).item()
    assert relative == pytest.approx(expected.sum() / energy, rel=3e-3)


def test_equal_distributions_have_no_distance_wherever_values_are():
    target = features(2, 40, 50)
    shuffled = target.flatten(2)[..., torch.randperm(2000)].reshape(target.shape)
    assert sliced_loss(project(target, DIRECTIONS), quantiles(target)).item() < FLOOR
    torch.testing.assert_close(quantiles(shuffled).values, quantiles(target).values)
    found = features(1, 40, 50)
    moved = found.flatten(2)[..., torch.randperm(2000)].reshape(found.shape)
    losses = [sliced_loss(project(each, DIRECTIONS), quantiles(target)) for each in (found, moved)]
    torch.testing.assert_close(*losses)
    assert losses[0].item() > 0.01


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_shifted_and_scaled_distributions_are_as_far_as_is_known(scale):
    """A shift by d is |d|^2 along all directions of a basis together; a scale s is (s - 1)^2 of the energy."""
    target, shift = features(2, 40, 50), torch.randn(1, CHANNELS, 1, 1)
    found = scale * target + shift
    expected = (found - target).square().sum(1).mean().item()  # positions keep their ranks if s > 0
    assert sliced_loss(project(found, DIRECTIONS), quantiles(target), "mean").item() == pytest.approx(
        expected / CHANNELS, rel=5e-3
    )
    relative = sliced_loss(project(scale * target, DIRECTIONS), quantiles(target)).item()
    assert relative == pytest.approx((scale - 1) ** 2, rel=5e-3, abs=FLOOR)


def test_directions_are_orthogonal_units_that_a_seed_decides():
    def draw(count, seed=0):
        return draw_directions(count, CHANNELS, np.random.default_rng(seed))

    torch.testing.assert_close(draw(4) @ draw(4).T, torch.eye(4))
    bases = draw(2 * CHANNELS + 3).split(CHANNELS)
    assert [len(basis) for basis in bases] == [CHANNELS, CHANNELS, 3]
    for basis in bases:
        torch.testing.assert_close(basis @ basis.T, torch.eye(len(basis)))
    assert torch.equal(draw(4), draw(4))
    assert not torch.equal(draw(4), draw(4, seed=1))


@pytest.mark.parametrize("weighted", [False, True])
def test_the_gradient_is_that_of_the_distance(weighted):
    found, target = features(1, 4, 5).double() + 1e-3 * torch.rand(1, CHANNELS, 4, 5).double(), features(2).double()
    weights = torch.rand(1, 1, 4, 5).double() if weighted else None

    def loss(x):
        return sliced_loss(project(x, DIRECTIONS, weights), quantiles(target))

    assert torch.autograd.gradcheck(loss, found.requires_grad_(), eps=1e-7)


def test_a_mask_selects_positions():
    found, target = features(1), quantiles(features(2))
    half = torch.zeros(1, 1, 20, 25)
    half[..., :10, :] = 1
    masked = sliced_loss(project(found, DIRECTIONS, half), target)
    torch.testing.assert_close(masked, sliced_loss(project(found[..., :10, :], DIRECTIONS), target))
    everywhere = sliced_loss(project(found, DIRECTIONS, torch.ones_like(half)), target)
    torch.testing.assert_close(everywhere, sliced_loss(project(found, DIRECTIONS), target))


def test_a_blend_is_the_barycenter():
    """That of a distribution and the same one, shifted, is shifted by the share."""
    one, shift = features(2, 40, 50), torch.randn(1, CHANNELS, 1, 1)
    blend = project(one, DIRECTIONS).averaged(0.25) + project(one + shift, DIRECTIONS).averaged(0.75)
    torch.testing.assert_close(blend.values, quantiles(one + 0.75 * shift).values)


@pytest.mark.parametrize("scale", [1e-5, 1.0, 1e7])
@pytest.mark.parametrize("weighted", [False, True])
def test_tiles_join_into_the_whole_and_each_has_its_gradient(weighted, scale):
    """To the rounding of half precision, in which tiles are kept; their values may be too large or small for it."""
    torch.manual_seed(0)
    found = scale * (features(1) + 0.1 * torch.rand(CHANNELS, 20, 25))  # equal values have no certain order
    target = quantiles(scale * features(2))
    weights = torch.rand(1, 1, 20, 25) if weighted else torch.ones(1, 1, 20, 25)
    whole = found.clone().requires_grad_()
    loss = sliced_loss(project(whole, DIRECTIONS, weights if weighted else None), target)
    (slope,) = torch.autograd.grad(loss, whole)

    tiles = []
    for rows in (slice(7), slice(7, 8), slice(8, None)):
        tile = found[..., rows, :].clone().requires_grad_()
        tiles.append((tile, project(tile, DIRECTIONS, weights[..., rows, :] if weighted else None)))
    with torch.no_grad():
        transport = (tiles[0][1] + tiles[1][1] + tiles[2][1]).transported(target)
    assert {ways.dtype for ways in transport.ways} == {torch.float16}
    transport.distances.requires_grad_()
    together = sliced_loss(transport, target)
    together.backward()
    torch.testing.assert_close(together, loss, rtol=1e-3, atol=0)
    slopes = [torch.autograd.grad(transport.toward(found, n), tile)[0] for n, (tile, found) in enumerate(tiles)]
    # neighbors in rank change places where rounding makes them equal, and with them their weights
    assert (torch.cat(slopes, 2) - slope).norm() < (1e-2 if weighted else 5e-3) * slope.norm()


def test_quantiles_of_tiles_are_those_of_the_whole():
    found = features(1, 40, 50)
    halves = [project(half, DIRECTIONS) for half in found.split(15, 2)]
    expected = quantiles(found).values
    joined = (halves[0] + halves[1] + halves[2]).averaged().values
    torch.testing.assert_close(joined, expected, rtol=1e-3, atol=1e-4 * expected.abs().max().item())


def test_the_energy_is_the_mean_square():
    uniform = project(torch.linspace(-1, 3, 10_000).reshape(1, 1, 100, 100), torch.ones(1, 1)).averaged()
    assert uniform.energy().item() == pytest.approx(7 / 3, rel=1e-3)  # (27 + 1) / 12
    assert isinstance(uniform[torch.tensor([0, 0])], Quantiles)
    assert uniform[torch.tensor([0, 0])].energy().shape == (2, 1)


@pytest.fixture
def scene(encoder):
    torch.manual_seed(0)
    photo, painting, picture = torch.rand(3, 1, 3, 48, 64)
    options = ObjectiveOptions(
        style_loss="sliced",
        style_layers={"relu1_1": 1, "relu3_1": 1},
        content_layers={"relu3_1": 1},
        style_scales={1: 1},
    )
    return encoder, photo, painting, picture, options


def test_a_draw_decides_the_directions(scene):
    encoder, photo, painting, picture, options = scene

    def loss(*draw):
        return Objective(encoder, photo, [Region([painting], [1.0])], options, draw=draw)(picture)[0]["style"]

    assert loss(0, 1) == loss(0, 1)
    assert len({loss(0, 1), loss(0, 2), loss(1, 1)}) == 3
    assert loss(0, 1) == pytest.approx(loss(0, 2), rel=0.3)


def test_a_picture_follows_from_the_seed(encoder, picture):
    def made(seed):
        options = {"pyramid": PyramidOptions(long_side=64, levels=2, iterations=3, seed=seed)}
        options["objective"] = ObjectiveOptions(style_loss="sliced")
        return optimize_picture(picture(80, 60), [picture(70, 90, 1)], encoder, **options).pixels

    assert (made(1) == made(1)).all()
    assert (made(1) != made(2)).any()


def test_training_alternates_between_draws_and_keeps_none_in_its_state(scene):
    encoder, photo, painting, picture, options = scene
    loss = PerceptualLoss(encoder, [painting], options)
    draws = loss.style.draws
    found = [loss(picture, photo, draw=draw)["style"].item() for draw in range(2 * draws)]
    assert found[:draws] == found[draws:]
    assert len(set(found)) == draws > 1
    assert not [name for name in loss.state_dict() if not name.startswith("encoder")]


def test_projections_of_all_tiles_take_memory(encoder):
    def needed(*, masks=0, painting_scale=1.0, **options):
        objective = ObjectiveOptions(**{"style_loss": "sliced"} | options)
        return bytes_of_statistics(encoder, objective, masks=masks, painting_scale=painting_scale)

    sliced = needed()
    assert 2 * 62 < sliced < 200  # 32 directions at each pixel, 64 at a quarter of them, ... in two bytes
    assert needed(masks=4) == needed(painting_scale=2) == 4 * sliced
    assert needed(style_scales={2: 1}) == sliced / 4
    assert needed(style_directions=64) > 1.6 * sliced
    assert needed(style_weight=0) == needed(style_loss="gram") == 0


def test_large_pictures_are_planned_in_tiles_or_refused(encoder, monkeypatch):
    """More memory is needed than with Gram matrices: that of the projections, and a little for each tile's own."""
    monkeypatch.setattr("nst_lightning.optimization.plan.used_memory", lambda device: 1e9)

    def plan(gigabytes, style_loss="sliced"):
        options = {"pyramid": PyramidOptions(long_side=4096), "objective": ObjectiveOptions(style_loss=style_loss)}
        return plan_levels((4000, 3000), encoder, **options, max_memory=gigabytes * 1e9)[-1]

    def least(style_loss):
        with pytest.raises(UserError, match=r"max_memory must be >= .* GB") as error:
            plan(1.0, style_loss)
        return float(str(error.value).split(" GB")[0].split()[-1])

    projections = bytes_of_statistics(encoder, ObjectiveOptions(style_loss="sliced")) * 4128 * 3104 / 1e9
    assert projections - 0.02 < least("sliced") - least("gram") < 1.2 * projections
    assert plan(1.02 * least("sliced")).tile >= LEAST_TILE


def test_a_chain_has_no_distribution():
    with pytest.raises(UserError, match="style_loss must be gram with correlation_chain, got 'sliced'"):
        ObjectiveOptions(style_loss="sliced", correlation_chain=True)


def test_layers_are_measured_by_name_and_deep_ones_along_more_directions():
    pairs = {("relu1_1", "relu1_1"): 1.0, ("relu3_1", "relu3_1"): 1.0}
    style = build_style_loss(pairs, ObjectiveOptions(style_loss="sliced", style_directions=3))
    one, two = (dict.fromkeys(style.layers, features(seed, count=2)) for seed in (1, 2))
    shapes = [found.values[0].shape for found in style.measure(one).values()]
    assert shapes == [(2, 3, 500), (2, 12, 500)]
    targets = {pair: found.averaged() for pair, found in style.measure(two, draw=(3,)).items()}
    losses = style.compare(style.measure(one, draw=(3,)), targets, style.roots(targets))
    same = style.compare(style.measure(two, draw=(3,)), targets, {})
    assert losses.shape == same.shape == (2,)
    assert (losses > 10 * same).all()
