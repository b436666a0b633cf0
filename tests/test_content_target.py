"""The style weight that `optimize` finds for a content target."""

import functools
import json

import numpy as np
import pytest
import torch
from PIL import Image

from nst_lightning.cli import main
from nst_lightning.encoders import CompactEncoder, image_to_tensor
from nst_lightning.errors import Notice, UserError
from nst_lightning.losses import ObjectiveOptions
from nst_lightning.optimization import (
    ColorOptions,
    Interrupted,
    Level,
    MinimizerOptions,
    PyramidOptions,
    optimize_picture,
)

BUNDLED = CompactEncoder()


def small(**changes):
    return PyramidOptions(**{"long_side": 96, "levels": 2, "iterations": 24, "margin": 0} | changes)


REFINED = small(long_side=344, iterations=12, refine_above=300, refine_iterations=7)


def measured(pixels, photo):
    """The content of a picture, computed with the encoder alone."""
    height, width = pixels.shape[1:]
    photo = image_to_tensor(photo.resize((width, height), Image.Resampling.LANCZOS))
    pictures = torch.from_numpy(pixels)[None]
    found, wanted = (BUNDLED(each, ["relu3_1", "relu4_1"]) for each in (pictures, photo))
    shares = [(found[layer] - wanted[layer]).square().sum() / wanted[layer].square().sum() for layer in found]
    return (0.2 * shares[0] + 0.8 * shares[1]).item()


def state_after(iterations, make, folder):
    """The state, from a file, of an optimization that Ctrl-C interrupts after some iterations."""
    left = iterations

    def interrupt(progress):
        nonlocal left
        left -= 1
        if left == 0:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as stopped:
        make(progress=interrupt)
    torch.save(stopped.value.result.state, folder / "state")
    return torch.load(folder / "state", weights_only=True)


@pytest.fixture
def made(picture):
    """Makes a picture of a drawn photo with a content target."""

    def make(target, *, encoder=BUNDLED, **options):
        options = {"pyramid": small(), **options}
        return optimize_picture(picture(120, 90), [picture(70, 90, 1)], encoder, content_target=target, **options)

    return make


@pytest.mark.parametrize(("target", "begin"), [(0.22, 12.0), (0.22, 100.0), (0.18, 12.0)])
def test_the_picture_has_the_content_that_was_asked_for(made, picture, target, begin):
    found = made(target, objective=ObjectiveOptions(style_weight=begin))
    assert found.content == pytest.approx(target, abs=0.05)
    assert found.content == pytest.approx(measured(found.pixels, picture(120, 90)), rel=1e-3)
    assert found.style_weight != begin


@pytest.mark.parametrize(
    ("target", "options"),
    [
        (0.18, {"pyramid": small(levels=1, iterations=30)}),
        (0.25, {"minimizer": MinimizerOptions(optimizer="adam", learning_rate=0.01)}),
        (
            0.3,
            {
                "minimizer": MinimizerOptions(optimizer="adam", learning_rate=0.02, average=0.8),
                "pyramid": small(iterations=32),
            },
        ),
        (0.14, {"color": ColorOptions("luminance")}),
        (0.2, {"color": ColorOptions("linear", recolor="after")}),
        (0.3, {"objective": ObjectiveOptions(style_loss="sliced")}),
        (0.4, {"objective": ObjectiveOptions(style_loss="wasserstein", style_layers={"relu1_1": 1.0, "relu2_1": 1.0})}),
        (0.35, {"objective": ObjectiveOptions(style_loss="mean_std"), "pyramid": small(iterations=32)}),
        (0.2, {"pyramid": REFINED, "objective": ObjectiveOptions(style_weight=60.0)}),
    ],
    ids=["one level", "adam", "average", "luminance", "linear", "sliced", "wasserstein", "mean_std", "refined"],
)
def test_it_has_so_in_any_way_of_painting(made, picture, target, options):
    found = made(target, **options)
    assert found.content == pytest.approx(target, abs=0.05)
    if "color" not in options and options.get("pyramid") != REFINED:  # with a gray photo, or at another size
        assert found.content == pytest.approx(measured(found.pixels, picture(120, 90)), rel=1e-3)


def test_a_blend_has_it_and_so_has_a_warm_start(picture):
    photo, paintings = picture(120, 90), [picture(70, 90, 1), picture(80, 80, 2)]
    blend = {"pyramid": small(), "content_target": 0.3, "blend_weights": [3, 1]}
    found = optimize_picture(photo, paintings, BUNDLED, **blend)
    assert found.content == pytest.approx(0.3, abs=0.05)
    assert measured(found.pixels, photo) == pytest.approx(found.content, rel=1e-3)
    start = {"pyramid": small(), "content_target": 0.2, "init": found.picture}
    warm = optimize_picture(photo, paintings[:1], BUNDLED, **start)
    assert warm.content == pytest.approx(0.2, abs=0.05)
    assert warm.style_weight < found.style_weight


def test_tiles_change_nothing(made):
    whole = made(0.25, pyramid=small(iterations=8))
    levels = [Level(68, 51, 8, 8, tile=64), Level(96, 72, 8, 8, tile=64)]
    found = made(0.25, pyramid=small(iterations=8), levels=levels)
    assert found.style_weight == pytest.approx(whole.style_weight, rel=0.02)


