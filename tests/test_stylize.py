import io
import sys

import numpy as np
import pytest
from conftest import with_metadata
from PIL import Image
from test_fixed_size import fixed

from nst_lightning.cli import main
from nst_lightning.images import Picture, read_picture, write_picture
from nst_lightning.inference import Stylizer


def test_command_keeps_names_folders_alpha_and_exif(tmp_path, model, photos, picture, capsys):
    alpha = Image.linear_gradient("L").resize((50, 40))
    exif = Image.Exif()
    exif[0x013B] = "The artist"
    write_picture(tmp_path / "cut-out.png", Picture(picture(50, 40), alpha, exif.tobytes()))
    out = tmp_path / "out"
    assert main(["stylize", str(photos), str(tmp_path / "cut-out.png"), "--model", model, "--output", str(out)]) == 0
    written = {str(path.relative_to(out)) for path in out.rglob("*.*")}
    assert written == {*(f"{'more/' if i % 2 else ''}photo{i}.jpg" for i in range(8)), "cut-out.png"}
    assert len(capsys.readouterr().out.splitlines()) == 9
    result = read_picture(out / "cut-out.png")
    np.testing.assert_array_equal(np.asarray(result.alpha), np.asarray(alpha))
    assert result.exif == exif.tobytes()
    with Image.open(out / "photo0.jpg") as written_photo, Image.open(photos / "photo0.jpg") as photo:
        assert written_photo.size == photo.size


def test_command_leaves_its_own_output_out(tmp_path, model, picture):
    picture(40, 40).save(tmp_path / "a.png")
    picture(40, 40).save(tmp_path / "a.gif")
    for _ in range(2):
        assert main(["stylize", str(tmp_path), "--model", model, "--output", str(tmp_path / "out")]) == 0
    names = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")}
    assert names == {"a.png", "a.gif", "out/a.png", "out/a.gif.png"}


@pytest.mark.parametrize(("ending", "kind"), [("jpg", "JPEG"), ("png", "PNG"), ("webp", "WEBP"), ("tif", "TIFF")])
def test_command_formats(tmp_path, model, picture, ending, kind):
    picture(40, 40).save(tmp_path / "$photo.bmp")
    arguments = ["stylize", str(tmp_path / "$photo.bmp"), "--model", model, "--output", str(tmp_path / "out")]
    assert main([*arguments, "--format", ending]) == 0
    with Image.open(tmp_path / "out" / f"$photo.{ending}") as written:
        assert written.format == kind


def test_command_writes_a_single_photo_to_the_file_asked_for(tmp_path, model, picture, capsys):
    picture(40, 40).save(tmp_path / "a.png")
    assert main(["stylize", str(tmp_path / "a.png"), "--model", model, "--output", str(tmp_path / "new/b.jpg")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'new/b.jpg'}\n"
    with Image.open(tmp_path / "new/b.jpg") as written:
        assert written.format == "JPEG"
    (tmp_path / "folder.png").mkdir()  # such as an earlier version made
    assert main(["stylize", str(tmp_path / "a.png"), "--model", model, "--output", str(tmp_path / "folder.png")]) == 0
    assert (tmp_path / "folder.png/a.png").is_file()


def test_command_turns_transparency_with_the_size(tmp_path, model, picture):
    write_picture(tmp_path / "a.png", Picture(picture(80, 60), Image.new("L", (80, 60), 128)))
    assert (
        main(
            [
                "stylize",
                str(tmp_path / "a.png"),
                "--model",
                model,
                "--output",
                str(tmp_path / "out"),
                "--short-side",
                "40",
            ]
        )
        == 0
    )
    result = read_picture(tmp_path / "out/a.png")
    assert result.rgb.size == result.alpha.size == (53, 40)


def test_command_goes_on_after_a_bad_photo_and_says_so(tmp_path, model, picture, capsys):
    picture(40, 40).save(tmp_path / "good.png")
    (tmp_path / "bad.jpg").write_text("no")
    picture(10, 40).save(tmp_path / "tiny.png")
    assert main(["stylize", str(tmp_path), "--model", model, "--output", str(tmp_path / "out")]) == 1
    errors = capsys.readouterr().err
    assert "bad.jpg: not a picture" in errors
    assert "tiny.png: a photo of 10x40 is too small" in errors
    assert "2 of 3 photos could not be stylized" in errors
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good.png"]


def test_command_goes_on_where_a_picture_cannot_be_written(tmp_path, model, picture, capsys):
    (tmp_path / "photos/below").mkdir(parents=True)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/below").write_text("a file, where a folder should be")
    for name in ("below/a.png", "good.png"):
        picture(40, 40).save(tmp_path / "photos" / name)
    assert main(["stylize", str(tmp_path / "photos"), "--model", model, "--output", str(tmp_path / "out")]) == 1
    errors = capsys.readouterr().err
    assert f"{tmp_path}/photos/below/a.png: " in errors
    assert "1 of 2 photos could not be stylized" in errors
    assert (tmp_path / "out/good.png").is_file()


def test_names_that_a_terminal_cannot_show(tmp_path, model, picture, monkeypatch):
    picture(40, 40).save(tmp_path / "波.png")
    screen = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(screen, encoding="cp1252", write_through=True))
    assert main(["stylize", str(tmp_path / "波.png"), "--model", model, "--output", str(tmp_path / "out")]) == 0
    assert rb"\u6ce2.png" in screen.getvalue()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nowhere.jpg"], 2, "photos: no such file or folder: nowhere.jpg"),
        (["a.png", "b/a.png"], 2, "would both be written to"),
        (["a.png", "--model", "nowhere.onnx"], 2, "model: no such file: nowhere.onnx; bundled networks: johnson_"),
        (["a.png", "--model", "johnson_wave"], 2, "no such file: johnson_wave; did you mean johnson_great_wave?"),
        (["a.png", "--output", "."], 2, "output: a.png would overwrite the input a.png"),
        (["a.png", "--output", "a.png"], 2, "output: a.png would overwrite the input a.png"),
        (
            ["a.png", "b/a.png", "--output", "c.png"],
            2,
            "output must be a folder for several photos, got the file c.png",
        ),
        (["a.png", "--output", "c.bmp"], 2, "c.bmp: can't write this kind of file; endings allowed: .jpg"),
        (["a.png", "--output", "c.gif"], 2, "c.gif: this kind of file is written only if frames is all"),
        (["b", "--output", "c.png"], 2, "output must be a folder for several photos, got the file"),
        (
            ["a.png", "--output", "c.png", "--format", "jpg"],
            2,
            "format must be keep, since the ending of c.png tells the format, got jpg",
        ),
        (["a.png", "--quality", "0"], 2, "quality must be from 1 to 100, got 0"),
        (["a.png", "--threads", "-1"], 2, '"threads"'),
        (["a.png", "--format", "bmp"], 2, "format"),
        (["a.png", "--strokes", "0"], 2, "strokes must be > 0, or native, got 0.0"),
        (["a.png", "--strokes", "nan"], 2, "strokes must be > 0, or native, got 'nan'"),
        (["a.png", "--strokes", "bold"], 2, "strokes must be > 0, or native, got 'bold'"),
        (["a.png", "--output", "a.png/out"], 2, "output: a.png/out must be a folder, but a.png is a file"),
    ],
)
def test_command_refuses_in_one_line(tmp_path, model, picture, monkeypatch, capsys, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "b").mkdir()
    picture(40, 40).save("a.png")
    picture(40, 40).save("b/a.png")
    defaults = [
        x for flag, value in (("--model", model), ("--output", "out")) if flag not in arguments for x in (flag, value)
    ]
    assert main(["stylize", *arguments, *defaults]) == code
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert message in lines[0]
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".onnx") == ["a.png", "b"]


