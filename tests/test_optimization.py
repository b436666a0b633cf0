from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from nst_lightning.images import image_to_array
from nst_lightning.optimization import Interrupted, OptimizationError, OptimizeOptions, optimize_picture
from nst_lightning.optimization.minimize import State
from nst_lightning.optimization.plan import plan
from nst_lightning.optimization.scene import Scene

SMALL = {"size": 64, "levels": 2, "iterations": 6, "margin": 4}


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
@pytest.mark.parametrize("start", ["content", "noise", "style"])
def test_each_level_lowers_its_loss(encoder, picture, optimizer, start):
    options = OptimizeOptions(**{**SMALL, "iterations": 15}, optimizer=optimizer, start=start)
    seen = []
    found = optimize_picture(picture(80, 60), [picture(70, 90, 1)], encoder, options=options, progress=seen.append)
    assert found.picture.size == (64, 48)
    for level in (1, 2):
        losses = [entry["loss"] for entry in found.history if entry["level"] == level]
        assert min(losses) < 0.9 * losses[0]
    assert [progress.level for progress in seen] == [entry["level"] for entry in found.history]
    assert seen[-1].share == pytest.approx(1)
    assert seen[-1].draw().size == (64, 48)
    assert all(a.share <= b.share for a, b in pairwise(seen))


@pytest.mark.parametrize("start", ["noise", "style"])
def test_the_same_seed_gives_the_same_picture(encoder, picture, start):
    def made(seed):
        options = OptimizeOptions(**SMALL, start=start, seed=seed)
        return np.asarray(optimize_picture(picture(80, 60), [picture(70, 90, 1)], encoder, options=options).picture)

    assert (made(0) == made(0)).all()
    assert (made(0) != made(1)).any()


def test_without_style_the_photo_comes_back_from_noise(encoder, picture):
    photo = picture(64, 64)
    layers = {"relu1_1": 1.0}
    options = OptimizeOptions(
        size=64, levels=1, iterations=60, start="noise", style_weight=0, tv_weight=0, content_layers=layers
    )
    found = optimize_picture(photo, [picture(64, 64, 1)], encoder, options=options)
    losses = [entry["content"] for entry in found.history]
    assert min(losses) < 0.02 * losses[0]


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("size", -1, "0 or more"),
        ("style_weight", -1, "0 or more"),
        ("tv_weight", float("nan"), "0 or more"),
        ("style_weight", float("inf"), "0 or more"),
        ("iterations", 0, "1 or more"),
        ("levels", 0, "1 or more"),
        ("factor", 1, "more than 1"),
        ("style_scale", 0, "more than 0"),
        ("average", 1, "0 or more and less than 1"),
    ],
)
def test_bad_options(option, value, allowed):
    with pytest.raises(ValueError, match=f"{option}: {value} is not allowed; it must be {allowed}"):
        OptimizeOptions(**{option: value})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"style_weight": 0, "content_weight": 0}, "one of the two"),
        ({"scales": {2: 1.0}}, "scales must be .*, got {2: 1.0}"),
        ({"scales": {1: 1.0, 2: 0.0}}, "scales must be .*, got .*"),
        ({"start": "photo"}, "start must be one of content, noise, style, got photo"),
        ({"style_loss": "mean_std", "correlation_chain": True}, "mean_std is not allowed with correlation_chain"),
    ],
)
def test_options_that_exclude_each_other(options, message):
    with pytest.raises(ValueError, match=message):
        OptimizeOptions(**options)


