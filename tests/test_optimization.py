from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from nst_lightning.errors import UserError, WorkError
from nst_lightning.images import image_to_array
from nst_lightning.losses import ObjectiveOptions
from nst_lightning.optimization import (
    ColorOptions,
    Interrupted,
    MinimizerOptions,
    OptimizationError,
    PyramidOptions,
    UnexpectedError,
    optimize_picture,
    plan_levels,
)
from nst_lightning.optimization.minimize import State
from nst_lightning.optimization.scene import Scene


def small(**changes):
    """A pyramid of two small levels, with some options changed."""
    return PyramidOptions(**{"long_side": 64, "levels": 2, "iterations": 6, "margin": 4} | changes)


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
@pytest.mark.parametrize("start", ["content", "noise", "style"])
def test_each_level_lowers_its_loss(encoder, picture, optimizer, start):
    options = {"pyramid": small(iterations=15, start=start), "minimizer": MinimizerOptions(optimizer=optimizer)}
    seen = []
    found = optimize_picture(picture(80, 60), [picture(70, 90, 1)], encoder, **options, progress=seen.append)
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
        pyramid = small(start=start, seed=seed)
        return np.asarray(optimize_picture(picture(80, 60), [picture(70, 90, 1)], encoder, pyramid=pyramid).picture)

    assert (made(0) == made(0)).all()
    assert (made(0) != made(1)).any()


def test_without_style_the_photo_comes_back_from_noise(encoder, picture):
    photo = picture(64, 64)
    pyramid = PyramidOptions(long_side=64, levels=1, iterations=60, start="noise")
    objective = ObjectiveOptions(style_weight=0, tv_weight=0, content_layers={"relu1_1": 1.0})
    found = optimize_picture(photo, [picture(64, 64, 1)], encoder, pyramid=pyramid, objective=objective)
    losses = [entry["content"] for entry in found.history]
    assert min(losses) < 0.02 * losses[0]


@pytest.mark.parametrize(
    ("group", "option", "value", "allowed"),
    [
        (PyramidOptions, "long_side", -1, ">= 0"),
        (PyramidOptions, "iterations", 0, ">= 1"),
        (PyramidOptions, "levels", 0, ">= 1"),
        (PyramidOptions, "factor", 1, "> 1"),
        (PyramidOptions, "painting_scale", 0, "> 0"),
        (PyramidOptions, "start", "photo", "content or noise or style"),
        (MinimizerOptions, "average", 1, ">= 0 and < 1"),
        (MinimizerOptions, "average", 0.9, "0 unless the optimizer is adam"),
        (MinimizerOptions, "learning_rate", float("nan"), "> 0"),
        (ColorOptions, "preserve_color", "hue", "none or luminance or linear"),
    ],
)
def test_bad_options(group, option, value, allowed):
    with pytest.raises(UserError, match=f"{option} must be {allowed}, got {value!r}"):
        group(**{option: value})


@pytest.mark.parametrize("optimizer", [{"optimizer": "lbfgs"}, {"optimizer": "adam", "average": 0.9}])
@pytest.mark.parametrize("after", [4, 13, 25, 26, 36])
@pytest.mark.parametrize("style_loss", ["gram", "sliced"])
def test_an_interrupted_run_goes_on_exactly(encoder, picture, tmp_path, optimizer, after, style_loss):
    objective = ObjectiveOptions(style_loss=style_loss)
    options = {"pyramid": small(iterations=25), "minimizer": MinimizerOptions(**optimizer), "objective": objective}
    pictures = picture(80, 60), [picture(70, 90, 1)], encoder

    def interrupt(progress):
        nonlocal after
        after -= 1
        if after == 0:
            raise KeyboardInterrupt

    whole = optimize_picture(*pictures, **options)
    with pytest.raises(Interrupted) as stopped:
        optimize_picture(*pictures, **options, progress=interrupt)
    part = stopped.value.result
    torch.save(part.state, tmp_path / "state")
    state = torch.load(tmp_path / "state", weights_only=True)
    rest = optimize_picture(*pictures, **options, state=state)
    assert part.picture.size in ((45, 34), (64, 48))
    assert (np.asarray(rest.picture) == np.asarray(whole.picture)).all()
    assert [entry["loss"] for entry in rest.history] == [entry["loss"] for entry in whole.history]
    with pytest.raises(UserError, match="other options: style_weight"):
        optimize_picture(*pictures, **options | {"objective": replace(objective, style_weight=3)}, state=state)


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_a_callback_can_stop_it_and_it_goes_on_exactly(encoder, picture, optimizer):
    options = {"pyramid": small(), "minimizer": MinimizerOptions(optimizer=optimizer)}
    pictures = picture(80, 60), [picture(70, 90, 1)], encoder

    def stop(progress):
        return (progress.level, progress.iteration) == (2, 4)

    part = optimize_picture(*pictures, **options, progress=stop)
    assert part.picture.size == (64, 48)
    assert [entry["level"] for entry in part.history].count(2) == 4
    whole, rest = optimize_picture(*pictures, **options), optimize_picture(*pictures, **options, state=part.state)
    assert (rest.pixels == whole.pixels).all()
    assert (part.pixels != whole.pixels).any()


