"""The commands that draw sheets of optimized pictures."""

import pytest
from PIL import Image

from nst_lightning.cli import main
from nst_lightning.commands.figures_gallery import VARIANTS
from nst_lightning.images import draw_labeled


def test_explain_reconstructs_content_and_style(tmp_path, picture, painting, compact_weights):
    picture(80, 60).save(tmp_path / "photo.png")
    small = ["--long-side", "64", "--iterations", "2", "--compact", compact_weights, "--layers", "[relu1_1, relu2_1]"]
    arguments = [str(tmp_path / "photo.png"), "--style", painting, "--output", str(tmp_path / "sheet.png")]
    assert main(["figures", "explain", *arguments, *small]) == 0
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 3 * 64
        assert sheet.height > 2 * 48


def test_the_gallery_shows_every_variant(tmp_path, picture, painting, compact_weights, monkeypatch, capsys):
    from nst_lightning.commands import figures_gallery as gallery

    made = []

    def optimized(photo, styles, encoder, *, masks, device, **groups):
        made.append((groups, len(styles), masks))
        return type("Found", (), {"picture": photo.resize((64, 48))})

    monkeypatch.setattr(gallery, "optimize_picture", optimized)
    picture(80, 60).save(tmp_path / "photo.png")
    styles = ["--style", painting, "--style", painting]
    output = ["--output", str(tmp_path / "sheet.jpg"), "--vgg19", "null", "--compact", compact_weights]
    assert main(["figures", "gallery", str(tmp_path / "photo.png"), *styles, *output]) == 0
    assert len(made) == len(VARIANTS) - 1 + 2  # this encoder has no more layers than the default ones
    assert len({repr(options) for options, _, _ in made}) == len(VARIANTS) - 1  # the last two have the plain options
    assert [(count, masks is not None) for _, count, masks in made[-2:]] == [(2, False), (2, True)]
    assert made[-1][2][0].getpixel((0, 0)) == 255
    assert made[-1][2][1].getpixel((0, 0)) == 0
    assert "without all layers (3.2): this encoder has only the default layers" in capsys.readouterr().err

    made.clear()
    some = ["--only", '["from noise", "chain, blurred"]']
    assert main(["figures", "gallery", str(tmp_path / "photo.png"), *styles, *output, *some]) == 0
    assert [(groups["pyramid"].start, groups["objective"].blur) for groups, _, _ in made] == [
        ("noise", False),
        ("content", True),
    ]
    for label, message in (
        ("from nose", "only must be some of as optimize does it, from noise, "),
        ("all layers (3.2)", "only: all layers (3.2): this encoder has only the default layers; use vgg19 for more"),
    ):
        assert main(["figures", "gallery", str(tmp_path / "photo.png"), *styles, *output, "--only", f"[{label}]"]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(("command", "option", "value"), [("explain", "layers", "[]"), ("gallery", "columns", "0")])
def test_bad_numbers(tmp_path, picture, painting, capsys, command, option, value):
    arguments = ["photo.png", "--style", painting, "--output", str(tmp_path / "sheet.png"), f"--{option}", value]
    assert main(["figures", command, *arguments]) == 2
    assert option in capsys.readouterr().err


@pytest.mark.parametrize("command", ["explain", "gallery"])
def test_bad_output(tmp_path, picture, painting, capsys, command):
    picture(80, 60).save(tmp_path / "photo.png")
    arguments = [str(tmp_path / "photo.png"), "--style", painting, "--output", str(tmp_path / "sheet.gif")]
    assert main(["figures", command, *arguments]) == 2
    assert "sheet.gif: can't write this kind of file" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["explain", "gallery"])
@pytest.mark.parametrize("written", ["photo.png", "painting.png"])
def test_a_sheet_does_not_overwrite_what_it_shows(tmp_path, picture, capsys, command, written):
    photo, painting, output = (tmp_path / name for name in ("photo.png", "painting.png", written))
    picture(80, 60).save(photo)
    picture(70, 60).save(painting)
    assert main(["figures", command, str(photo), "--style", str(painting), "--output", str(output)]) == 2
    assert f"output: {output} would overwrite the input {output}" in capsys.readouterr().err


def test_labels_have_room():
    sheet = draw_labeled([[("a rather long label below", Image.new("RGB", (20, 64)))]], height=64)
    assert sheet.width > 60
    assert sheet.height > 64 + 11