@pytest.mark.parametrize("optimizer", [{"optimizer": "lbfgs"}, {"optimizer": "adam", "average": 0.9}])
@pytest.mark.parametrize("after", [4, 13, 25, 26, 36])
def test_an_interrupted_run_goes_on_exactly(encoder, picture, tmp_path, optimizer, after):
    options = OptimizeOptions(**{**SMALL, "iterations": 25}, **optimizer)
    pictures = picture(80, 60), [picture(70, 90, 1)], encoder

    def interrupt(progress):
        nonlocal after
        after -= 1
        if after == 0:
            raise KeyboardInterrupt

    whole = optimize_picture(*pictures, options=options)
    with pytest.raises(Interrupted) as stopped:
        optimize_picture(*pictures, options=options, progress=interrupt)
    part = stopped.value.result
    torch.save(part.state, tmp_path / "state")
    state = torch.load(tmp_path / "state", weights_only=True)
    rest = optimize_picture(*pictures, options=options, state=state)
    assert part.picture.size in ((45, 34), (64, 48))
    assert (np.asarray(rest.picture) == np.asarray(whole.picture)).all()
    assert [entry["loss"] for entry in rest.history] == [entry["loss"] for entry in whole.history]
    with pytest.raises(ValueError, match="other options: style_weight"):
        optimize_picture(*pictures, options=OptimizeOptions(**SMALL, style_weight=3), state=state)


def test_a_level_goes_on_where_the_smaller_one_was(picture):
    """Margins are equally wide at every level: what is between them must not shift."""
    photo, options = picture(640, 480), OptimizeOptions(margin=16)
    pixels = image_to_array(photo)
    small, large = (Scene(pixels, [photo], size, options).shown(*size) for size in ((90, 68), (128, 96)))
    memory = {"exp_avg": small.clone(), "exp_avg_sq": small.square(), "step": torch.tensor(7.0)}
    state = State(small, memory=memory).next_level(96 + 32, 128 + 32, 16)
    assert (state.pixels - large).abs().mean() < 0.03
    assert (state.memory["exp_avg"] - large).abs().mean() < 0.03
    assert state.memory["exp_avg_sq"].shape == large.shape
    assert state.memory["exp_avg_sq"].min() >= 0
    assert state.memory["step"] == 7


def test_adam_averages_its_iterates(encoder, picture):
    photo, styles = picture(80, 60), [picture(70, 90, 1)]

    def made(average, iterations=20):
        options = OptimizeOptions(**{**SMALL, "iterations": iterations}, optimizer="adam", average=average)
        return np.asarray(optimize_picture(photo, styles, encoder, options=options).picture, dtype=float)

    assert 0 < np.abs(made(0) - made(0.8)).mean() < np.abs(made(0, 1) - made(0.8)).mean()


def test_the_average_of_iterates_is_not_drawn_to_the_first_ones(encoder, picture):
    photo, styles = picture(80, 60), [picture(70, 90, 1)]

    def made(iterations, average):
        options = OptimizeOptions(**{**SMALL, "iterations": iterations, "levels": 1}, optimizer="adam", average=average)
        return optimize_picture(photo, styles, encoder, options=options).pixels

    iterates = [made(n, 0.0) for n in (1, 2, 3, 4)]
    weights = 0.9 ** np.arange(4)[::-1]
    expected = sum(weight * iterate for weight, iterate in zip(weights / weights.sum(), iterates))
    np.testing.assert_allclose(made(4, 0.9), expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(32, 24), (256, 192)])