def test_levels_of_the_same_size_are_all_done(encoder, picture):
    """Rounding makes them alike: the second one goes on from the first."""
    found = optimize_picture(picture(80, 60), [picture(70, 90, 1)], encoder, pyramid=small(factor=1.001))
    assert [entry["level"] for entry in found.history].count(2) == 6


def test_a_level_goes_on_where_the_smaller_one_was(picture):
    """Margins are equally wide at every level: what is between them must not shift."""
    photo = picture(640, 480)
    scene = Scene(image_to_array(photo), [photo], size=(640, 480), color=ColorOptions(), margin=16)
    before, large = (scene.photo_at(*size) for size in ((90, 68), (128, 96)))
    memory = {"exp_avg": before.clone(), "exp_avg_sq": before.square(), "step": torch.tensor(7.0)}
    state = State(before, memory=memory).next_level(96 + 32, 128 + 32, 16)
    assert (state.pixels - large).abs().mean() < 0.03
    assert (state.memory["exp_avg"] - large).abs().mean() < 0.03
    assert state.memory["exp_avg_sq"].shape == large.shape
    assert state.memory["exp_avg_sq"].min() >= 0
    assert state.memory["step"] == 7


def test_adam_averages_its_iterates(encoder, picture):
    photo, styles = picture(80, 60), [picture(70, 90, 1)]

    def made(average, iterations=20):
        options = {"pyramid": small(iterations=iterations), "minimizer": MinimizerOptions("adam", average=average)}
        return np.asarray(optimize_picture(photo, styles, encoder, **options).picture, dtype=float)

    assert 0 < np.abs(made(0) - made(0.8)).mean() < np.abs(made(0, 1) - made(0.8)).mean()


def test_the_average_of_iterates_is_not_drawn_to_the_first_ones(encoder, picture):
    photo, styles = picture(80, 60), [picture(70, 90, 1)]

    def made(iterations, average):
        pyramid, minimizer = small(iterations=iterations, levels=1), MinimizerOptions("adam", average=average)
        return optimize_picture(photo, styles, encoder, pyramid=pyramid, minimizer=minimizer).pixels

    iterates = [made(n, 0.0) for n in (1, 2, 3, 4)]
    weights = 0.9 ** np.arange(4)[::-1]
    expected = sum(weight * iterate for weight, iterate in zip(weights / weights.sum(), iterates))
    np.testing.assert_allclose(made(4, 0.9), expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(32, 24), (256, 192)])
