"""Folders are searched whole, and what is left out is said, in the library and by every command that takes folders."""

import shutil
import warnings

import pytest
from notices import said

from nst_lightning.cli import main
from nst_lightning.errors import Notice
from nst_lightning.images import PictureError, expand_wildcards, list_pictures, read_picture

RAW = "camera raw, which must be developed to JPEG or TIFF first"


def test_what_is_left_out_is_counted_with_what_would_help(tmp_path, picture, no_heif):
    picture(40, 30).save(tmp_path / "a.jpg")
    picture(40, 30).save(tmp_path / "tile.png")
    (tmp_path / "tile.png").rename(tmp_path / "tile")
    for name in (
        "b.HEIC",
        "c.heic",
        "d.nef",
        "e.cr2",
        "f.mp4",
        "g.svg",
        "h.mpg",
        "Thumbs.db",
        "a.xmp",
        "n.txt",
        ".x.heic",
    ):
        (tmp_path / name).write_bytes(b"something")
    (tmp_path / "gone.jpg").symlink_to("nowhere.jpg")
    found, notices = said(list_pictures, tmp_path)
    assert [path.name for path in found] == ["a.jpg"]
    (notice,) = notices
    assert notice.startswith(f"{tmp_path}: 9 files left out: ")
    for part in (
        '.heic (2): pip install "nst-lightning[heic]" adds this format',
        f".nef (1), .cr2 (1): {RAW}",
        ".mp4 (1), .mpg (1): video, which `stylize` paints if it is given alone; else its frames must be pictures",
        ".svg (1): export to JPEG, PNG or TIFF first",
        ".jpg (1): links that lead nowhere",
        "no ending (1): pictures, but named without an ending such as .jpg",
    ):
        assert part in notice
    assert "txt" not in notice
    assert "\n" not in notice


@pytest.mark.parametrize(
    "name", ["a.pjpeg", "a.JIF", "a.pjp", "a.jpg_large", "a.jpeg-large", "a.png_large", "a.gif-small"]
)
def test_pictures_with_unusual_endings_are_counted(tmp_path, picture, name):
    picture(40, 30).save(tmp_path / "b.png")
    picture(40, 30).save(tmp_path / name, format="jpeg")
    for backup in ("b.jpeg~", "b.JPG.bak", "IMG_2024.03"):
        picture(40, 30).save(tmp_path / backup, format="jpeg")
    found, notices = said(list_pictures, tmp_path)
    assert found == [tmp_path / "b.png"]
    advice = "pictures, but named without an ending such as .jpg"
    assert notices == [f"{tmp_path}: 1 file left out: {(tmp_path / name).suffix.lower()} (1): {advice}"]
    assert read_picture(tmp_path / name).image.size == (40, 30)


def test_nothing_is_said_of_a_folder_that_is_used_whole(photos):
    assert len(said(list_pictures, photos)[0]) == 8
    assert not said(list_pictures, photos)[1]


def test_a_folder_without_readable_pictures_says_what_would_help(tmp_path):
    (tmp_path / "a.nef").write_bytes(b"raw")
    with pytest.raises(
        PictureError, match=rf"no pictures in this folder or below it; 1 file left out: \.nef \(1\): {RAW}"
    ):
        list_pictures(tmp_path)


