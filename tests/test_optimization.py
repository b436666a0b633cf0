import json
import shlex
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from nst_lightning.cli import main
from nst_lightning.images import image_to_array, read_picture, write_picture
from nst_lightning.inference import DEFAULT_MODEL, Stylizer
from nst_lightning.optimization import Interrupted, OptimizationError, OptimizeOptions, optimize_picture
from nst_lightning.optimization.minimize import State
from nst_lightning.optimization.plan import LEAST_HISTORY, plan
from nst_lightning.optimization.scene import Scene
from nst_lightning.optimization.warm import picture_or_network, warmed
from nst_lightning.perception import CompactEncoder

SMALL = {"size": 64, "levels": 2, "iterations": 6, "margin": 4}


@pytest.fixture
def encoder(compact_weights):
    return CompactEncoder(compact_weights)


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


def test_the_plan(encoder):
    def sizes(photo, **options):
        return [(level.width, level.height) for level in plan(photo, encoder, OptimizeOptions(**options))]

    assert sizes((200, 100), size=128, levels=5, factor=2) == [(64, 32), (128, 64)]  # relu5_1 needs 32 pixels
    assert sizes((200, 100), size=0, levels=1) == [(200, 100)]
    assert sizes((300, 300), size=384, factor=2) == [(96, 96), (192, 192), (384, 384)]
    levels = plan((4000, 3000), encoder, OptimizeOptions(size=2000, factor=2, refine_above=500, iterations=40))
    assert [(level.width, level.iterations) for level in levels] == [
        (125, 40),
        (250, 40),
        (500, 40),
        (1000, 7),
        (2000, 7),
    ]
    with pytest.raises(
        ValueError, match=r"a photo of 200x80 at size 64 is too small for .*is 26, and must be 32 or more; size 80"
    ):
        sizes((200, 80), size=64)


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
        ({"scales": {2: 1.0}}, "scales: {2: 1.0} is not allowed"),
        ({"scales": {1: 1.0, 2: 0.0}}, "scales: .* is not allowed"),
        ({"start": "photo"}, "start: photo is not allowed; it must be one of content, noise, style"),
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


@pytest.mark.parametrize("recolour", ["before", "after"])
@pytest.mark.parametrize("colour", ["luminance", "histogram"])
def test_colours_are_preserved(encoder, picture, colour, recolour):
    photo = Image.blend(picture(64, 48), Image.new("RGB", (64, 48), (250, 120, 40)), 0.5)
    style = Image.blend(picture(70, 90, 1), Image.new("RGB", (70, 90), (40, 120, 250)), 0.5)
    settings = {**SMALL, "start": "style", "content_weight": 0.05}
    options = OptimizeOptions(**settings, colour=colour, recolour=recolour)

    def distance(options):
        found = optimize_picture(photo, [style], encoder, options=options).picture
        return np.abs(np.asarray(found, dtype=float).mean((0, 1)) - np.asarray(photo, dtype=float).mean((0, 1))).max()

    assert distance(options) < 0.3 * distance(OptimizeOptions(**settings))
    grey = Image.new("RGB", (64, 48), (90, 90, 90))
    found = np.asarray(optimize_picture(grey, [style], encoder, options=options).picture, dtype=float)
    assert np.abs(found.max(axis=2) - found.min(axis=2)).mean() < (2 if colour == "luminance" else 30)


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


@pytest.fixture
def request_of(tmp_path, picture, painting, compact_weights):
    """Arguments of `optimize` for a small picture."""
    photo = picture(80, 60).convert("RGBA")
    photo.putalpha(Image.new("L", photo.size, 90))
    photo.save(tmp_path / "photo.png")
    small = ["--size", "64", "--levels", "2", "--iterations", "3", "--compact", compact_weights]
    target = str(tmp_path / "out/picture.png")
    return [str(tmp_path / "photo.png"), "--style", painting, "--output", target, *small]


def test_the_command_writes_the_picture_and_its_record(tmp_path, request_of, painting):
    more = ["--style", painting, "--style-share", "1", "--style-share", "3", "--style-weight", "7", "--preview", "2"]
    assert main(["optimize", *request_of, *more, "--geometric-weights"]) == 0
    with Image.open(tmp_path / "out/picture.png") as made:
        assert made.mode == "RGBA"
        assert made.size == (64, 48)
        assert made.getpixel((0, 0))[3] == 90
    record = json.loads((tmp_path / "out/picture.png.json").read_text())
    assert record["options"]["style_weight"] == 7
    assert record["options"]["geometric_weights"] is True
    assert record["versions"]["torch"] == torch.__version__
    assert len(record["iterations"]) >= 4
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["picture.png", "picture.png.json"]


