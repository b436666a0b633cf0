import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from nst_lightning.cli import main
from nst_lightning.optimization import OptimizeOptions, optimize_picture
from nst_lightning.optimization.objective import Objective
from nst_lightning.optimization.pyramid import level_sizes
from nst_lightning.perception import CompactEncoder

SMALL = {"size": 64, "levels": 2, "iterations": 6, "margin": 4}


@pytest.fixture
def encoder(compact_weights):
    return CompactEncoder(compact_weights)


def relative(a, b):
    return float(((a - b) ** 2).sum() / (b**2).sum())


def test_objective_is_its_formula(encoder):
    photo, one, two, picture = (torch.rand(1, 3, 48, 40) for _ in range(4))
    options = OptimizeOptions(content_layers={"relu2_1": 3, "relu3_1": 1}, style_layers={"relu1_1": 1, "relu2_1": 1})
    losses = Objective(encoder, photo, [one, two], [0.25, 0.75], options)(picture)

    def features(x, layer):
        return encoder(x, [layer])[layer][0].flatten(1).double().numpy()

    def gram(x, layer):
        found = features(x, layer)
        return found @ found.T / found.shape[1]

    content = 0.75 * relative(features(picture, "relu2_1"), features(photo, "relu2_1"))
    content += 0.25 * relative(features(picture, "relu3_1"), features(photo, "relu3_1"))
    style = 0
    for layer in ("relu1_1", "relu2_1"):
        target = 0.25 * gram(one, layer) + 0.75 * gram(two, layer)
        style += 0.5 * relative(gram(picture, layer), target)
    assert losses["content"].item() == pytest.approx(content, rel=1e-4)
    assert losses["style"].item() == pytest.approx(style, rel=1e-4)
    x = picture.double().numpy()
    variation = ((x[..., 1:, :] - x[..., :-1, :]) ** 2).mean() + ((x[..., 1:] - x[..., :-1]) ** 2).mean()
    assert losses["loss"].item() == pytest.approx(content + 30 * style + 2 * variation, rel=1e-4)


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
@pytest.mark.parametrize("start", ["content", "noise"])
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
    assert all(a.share <= b.share for a, b in pairwise(seen))


def test_the_same_seed_gives_the_same_picture(encoder, picture):
    def made(seed):
        options = OptimizeOptions(**SMALL, start="noise", seed=seed)
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


def test_levels_too_small_for_the_deepest_layer_are_left_out(encoder):
    options = OptimizeOptions(size=128, levels=5, factor=2)
    assert level_sizes((200, 100), encoder, options) == [(64, 32), (128, 64)]
    assert level_sizes((200, 100), encoder, OptimizeOptions(size=0, levels=1)) == [(200, 100)]
    with pytest.raises(ValueError, match=r"64x26 is too small for relu1_1, .*: its short side must be 32 pixels"):
        level_sizes((200, 80), encoder, OptimizeOptions(size=64))


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("size", -1, "0 or more"),
        ("style_weight", -1, "0 or more"),
        ("tv_weight", float("nan"), "0 or more"),
        ("iterations", 0, "1 or more"),
        ("factor", 1, "more than 1"),
        ("style_scale", 0, "more than 0"),
    ],
)
def test_bad_options(option, value, allowed):
    with pytest.raises(ValueError, match=f"{option}: {value} is not allowed; it must be {allowed}"):
        OptimizeOptions(**{option: value})
    with pytest.raises(ValueError, match="one of the two"):
        OptimizeOptions(style_weight=0, content_weight=0)


def test_the_command_writes_the_picture_and_its_record(tmp_path, picture, painting, compact_weights, capsys):
    photo = picture(80, 60).convert("RGBA")
    photo.putalpha(Image.new("L", photo.size, 90))
    photo.save(tmp_path / "photo.png")
    small = ["--size", "64", "--levels", "2", "--iterations", "3", "--style-weight", "7", "--compact", compact_weights]
    arguments = [str(tmp_path / "photo.png"), "--style", painting, "--style", painting, "--style-share", "1"]
    arguments += ["--style-share", "3", "--output", str(tmp_path / "out/picture.png"), *small]
    assert main(["optimize", *arguments]) == 0
    with Image.open(tmp_path / "out/picture.png") as made:
        assert made.mode == "RGBA"
        assert made.size == (64, 48)
        assert made.getpixel((0, 0))[3] == 90
    record = json.loads((tmp_path / "out/picture.json").read_text())
    assert record["options"]["style_weight"] == 7
    assert record["style"] == [painting, painting]
    assert len(record["iterations"]) >= 4
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["picture.json", "picture.png"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--output", "out.gif"], "out.gif: can't write this kind of file"),
        (["--style-share", "1", "--style-share", "2"], "shares: 2 given for 1 styles"),
        (["--style-layers", "{relu9_1: 1}"], "unknown layer 'relu9_1'"),
        (["--size", "40"], "too small"),
        (["--size", "64", "--margin", "60"], "margin: 60 is not allowed; it must be less than the short side"),
    ],
)
def test_bad_requests(tmp_path, monkeypatch, picture, painting, compact_weights, capsys, change, message):
    monkeypatch.chdir(tmp_path)
    picture(80, 60).save("photo.png")
    arguments = ["photo.png", "--style", painting, "--output", "out.png", "--compact", compact_weights, *change]
    assert main(["optimize", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]