def test_linked_folders_are_searched_once_and_loops_end(tmp_path, picture):
    for folder in ("photos/own", "elsewhere"):
        (tmp_path / folder).mkdir(parents=True)
        picture(40, 30).save(tmp_path / folder / "a.png")
    (tmp_path / "photos/a_link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "photos/another").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "photos/0_own_again").symlink_to(tmp_path / "photos/own")
    (tmp_path / "elsewhere/loop").symlink_to(tmp_path / "photos")
    (tmp_path / "photos/itself").symlink_to("itself")
    found, notices = said(list_pictures, tmp_path / "photos")
    assert [str(path.relative_to(tmp_path)) for path in found] == ["photos/a_link/a.png", "photos/own/a.png"]
    assert not notices


@pytest.mark.parametrize("target", ["..", "../.."])
def test_links_to_folders_around_are_not_searched(tmp_path, picture, target):
    for folder in ("in", "in/below", "elsewhere"):
        (tmp_path / "all" / folder).mkdir(parents=True)
        picture(40, 30).save(tmp_path / "all" / folder / "a.png")
    picture(40, 30).save(tmp_path / "all/other.png")
    (tmp_path / "all/in/loop").symlink_to(target)
    (tmp_path / "all/in/aside").symlink_to("../elsewhere")
    (tmp_path / "all/elsewhere/up").symlink_to(target)
    found, (notice,) = said(list_pictures, tmp_path / "all/in")
    names = [str(path.relative_to(tmp_path / "all/in")) for path in found]
    assert names == ["a.png", "aside/a.png", "below/a.png"]
    assert notice.endswith("/in: loop is a link to a folder around it, and is not searched")


def test_folders_of_devices_and_systems_are_not_searched(tmp_path, picture):
    for folder in (
        "@eaDir",
        "#recycle",
        "$RECYCLE.BIN",
        "System Volume Information",
        ".thumbnails",
        "__MACOSX",
        "2020",
    ):
        (tmp_path / "photos" / folder).mkdir(parents=True)
        picture(40, 30).save(tmp_path / "photos" / folder / "a.png")
    assert [path.parent.name for path in list_pictures(tmp_path / "photos")] == ["2020"]
    assert len(list_pictures(tmp_path / "photos/@eaDir")) == 1  # asked for by name


def test_a_folder_that_cannot_be_opened_is_named(tmp_path, picture, monkeypatch):
    from nst_lightning.images import folders

    picture(40, 30).save(tmp_path / "a.png")
    (tmp_path / "private").mkdir()
    scan = folders.os.scandir

    def refuse(path):
        if path.name == "private":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(folders.os, "scandir", refuse)
    found, notices = said(list_pictures, tmp_path)
    assert len(found) == 1
    assert notices == [f"{tmp_path}: private can't be opened (Permission denied)"]


def test_wildcards(tmp_path, monkeypatch, picture):
    monkeypatch.chdir(tmp_path)
    for name in ("photos/a.jpg", "photos/b.jpg", "photos/c[1].png", "photos/below/d.jpg", "photos/@eaDir/e.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        picture(40, 30).save(tmp_path / name)
    (tmp_path / "photos/notes.txt").write_text("not a picture")
    (tmp_path / "photos/x.nef").write_text("raw")

    def expanded(pattern):
        found, notices = said(expand_wildcards, pattern)
        return [str(path) for path in found], notices

    assert expanded("photos/*.jpg") == (["photos/a.jpg", "photos/b.jpg"], [])
    assert expanded("photos/c[1].png") == (["photos/c[1].png"], [])  # it exists
    assert expanded("photos/[ab].jpg") == (["photos/a.jpg", "photos/b.jpg"], [])
    assert expanded("photos/**/*.jpg") == (["photos/a.jpg", "photos/b.jpg", "photos/below/d.jpg"], [])
    assert expanded("pho*/below") == (["photos/below"], [])
    assert expanded("photos/new.jpg") == (["photos/new.jpg"], [])
    found, notices = expanded("photos/*")
    assert found == ["photos/a.jpg", "photos/b.jpg", "photos/below", "photos/c[1].png"]
    assert notices == [f"photos/*: 1 file left out: .nef (1): {RAW}"]
    for pattern, message in (
        ("photos/*.bmp", r"photos/\*.bmp: no picture fits this pattern"),
        ("photos/*.nef", rf"photos/\*.nef: no picture fits this pattern; 1 file left out: .nef \(1\): {RAW}"),
        ("photos/*.txt", r"photos/\*.txt: no picture fits this pattern"),
    ):
        with pytest.raises(PictureError, match=message):
            expand_wildcards(pattern)


def test_a_pattern_means_neither_the_output_nor_folders_without_pictures(tmp_path, monkeypatch, picture):
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "more/b.png", "out/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        picture(40, 30).save(tmp_path / name)
    for folder in ("empty", "texts", "raw"):
        (tmp_path / folder).mkdir()
    (tmp_path / "texts/notes.txt").write_text("no picture")
    (tmp_path / "raw/c.nef").write_text("raw")
    (tmp_path / "more/loop").symlink_to("..")

    def expanded(pattern, output="out"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Notice)
            return [str(path) for path in expand_wildcards(pattern, without=tmp_path / output)]

    assert expanded("*") == ["a.png", "more"]
    assert expanded("**/*.png") == ["a.png", "more/b.png"]
    assert expanded("out/*.png") == ["out/a.png"]
    assert expanded("more/*") == ["more/b.png"]
    assert expanded("*.png", output=".") == ["a.png"]
    assert expanded("out") == ["out"]
    with pytest.raises(
        PictureError, match=rf"r\*: no picture fits this pattern; raw: 1 file left out: .nef \(1\): {RAW}"
    ):
        expand_wildcards("r*")
    assert said(expand_wildcards, "[ar]*")[1] == [f"[ar]*: raw: 1 file left out: .nef (1): {RAW}"]


def test_stylize_and_optimize_do_the_same_the_second_time(
    tmp_path, monkeypatch, capsys, model, painting, compact_weights, picture
):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    for name in ("a.png", "b.png"):
        picture(60, 40).save(name)
    stylize = ["stylize", "--model", model]
    optimize = ["optimize", "*", "--style", painting, "--output", "outw", "--fast", "--compact", compact_weights, *TINY]
    for arguments, output in (
        ([*stylize, "*"], "out"),
        ([*stylize, "a.png", "b.png", "out"], "out"),
        ([*stylize, "--output", "./o.1", "*.png", "o.1/"], "o.1"),
        (optimize, "outw"),
    ):
        for _ in range(2):
            (tmp_path / "work" / output).mkdir(exist_ok=True)
            assert main(arguments) == 0
            assert sorted(path.name for path in (tmp_path / "work" / output).glob("*.png")) == ["a.png", "b.png"]
            assert not [path for path in (tmp_path / "work" / output).iterdir() if path.is_dir()]
        shutil.rmtree(output)
    assert main([*stylize, "a.png"]) == 0
    capsys.readouterr()
    assert main([*stylize, "out"]) == 2
    assert "output: out is the folder of photos itself" in capsys.readouterr().err


@pytest.fixture
def mixed(tmp_path, picture):
    """A folder with two photos, one of them animated, and a raw file."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    picture(140, 130).save(folder / "a.png")
    picture(140, 130, 1).save(folder / "moving.gif", save_all=True, append_images=[picture(140, 130, 2)])
    (folder / "c.nef").write_text("raw")
    return folder


SMALL = ["--compact", "compact.safetensors", "--vgg19", "null"]
TINY = ["--long-side", "48", "--iterations", "1", "--levels", "1", "--device", "cpu"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["stylize", "mixed", "--model", "style.onnx"],
        ["optimize", "mixed", "--style", "painting.png", "--output", "out", *SMALL, *TINY],
        [
            "evaluate",
            "network",
            "style.onnx",
            "--photos",
            "mixed",
            "--paintings",
            "painting.png",
            "--short-side",
            "128",
            *SMALL,
        ],
        [
            *["evaluate", "optimizer", "--photos", "mixed", "--paintings", "painting.png", "--method", "pyramid"],
            *["--seconds", "[0.1]", *SMALL, *TINY],
        ],
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_commands_say_each_thing_in_one_line(
    tmp_path, mixed, monkeypatch, capsys, model, painting, compact_weights, arguments
):
    monkeypatch.chdir(tmp_path)
    for file, name in ((model, "style.onnx"), (painting, "painting.png"), (compact_weights, "compact.safetensors")):
        shutil.copy(file, name)
    assert main(arguments) == 0
    errors = capsys.readouterr().err.splitlines()
    assert errors.count(f"nst-lightning: mixed: 1 file left out: .nef (1): {RAW}") == 1
    assert errors.count("nst-lightning: mixed/moving.gif: only the first of 2 frames is used") == 1
    assert not [line for line in errors if "Notice" in line]


def test_fit_and_predict_say_it_too(tmp_path, mixed, config, capfd):
    data = ["--data.train", str(mixed), "--data.val", str(mixed), "--data.workers", "2"]
    quick = ["--sheet.every_n_steps", "0", "--export.filename=", "--trainer.max_steps", "2"]
    assert main(["fit", "--config", config, *data, *quick]) == 0
    checkpoint = tmp_path / "runs/version_0/checkpoints/last.ckpt"
    told = [f"{mixed}: 1 file left out: .nef (1): {RAW}", f"{mixed}/moving.gif: only the first of 2 frames is used"]
    errors = capfd.readouterr().err.splitlines()
    assert [errors.count(f"nst-lightning: {line}") for line in told] == [1, 1]
    predict = ["--data.predict", str(mixed), "--writer.output", str(tmp_path / "out"), "--ckpt_path", str(checkpoint)]
    assert main(["predict", "--config", config, *predict]) == 0
    errors = capfd.readouterr().err.splitlines()
    assert [errors.count(f"nst-lightning: {line}") for line in told] == [1, 1]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png.png", "moving.gif.png"]