def test_the_record_makes_the_picture_again(tmp_path, request_of, painting):
    more = [
        "--style",
        painting,
        "--style-share",
        "1",
        "--style-share",
        "2.5",
        "--start",
        "noise",
        "--style-weight",
        "7",
    ]
    more += ["--style-layers", "{relu1_1: 1, relu3_1: 2}", "--correlation-chain", "--seed", "3", "--preview", "5"]
    assert main(["optimize", *request_of, *more]) == 0
    record, made = ((tmp_path / "out" / f"picture.{ending}").read_bytes() for ending in ("png.json", "png"))
    (tmp_path / "out/picture.png").unlink()
    command = json.loads(record)["command"]
    assert "--iterations 3" in command
    assert "preview" not in command
    assert main(shlex.split(command)[3:]) == 0
    assert (tmp_path / "out/picture.png").read_bytes() == made


def test_the_command_is_interrupted_and_resumed(tmp_path, request_of, monkeypatch):
    from nst_lightning.optimization.meter import Meter

    request_of[request_of.index("--iterations") + 1] = "20"
    whole, target = tmp_path / "out/whole.png", tmp_path / "out/picture.png"
    assert main(["optimize", *[str(whole) if item == str(target) else item for item in request_of]]) == 0
    calls = []

    def interrupt(self, progress):
        calls.append(progress)
        if len(calls) == 30:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Meter, "__call__", interrupt)
        assert main(["optimize", *request_of]) == 130
    assert (tmp_path / "out/picture.png.state").exists()
    assert target.read_bytes() != whole.read_bytes()
    assert main(["optimize", *request_of, "--resume"]) == 0
    assert target.read_bytes() == whole.read_bytes()
    assert not (tmp_path / "out/picture.png.state").exists()


def test_a_folder_of_photos(tmp_path, request_of, picture, painting):
    (tmp_path / "photos/more").mkdir(parents=True)
    picture(80, 60).save(tmp_path / "photos/a.jpg")
    picture(60, 80).save(tmp_path / "photos/more/b.png")
    arguments = [str(tmp_path / "photos"), *request_of[1:]]
    arguments[arguments.index("--output") + 1] = str(tmp_path / "made")
    assert main(["optimize", *arguments]) == 0
    made = sorted(path.relative_to(tmp_path / "made").as_posix() for path in (tmp_path / "made").rglob("*.png"))
    assert made == ["a.png", "more/b.png"]
    (tmp_path / "made/more/b.png").unlink()
    before = (tmp_path / "made/a.png").stat().st_mtime_ns
    assert main(["optimize", *arguments, "--resume"]) == 0  # only what is missing
    assert (tmp_path / "made/more/b.png").exists()
    assert (tmp_path / "made/a.png").stat().st_mtime_ns == before


def test_sixteen_bits_and_exif(tmp_path, request_of, picture):
    exif = Image.Exif()
    exif[0x013B], exif[0x0112] = "An artist", 6
    picture(60, 80).save(tmp_path / "turned.jpg", exif=exif)
    arguments = [str(tmp_path / "turned.jpg"), *request_of[1:]]
    assert main(["optimize", *arguments, "--bits", "16"]) == 0
    made = read_picture(tmp_path / "out/picture.png", bits=16)
    assert made.rgb.shape == (3, 48, 64)  # upright
    assert np.abs(made.rgb * 255 - (made.rgb * 255).round()).mean() > 0.1  # finer than 8 bits
    with Image.open(tmp_path / "out/picture.png") as written:
        assert dict(written.getexif()) == {0x013B: "An artist"}


def test_the_photo_keeps_its_sixteen_bits_where_no_style_goes(tmp_path, request_of):
    values = np.random.default_rng(0).random((3, 48, 64), dtype=np.float32)
    write_picture(tmp_path / "deep.png", values, bits=16)
    mask = Image.new("L", (64, 48))
    mask.paste(255, (0, 0, 24, 48))
    mask.save(tmp_path / "mask.png")
    arguments = [str(tmp_path / "deep.png"), *request_of[1:], "--mask", str(tmp_path / "mask.png"), "--bits", "16"]
    assert main(["optimize", *arguments]) == 0
    made = read_picture(tmp_path / "out/picture.png", bits=16).rgb
    assert np.abs(made[..., 26:] - values[..., 26:]).max() < 1 / 65000
    assert np.abs(made[..., :20] - values[..., :20]).mean() > 0.01