def test_black_keeps_the_photo_also_where_masks_are_resized(encoder, picture, shape):
    photo, mask = picture(64, 48), Image.new("L", shape)
    mask.paste(255, (0, 0, shape[0] // 2, shape[1]))
    found = optimize_picture(photo, [picture(70, 90, 1)], encoder, pyramid=small(), masks=[mask])
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
    found = optimize_picture(photo, styles, encoder, pyramid=small(), masks=masks)
    changed = (np.asarray(found.picture) != np.asarray(photo)).any(axis=2)
    assert changed[:, :20].mean() > 0.5
    assert changed[:, 44:].mean() > 0.5
    assert changed[:, 26:38].any() != masked


@pytest.mark.parametrize("recolor", ["before", "after"])
@pytest.mark.parametrize("preserve_color", ["luminance", "linear"])
def test_colors_are_preserved(encoder, picture, preserve_color, recolor):
    photo = Image.blend(picture(64, 48), Image.new("RGB", (64, 48), (250, 120, 40)), 0.5)
    style = Image.blend(picture(70, 90, 1), Image.new("RGB", (70, 90), (40, 120, 250)), 0.5)
    options = {"pyramid": small(start="style"), "objective": ObjectiveOptions(content_weight=0.05)}
    color = ColorOptions(preserve_color=preserve_color, recolor=recolor)

    def distance(color):
        found = optimize_picture(photo, [style], encoder, **options, color=color).picture
        return np.abs(np.asarray(found, dtype=float).mean((0, 1)) - np.asarray(photo, dtype=float).mean((0, 1))).max()

    assert distance(color) < 0.3 * distance(ColorOptions())
    gray = Image.new("RGB", (64, 48), (90, 90, 90))
    found = np.asarray(optimize_picture(gray, [style], encoder, **options, color=color).picture, dtype=float)
    assert np.abs(found.max(axis=2) - found.min(axis=2)).mean() < (2 if preserve_color == "luminance" else 30)


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ([(64, 48, 255)], "masks must be one for each painting, in the same order: 2, got 1"),
        (
            [(64, 48, 255), (64, 60, 255)],
            "masks: number 2 must have the aspect ratio of the photo, 64x48, within 2%, got 64x60",
        ),
        ([(64, 48, 0), (64, 48, 255)], "number 1 is all black"),
    ],
)
def test_bad_masks(encoder, picture, masks, message):
    images = [Image.new("L", (width, height), value) for width, height, value in masks]
    styles = [picture(70, 90, 1), picture(60, 60, 2)]
    with pytest.raises(UserError, match=message):
        optimize_picture(picture(64, 48), styles, encoder, pyramid=small(), masks=images)


def test_a_start_from_a_picture_of_another_shape_is_refused(encoder, picture):
    arguments = picture(64, 48), [picture(60, 60, 2)], encoder
    with pytest.raises(UserError, match="init must have the aspect ratio of the photo, 64x48, within 2%, got 64x50"):
        optimize_picture(*arguments, pyramid=small(), init=picture(64, 50))


def test_no_memory_costs_no_picture(encoder, picture):
    def fail(progress):
        if progress.level == 2:
            raise torch.OutOfMemoryError("no memory left")

    pictures = picture(80, 60), [picture(70, 90, 1)], encoder
    with pytest.raises(OptimizationError, match="no memory left") as stopped:
        optimize_picture(*pictures, pyramid=small(), progress=fail)
    rest = optimize_picture(*pictures, pyramid=small(), state=stopped.value.result.state)
    whole = optimize_picture(*pictures, pyramid=small())
    assert (rest.pixels == whole.pixels).all()
    again = optimize_picture(*pictures, pyramid=small(), state=whole.state)
    assert (again.pixels == whole.pixels).all()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA"), OptimizationError),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to"), OptimizationError),
        (RuntimeError("MPS backend out of memory"), OptimizationError),
        (MemoryError(), OptimizationError),
        (OSError("disk full"), OptimizationError),
        (WorkError("no luck"), OptimizationError),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), UnexpectedError),
        (TypeError("a bug"), UnexpectedError),
    ],
)
def test_every_error_keeps_the_state_and_only_foreseen_ones_are_work_errors(encoder, picture, error, expected):
    def fail(progress):
        if progress.level == 2:
            raise error

    with pytest.raises(expected) as stopped:
        optimize_picture(picture(80, 60), [picture(70, 90, 1)], encoder, pyramid=small(), progress=fail)
    assert isinstance(stopped.value, WorkError) == (expected is OptimizationError)
    assert stopped.value.__cause__ is error
    assert stopped.value.result.pixels.shape[0] == 3