@pytest.mark.parametrize("blend", [["--style", "ink:1,wood:3"], ["--style", "ink", "--style=wood:3"]])
def test_stylize_blends_styles_at_some_strength(many_model, tmp_path, picture, capsys, blend):
    picture(60, 40).save(tmp_path / "photo.png")
    common = ["stylize", str(tmp_path / "photo.png"), "--model", many_model, "--output", str(tmp_path / "out")]
    assert main([*common, *blend, "--strength", "0.7", "--preserve-color", "0.5"]) == 0
    expected = Stylizer(many_model)(
        picture(60, 40), style={"ink": 0.25, "wood": 0.75}, strength=0.7, preserve_color=0.5
    )
    assert Image.open(tmp_path / "out/photo.png").convert("RGB").tobytes() == expected.tobytes()
    capsys.readouterr()
    assert main([*common, "--style", "inc"]) == 2
    assert capsys.readouterr().err == "nst-lightning: stylize: style: there is no 'inc'; did you mean ink?\n"


@pytest.mark.parametrize("strokes", [1.0, 0.8, "native"])
def test_the_command_paints_strokes_of_the_size_asked_for(many_model, tmp_path, picture, strokes):
    model = with_metadata(many_model, tmp_path / "styles.onnx", {"size": "48"})
    picture(120, 90).save(tmp_path / "photo.png")
    command = ["stylize", str(tmp_path / "photo.png"), "--model", model, "--output", str(tmp_path / "picture.png")]
    assert main([*command, *([] if strokes == 1 else ["--strokes", str(strokes)])]) == 0
    expected = Stylizer(model)(picture(120, 90), strokes=strokes)
    assert Image.open(tmp_path / "picture.png").convert("RGB").tobytes() == expected.tobytes()


@pytest.mark.parametrize("strokes", ["1", "2", "native"])
@pytest.mark.parametrize(
    ("lengths", "size", "reason"),
    [
        ({"height": 90, "width": 120}, "48", "has a fixed width 120 and height 90"),
        ({}, "", "doesn't say at which size it was trained"),
        ({}, "48", None),
        ({"batch": 1}, "48", None),
    ],
)
def test_a_size_of_strokes_that_changes_nothing_is_named_once(
    model, tmp_path, photos, capsys, strokes, lengths, size, reason
):
    file = with_metadata(fixed(model, tmp_path / "fixed.onnx", **lengths), tmp_path / "sized.onnx", {"size": size})
    arguments = [str(photos), "--model", file, "--output", str(tmp_path / "out"), "--strokes", strokes]
    assert main(["stylize", *arguments]) == 0
    notice = (
        f"nst-lightning: strokes: 2.0 changes nothing, since the network's file {reason}: all photos are painted in "
    )
    expected = f"{notice}a single pass\n" if reason and strokes == "2" else ""
    assert capsys.readouterr().err == expected