def test_a_start_from_a_picture(tmp_path, request_of, picture):
    picture(60, 45, 5).save(tmp_path / "first.png")
    assert main(["optimize", *request_of, "--init", str(tmp_path / "first.png"), "--levels", "1"]) == 0
    from_photo = json.loads((tmp_path / "out/picture.png.json").read_text())["iterations"][0]["content"]
    assert from_photo > 0.01  # the photo itself would have 0


def test_a_style_that_comes_with_the_package_paints_the_start(picture):
    photo = picture(60, 48)
    expected = Stylizer(DEFAULT_MODEL)(photo, style="udnie")
    assert np.array_equal(picture_or_network("udnie")(photo), expected)
    assert np.array_equal(picture_or_network(f"{DEFAULT_MODEL}:udnie")(photo), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--output", "out.gif"], "out.gif: can't write this kind of file"),
        (["--output", "out.jpg", "--bits", "16"], "bits: 16 is not allowed"),
        (["--style-share", "1", "--style-share", "2"], "shares: 2 given for 1 styles"),
        (["--style-layers", "{relu9_1: 1}"], "unknown layer 'relu9_1'"),
        (["--size", "40"], "too small"),
        (["--size", "64", "--margin", "60"], "margin: 60 is not allowed; it must be less than the short side"),
        (["--mask", "photo.png", "--mask", "photo.png"], "masks: 2 given for 1 styles"),
        (["--resume"], "out.png.state is missing: there is nothing to go on from"),
        (["--max-memory", "0.01"], "max_memory: 0.01 GB is not allowed for a picture of"),
        (["--output", "photo.png"], "output: photo.png would overwrite photo.png, which is read"),
        (["--optimizer", "sgd"], "optimizer"),
        (["--average", "0.9"], "average: 0.9 is not allowed with optimizer lbfgs"),
        (["--device", "abacus"], "device: abacus is not to be had"),
        (["--preview", "-1"], "preview: -1 is not allowed"),
        (["--max-memory", ".inf"], "max_memory: inf is not allowed; it must be more than 0"),
        (["--max-memory", "0"], "max_memory: 0.0 is not allowed; it must be more than 0"),
        (["--init", "none.onnx"], "none.onnx"),
        (["--init", "graet_wave"], "did you mean great_wave?"),
        (["--init", "johnson_great_wave:ink"], "this network has one style"),
        (["--style", "other.png", "--output", "other.png"], "output: other.png would overwrite other.png"),
        (["--output", "folder.png"], "folder.png: is a folder, not a file"),
        (["--size", "70000", "--max-memory", "1e6", "--output", "out.jpg"], "JPEG has 65500 pixels a side at most"),
    ],
)
def test_bad_requests(tmp_path, monkeypatch, picture, painting, compact_weights, capsys, change, message):
    monkeypatch.chdir(tmp_path)
    picture(80, 60).save("photo.png")
    picture(80, 60).save("other.png")
    (tmp_path / "folder.png").mkdir()
    arguments = ["photo.png", "--style", painting, "--output", "out.png", "--compact", compact_weights, *change]
    assert main(["optimize", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["folder.png", "other.png", "photo.png"]


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
    grey, clear = picture(80, 60).convert("L"), picture(70, 90, 1).convert("RGBA")
    found = optimize_picture(grey, [clear], encoder, options=options, init=grey.convert("P"))
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


def test_little_memory_makes_tiles_and_then_shortens_the_history(encoder, monkeypatch):
    monkeypatch.setattr("nst_lightning.optimization.plan.used_memory", lambda device: 1e9)

    def last(gigabytes):
        options = OptimizeOptions(size=4096, refine_iterations=12)
        return plan((4000, 3000), encoder, options, max_memory=gigabytes * 1e9)[-1]

    ample = last(1000)
    assert (ample.tile, ample.history) == (None, 12)
    with pytest.raises(ValueError, match=r"of 4128x3104, .* must be .* GB or more") as error:
        last(0.5)
    least = float(str(error.value).split(" GB or more")[0].split()[-1])
    scarce, enough = last(1.01 * least), last(least + 2.5)
    assert scarce.history == LEAST_HISTORY
    assert scarce.tile >= 256
    assert LEAST_HISTORY < enough.history <= 12
    assert enough.tile >= 512


@pytest.mark.parametrize(("size", "levels"), [(256, 1), (384, 2), (512, 2), (1024, 4), (4096, 8)])
def test_a_network_paints_at_the_size_it_knows(size, levels):
    network, picture = (lambda photo: photo), Image.new("RGB", (8, 8))
    assert warmed(OptimizeOptions(size=size), (4000, 3000), network).levels == levels
    assert warmed(OptimizeOptions(size=0), (size, 100), network).levels == levels
    assert warmed(OptimizeOptions(size=size), (4000, 3000), picture).levels == 2
    assert warmed(OptimizeOptions(size=size, levels=3), (4000, 3000), network).levels == 3


def test_wide_photos_and_warm_starts(encoder):
    def sizes(photo, warm=False, **options):
        levels = plan(photo, encoder, OptimizeOptions(**options), warm=warm)
        return [(level.width, level.height, level.iterations) for level in levels]

    shallow = {"style_layers": {"relu1_1": 1}, "content_layers": {"relu1_1": 1}, "factor": 2}
    assert sizes((6000, 1000), size=384, **shallow) == [(192, 32, 40), (384, 64, 40)]  # 16 would be all margin
    warm = {"size": 4000, "levels": 2, "factor": 2, "refine_above": 1000}
    assert sizes((4000, 3000), warm=True, **warm) == [(2000, 1500, 7), (4000, 3000, 7)]
    assert sizes((4000, 3000), **warm) == [(2000, 1500, 40), (4000, 3000, 7)]


@pytest.mark.parametrize("masked", [None, "transparent"])
def test_a_masks_transparency_is_black(tmp_path, request_of, masked):
    mask = Image.new("LA", (80, 60), (255, 0))
    mask.paste((255, 255), (0, 0, 30, 60))
    mask.save(tmp_path / "mask.png")
    assert main(["optimize", *request_of, *(["--mask", str(tmp_path / "mask.png")] if masked else [])]) == 0
    photo = read_picture(tmp_path / "photo.png").rgb.resize((64, 48), Image.Resampling.LANCZOS)
    made = read_picture(tmp_path / "out/picture.png").rgb
    difference = np.abs(np.asarray(made, dtype=int) - np.asarray(photo))
    assert (difference[:, 28:].max() <= 1) == bool(masked)
    assert difference[:, :20].mean() > 2


def test_a_picture_that_cannot_be_written_leaves_its_state(tmp_path, request_of, monkeypatch):
    from nst_lightning.optimization import files

    def full(*_, **__):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_picture", full)
        assert main(["optimize", *request_of, "--preview", "1"]) == 1
    assert not (tmp_path / "out/picture.png").exists()
    assert main(["optimize", *request_of, "--resume"]) == 0
    assert (tmp_path / "out/picture.png").exists()
    assert not (tmp_path / "out/picture.png.state").exists()


def test_the_folder_of_photos_is_no_output(tmp_path, request_of, picture, capsys):
    (tmp_path / "photos").mkdir()
    picture(80, 60).save(tmp_path / "photos/a.jpg")
    arguments = [str(tmp_path / "photos"), *request_of[1:]]
    target = arguments.index("--output") + 1
    arguments[target] = str(tmp_path / "photos")
    assert main(["optimize", *arguments]) == 2
    assert "is the folder of photos itself" in capsys.readouterr().err
    arguments[target] = str(tmp_path)
    assert main(["optimize", *arguments]) == 0
    assert (tmp_path / "a.png").exists()


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


@pytest.mark.parametrize("fails", ["write_state", "_write_picture"])
def test_what_cannot_be_written_does_not_cost_the_rest(tmp_path, request_of, monkeypatch, capsys, fails):
    from nst_lightning.optimization.files import Files
    from nst_lightning.optimization.meter import Meter

    def interrupt(self, progress):
        raise KeyboardInterrupt

    def full(self, *_):
        raise OSError("disk full")

    monkeypatch.setattr(Meter, "__call__", interrupt)
    monkeypatch.setattr(Files, fails, full)
    assert main(["optimize", *request_of]) == 130
    assert "disk full" in capsys.readouterr().err
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert left == ({"picture.png", "picture.png.json"} if fails == "write_state" else {"picture.png.state"})


def test_a_containers_limit(tmp_path, monkeypatch):
    from nst_lightning.optimization import device

    monkeypatch.setattr(device, "_CGROUP", tmp_path)
    free = device.free_memory(torch.device("cpu"))
    assert free > 1e8
    for name, text in (("max", "5000\n"), ("current", "4000\n"), ("stat", "anon 1\ninactive_file 500\nfile 7\n")):
        (tmp_path / f"memory.{name}").write_text(text)
    assert device.free_memory(torch.device("cpu")) == 1500
    (tmp_path / "memory.max").write_text("max\n")
    assert device.free_memory(torch.device("cpu")) > 1e8