def test_a_state_knows_what_it_is_of(encoder, picture):
    photo, pyramid = picture(80, 60), small()
    state = optimize_picture(photo, [picture(70, 90, 1)], encoder, pyramid=pyramid).state
    with pytest.raises(UserError, match="state: made from other pictures or with another encoder"):
        optimize_picture(photo, [picture(70, 90, 2)], encoder, pyramid=pyramid, state=state)
    del state["minimization"]
    with pytest.raises(UserError, match=r"state: made by another version, or damaged \('minimization'\)"):
        optimize_picture(photo, [picture(70, 90, 1)], encoder, pyramid=pyramid, state=state)


def test_pictures_of_any_mode(encoder, picture):
    pyramid = small(levels=1)
    gray, clear = picture(80, 60).convert("L"), picture(70, 90, 1).convert("RGBA")
    found = optimize_picture(gray, [clear], encoder, pyramid=pyramid, init=gray.convert("P"))
    assert found.pixels.shape == (3, 48, 64)
    with pytest.raises(
        UserError, match=r"photo must be an image or an array of shape \(3, H, W\), got shape \(60, 80, 3\)"
    ):
        optimize_picture(np.zeros((60, 80, 3), dtype=np.float32), [clear], encoder, pyramid=pyramid)


def test_losses_that_are_no_numbers_end_it(encoder, picture):
    next(encoder.parameters()).data.fill_(float("nan"))
    with pytest.raises(UserError, match="the loss is not finite"):
        optimize_picture(picture(80, 60), [picture(70, 90, 1)], encoder, pyramid=small())


@pytest.mark.parametrize(("iterations", "bad"), [(40, 7), (40, 15), (12, 4)])
def test_one_bad_gradient_does_not_cost_the_rest(encoder, picture, monkeypatch, iterations, bad):
    from nst_lightning.optimization.objective import Objective

    calls, evaluate = [], Objective.__call__

    def sometimes(self, pixels):
        losses, gradient = evaluate(self, pixels)
        calls.append(losses["loss"])
        return (losses, gradient * float("nan")) if len(calls) == bad else (losses, gradient)

    monkeypatch.setattr(Objective, "__call__", sometimes)
    pyramid = small(levels=1, iterations=iterations)
    found = optimize_picture(picture(80, 60), [picture(70, 90, 1)], encoder, pyramid=pyramid)
    assert np.isfinite(found.pixels).all()
    assert min(entry["loss"] for entry in found.history) < 0.97 * min(calls[:bad])


def test_a_finished_state_is_small(encoder, picture):
    state = optimize_picture(picture(80, 60), [picture(70, 90, 1)], encoder, pyramid=small()).state
    assert state["minimization"]["memory"] == {}
    assert state["minimization"]["best"] is None


def test_a_run_goes_on_with_less_memory(encoder, picture):
    """Fewer remembered steps, smaller tiles: another picture, about as good."""
    pyramid = small(iterations=25)
    pictures = picture(80, 60), [picture(70, 90, 1)], encoder
    count = 0

    def interrupt(progress):
        nonlocal count
        count += 1
        if count == 40:
            raise KeyboardInterrupt

    whole = optimize_picture(*pictures, pyramid=pyramid)
    with pytest.raises(Interrupted) as stopped:
        optimize_picture(*pictures, pyramid=pyramid, progress=interrupt)
    state = stopped.value.result.state
    assert len(state["minimization"]["memory"]["old_dirs"]) > 3
    levels = [replace(level, history=3, tile=32) for level in plan_levels((80, 60), encoder, pyramid=pyramid)]
    rest = optimize_picture(*pictures, pyramid=pyramid, levels=levels, state=state)
    losses = [min(entry["loss"] for entry in found.history if entry["level"] == 2) for found in (whole, rest)]
    assert losses[1] == pytest.approx(losses[0], rel=0.1)
    assert losses[1] != losses[0]


def test_a_small_mask_begins_as_fast(encoder, picture):
    photo, styles = picture(64, 48), [picture(70, 90, 1)]
    mask = Image.new("L", (64, 48))
    mask.paste(255, (0, 0, 12, 9))
    found = optimize_picture(photo, styles, encoder, pyramid=small(levels=1), masks=[mask])
    losses = [entry["loss"] for entry in found.history]
    assert losses[1] < losses[0]  # the first trial