def test_black_keeps_the_photo_also_where_masks_are_resized(encoder, picture, shape):
    photo, mask = picture(64, 48), Image.new("L", shape)
    mask.paste(255, (0, 0, shape[0] // 2, shape[1]))
    found = optimize_picture(photo, [picture(70, 90, 1)], encoder, options=OptimizeOptions(**SMALL), masks=[mask])
    changed = (np.asarray(found.picture) != np.asarray(photo)).any(axis=2)
    assert changed[:, :28].mean() > 0.5
    assert not changed[:, 33:].any()  # half a pixel of a mask that is enlarged twice


@pytest.mark.parametrize("masked", [False, True])
def test_the_photo_stays_where_no_style_goes(encoder, picture, masked):
    photo, styles = picture(64, 48), [picture(70, 90, 1), picture(60, 60, 2)]
    left, right = Image.new("L", (64, 48)), Image.new("L", (64, 48))
    left.paste(255, (0, 0, 24, 48))
    right.paste(255, (40, 0, 64, 48))
    masks = [left, right] if masked else None
    found = optimize_picture(photo, styles, encoder, options=OptimizeOptions(**SMALL), masks=masks)
    changed = (np.asarray(found.picture) != np.asarray(photo)).any(axis=2)
    assert changed[:, :20].mean() > 0.5
    assert changed[:, 44:].mean() > 0.5
    assert changed[:, 26:38].any() != masked


@pytest.mark.parametrize("recolor", ["before", "after"])
@pytest.mark.parametrize("color", ["luminance", "histogram"])
def test_colors_are_preserved(encoder, picture, color, recolor):
    photo = Image.blend(picture(64, 48), Image.new("RGB", (64, 48), (250, 120, 40)), 0.5)
    style = Image.blend(picture(70, 90, 1), Image.new("RGB", (70, 90), (40, 120, 250)), 0.5)
    settings = {**SMALL, "start": "style", "content_weight": 0.05}
    options = OptimizeOptions(**settings, color=color, recolor=recolor)

    def distance(options):
        found = optimize_picture(photo, [style], encoder, options=options).picture
        return np.abs(np.asarray(found, dtype=float).mean((0, 1)) - np.asarray(photo, dtype=float).mean((0, 1))).max()

    assert distance(options) < 0.3 * distance(OptimizeOptions(**settings))
    gray = Image.new("RGB", (64, 48), (90, 90, 90))
    found = np.asarray(optimize_picture(gray, [style], encoder, options=options).picture, dtype=float)
    assert np.abs(found.max(axis=2) - found.min(axis=2)).mean() < (2 if color == "luminance" else 30)


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ([(64, 48, 255)], "1 given for 2 styles"),
        (
            [(64, 48, 255), (64, 60, 255)],
            "number 2 is 64x60, the photo 64x48; their aspect ratios must agree within 2%",
        ),
        ([(64, 48, 0), (64, 48, 255)], "number 1 is all black"),
    ],
)
def test_bad_masks(encoder, picture, masks, message):
    images = [Image.new("L", (width, height), value) for width, height, value in masks]
    styles = [picture(70, 90, 1), picture(60, 60, 2)]
    with pytest.raises(ValueError, match=message):
        optimize_picture(picture(64, 48), styles, encoder, options=OptimizeOptions(**SMALL), masks=images)


def test_a_start_from_a_picture_of_another_shape_is_refused(encoder, picture):
    arguments = picture(64, 48), [picture(60, 60, 2)], encoder
    with pytest.raises(ValueError, match="init: the picture is 64x50, the photo 64x48; their aspect ratios must agree"):
        optimize_picture(*arguments, options=OptimizeOptions(**SMALL), init=picture(64, 50))


def test_no_memory_costs_no_picture(encoder, picture):
    def fail(progress):
        if progress.level == 2:
            raise torch.OutOfMemoryError("no memory left")

    pictures = picture(80, 60), [picture(70, 90, 1)], encoder
    with pytest.raises(OptimizationError, match="no memory left") as stopped:
        optimize_picture(*pictures, options=OptimizeOptions(**SMALL), progress=fail)
    rest = optimize_picture(*pictures, options=OptimizeOptions(**SMALL), state=stopped.value.result.state)
    whole = optimize_picture(*pictures, options=OptimizeOptions(**SMALL))
    assert (rest.pixels == whole.pixels).all()
    again = optimize_picture(*pictures, options=OptimizeOptions(**SMALL), state=whole.state)
    assert (again.pixels == whole.pixels).all()


def test_a_state_knows_what_it_is_of(encoder, picture):
    photo, options = picture(80, 60), OptimizeOptions(**SMALL)
    state = optimize_picture(photo, [picture(70, 90, 1)], encoder, options=options).state
    with pytest.raises(ValueError, match="state: made of other pictures or with another encoder"):
        optimize_picture(photo, [picture(70, 90, 2)], encoder, options=options, state=state)
    del state["minimization"]
    with pytest.raises(ValueError, match=r"state: made by another version, or damaged \('minimization'\)"):
        optimize_picture(photo, [picture(70, 90, 1)], encoder, options=options, state=state)