def test_with_a_mask_only_what_it_shows_counts(picture):
    photo, painting = picture(120, 90), picture(70, 90, 1)
    mask = Image.new("L", photo.size)
    mask.paste(255, (0, 0, 60, 90))
    found = optimize_picture(photo, [painting], BUNDLED, pyramid=small(), masks=[mask], content_target=0.25)
    assert found.content == pytest.approx(2 * measured(found.pixels, photo), rel=1e-3)
    assert found.content == pytest.approx(0.25, abs=0.05)


@pytest.mark.parametrize("optimizer", [{"optimizer": "lbfgs"}, {"optimizer": "adam", "average": 0.9}])
@pytest.mark.parametrize("after", [3, 5, 10, 12, 17])
def test_an_interrupted_search_goes_on_exactly(made, encoder, tmp_path, optimizer, after):
    small_steps = {"pyramid": small(long_side=64, iterations=10), "encoder": encoder}
    options = {"minimizer": MinimizerOptions(**optimizer), **small_steps}
    state = state_after(after, functools.partial(made, 0.3, **options), tmp_path)
    whole, rest = made(0.3, **options), made(0.3, **options, state=state)
    assert (rest.pixels == whole.pixels).all()
    assert (rest.style_weight, rest.content) == (whole.style_weight, whole.content)
    with pytest.raises(UserError, match="state: made with other options: content_target"):
        made(0.4, **options, state=state)


@pytest.mark.parametrize("after", [6, 7, 9])
def test_so_does_an_interrupted_refinement(made, encoder, tmp_path, after):
    pyramid = small(long_side=360, iterations=6, refine_above=300, refine_iterations=5)
    options = {"pyramid": pyramid, "encoder": encoder, "objective": ObjectiveOptions(style_weight=0.2)}
    state = state_after(after, functools.partial(made, 0.3, **options), tmp_path)
    whole, rest = made(0.3, **options), made(0.3, **options, state=state)
    assert (rest.pixels == whole.pixels).all()
    assert (rest.style_weight, rest.content) == (whole.style_weight, whole.content)


def test_a_target_out_of_reach_is_said(made):
    pyramid = small(levels=1, iterations=4)
    with pytest.warns(Notice, match=r"content_target 0.9 is out of reach: content is 0\.\d\d at a style weight of 10"):
        found = made(0.9, pyramid=pyramid, objective=ObjectiveOptions(style_weight=900.0))
    assert found.style_weight == 1000


def test_a_target_that_is_missed_is_said(made):
    missed = r"content_target 0.8 is missed, and more iterations may reach it: content is 0\.\d\d at a style weight of"
    with pytest.warns(Notice, match=missed):
        made(0.8, pyramid=small(iterations=1))


def test_without_a_target_the_weight_stays(encoder, picture):
    photos = picture(80, 60), [picture(70, 90, 1)], encoder
    found = optimize_picture(*photos, pyramid=small(iterations=2), objective=ObjectiveOptions(style_weight=7.0))
    assert (found.style_weight, found.content) == (7.0, None)


@pytest.mark.parametrize(
    ("target", "objective", "message"),
    [
        (0.05, {}, "content_target must be from 0.1 to 0.9, got 0.05"),
        (0.95, {}, "content_target must be from 0.1 to 0.9, got 0.95"),
        (float("nan"), {}, "content_target must be from 0.1 to 0.9, got nan"),
        (0.4, {"style_weight": 0.0}, "content_target: needs a style_weight > 0"),
        (0.4, {"content_weight": 0.0}, "content_target: needs a content_weight > 0"),
        (0.4, {"normalization": "gatys"}, "content_target: needs the relative normalization, got gatys"),
    ],
)
def test_bad_targets(made, target, objective, message):
    with pytest.raises(UserError, match=message):
        made(target, objective=ObjectiveOptions(**objective))


def test_the_command_says_what_it_found(tmp_path, picture, painting, compact_weights, capsys):
    picture(80, 60).save(tmp_path / "photo.png")
    request = ["optimize", str(tmp_path / "photo.png"), "--style", painting, "--output", str(tmp_path / "made.png")]
    request += ["--long-side", "64", "--levels", "1", "--iterations", "8", "--vgg19", "null"]
    assert main([*request, "--compact", compact_weights, "--content-target", "0.3"]) == 0
    record = json.loads((tmp_path / "made.png.json").read_text())
    line = f"s, style weight {record['style_weight']:.4g}, content {record['content']:.2f})"
    assert capsys.readouterr().out.strip().endswith(line)
    assert record["style_weight"] != record["options"]["objective"]["style_weight"]
    assert np.isclose(record["arguments"]["content_target"], 0.3)
    assert "--content-target 0.3" in record["command"]
    assert main([*request, "--content-target", "1"]) == 2
    assert "content_target must be from 0.1 to 0.9, got 1.0" in capsys.readouterr().err.replace("-", "_")


def test_each_photo_of_a_folder_has_a_weight_of_its_own(tmp_path, picture, painting):
    (tmp_path / "photos").mkdir()
    for seed in (0, 5):
        picture(80, 60, seed=seed).save(tmp_path / f"photos/{seed}.png")
    request = ["optimize", str(tmp_path / "photos"), "--style", painting, "--output", str(tmp_path / "made"), "--fast"]
    request += ["--long-side", "64", "--levels", "1", "--iterations", "30", "--content-target", "0.2"]
    assert main(request) == 0
    weights = {12.0}
    for seed in (0, 5):
        record = json.loads((tmp_path / f"made/{seed}.png.json").read_text())
        assert record["content"] == pytest.approx(0.2, abs=0.05)
        weights.add(record["style_weight"])
    assert len(weights) == 3