def test_pictures_of_any_mode(encoder, picture):
    options = OptimizeOptions(**{**SMALL, "levels": 1})
    gray, clear = picture(80, 60).convert("L"), picture(70, 90, 1).convert("RGBA")
    found = optimize_picture(gray, [clear], encoder, options=options, init=gray.convert("P"))
    assert found.pixels.shape == (3, 48, 64)
    with pytest.raises(ValueError, match=r"an array of shape \(60, 80, 3\) is not allowed; it must be \(3, H, W\)"):
        optimize_picture(np.zeros((60, 80, 3), dtype=np.float32), [clear], encoder, options=options)


def test_losses_that_are_no_numbers_end_it(encoder, picture):
    next(encoder.parameters()).data.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="not a finite number"):
        optimize_picture(picture(80, 60), [picture(70, 90, 1)], encoder, options=OptimizeOptions(**SMALL))


@pytest.mark.parametrize(("iterations", "bad"), [(40, 7), (40, 15), (12, 4)])
def test_one_bad_gradient_does_not_cost_the_rest(encoder, picture, monkeypatch, iterations, bad):
    from nst_lightning.optimization.objective import Objective

    calls, evaluate = [], Objective.__call__

    def sometimes(self, pixels):
        losses, gradient = evaluate(self, pixels)
        calls.append(losses["loss"])
        return (losses, gradient * float("nan")) if len(calls) == bad else (losses, gradient)

    monkeypatch.setattr(Objective, "__call__", sometimes)
    options = OptimizeOptions(**{**SMALL, "levels": 1, "iterations": iterations})
    found = optimize_picture(picture(80, 60), [picture(70, 90, 1)], encoder, options=options)
    assert np.isfinite(found.pixels).all()
    assert min(entry["loss"] for entry in found.history) < 0.97 * min(calls[:bad])


def test_a_finished_state_is_small(encoder, picture):
    state = optimize_picture(picture(80, 60), [picture(70, 90, 1)], encoder, options=OptimizeOptions(**SMALL)).state
    assert state["minimization"]["memory"] == {}
    assert state["minimization"]["best"] is None


def test_a_run_goes_on_with_less_memory(encoder, picture):
    """Fewer remembered steps, smaller tiles: another picture, about as good."""
    options = OptimizeOptions(**{**SMALL, "iterations": 25})
    pictures = picture(80, 60), [picture(70, 90, 1)], encoder
    count = 0

    def interrupt(progress):
        nonlocal count
        count += 1
        if count == 40:
            raise KeyboardInterrupt

    whole = optimize_picture(*pictures, options=options)
    with pytest.raises(Interrupted) as stopped:
        optimize_picture(*pictures, options=options, progress=interrupt)
    state = stopped.value.result.state
    assert len(state["minimization"]["memory"]["old_dirs"]) > 3
    levels = [replace(level, history=3, tile=32) for level in plan((80, 60), encoder, options)]
    rest = optimize_picture(*pictures, options=options, levels=levels, state=state)
    losses = [min(entry["loss"] for entry in found.history if entry["level"] == 2) for found in (whole, rest)]
    assert losses[1] == pytest.approx(losses[0], rel=0.1)
    assert losses[1] != losses[0]


def test_a_small_mask_begins_as_fast(encoder, picture):
    photo, styles = picture(64, 48), [picture(70, 90, 1)]
    mask = Image.new("L", (64, 48))
    mask.paste(255, (0, 0, 12, 9))
    options = OptimizeOptions(**{**SMALL, "levels": 1})
    found = optimize_picture(photo, styles, encoder, options=options, masks=[mask])
    losses = [entry["loss"] for entry in found.history]
    assert losses[1] < losses[0]  # the first trial
