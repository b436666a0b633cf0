"""Files that are no pictures, or no good ones: every command refuses them in one line, and leaves nothing behind."""

import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from conftest import draw
from PIL import Image

from nst_lightning.cli import main
from nst_lightning.commands.stylize_photos import PhotoPainter
from nst_lightning.commands.worker_pool import Saving
from nst_lightning.images import PictureError, WritingOptions, check_writable, read_picture
from nst_lightning.images.paths import parent_folder


def claim(path, width, height):
    """A PNG whose header states a size, and which has no pixels."""

    def chunk(kind, data):
        return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))

    header = struct.pack(">LLBBBBB", width, height, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))


def cut(share, kind):
    def make(path):
        draw(80, 64).save(path, kind)
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])

    return make


def device(path):
    if not Path("/dev/zero").exists():
        pytest.skip("there are no devices")
    path.symlink_to("/dev/zero")


def pipe(path):
    if not hasattr(os, "mkfifo"):
        pytest.skip("there are no pipes")
    os.mkfifo(path)


KINDS = {
    "empty": (lambda path: path.write_bytes(b""), "not a picture that can be read"),
    "text": (lambda path: path.write_text("Dear reader,\n" * 99), "not a picture that can be read"),
    "truncated JPEG": (cut(0.5, "JPEG"), "can't be read (image file is truncated"),
    "truncated PNG": (cut(0.5, "PNG"), "can't be read (image file is truncated"),
    "truncated WebP": (cut(0.5, "WEBP"), "can't be read (could not create decoder object"),
    "truncated GIF": (cut(0.5, "GIF"), "can't be read (image file is truncated"),
    "truncated TIFF": (cut(0.5, "TIFF"), "can't be read"),
    "header of a TIFF": (cut(0.001, "TIFF"), "can't be read: damaged, or a kind of TIFF"),
    "header of a PNG": (cut(0.004, "PNG"), "can't be read"),
    "30,000 x 30,000": (
        lambda path: claim(path, 30_000, 30_000),
        "30000x30000 are 900 megapixels, and at most 500 are allowed; to raise the limit, set the environment variable "
        "NST_MAX_MEGAPIXELS",
    ),
    "no pixels": (lambda path: claim(path, 0, 0), "not a picture that can be read"),
    "endless": (device, "is a device or a pipe, not a file"),
    "pipe": (pipe, "is a device or a pipe, not a file"),
}
kinds = pytest.mark.parametrize(("make", "problem"), KINDS.values(), ids=KINDS)


YARDSTICK = ["--vgg19", "null", "--compact"]


def entries(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@kinds
@pytest.mark.parametrize("options", [[], ["--frames", "all"]], ids=["first", "all"])
def test_stylize(tmp_path, monkeypatch, model, capsys, make, problem, options):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "bad.jpg")
    assert main(["stylize", "bad.jpg", "--model", model, "--output", "new/out/", *options]) == 1
    out, err = capsys.readouterr()
    assert not out
    assert len(err.splitlines()) == 1
    assert err.startswith(f"nst-lightning: stylize: bad.jpg: {problem}")
    assert entries(tmp_path) == ["bad.jpg"]


@kinds
def test_styles(tmp_path, monkeypatch, many_model, capsys, make, problem):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "bad.jpg")
    assert main(["styles", "bad.jpg", "--model", many_model, "--output", "new/sheet.png"]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert len(err.splitlines()) == 1
    assert err.startswith(f"nst-lightning: styles: photos: bad.jpg: {problem}")
    assert entries(tmp_path) == ["bad.jpg"]


@kinds
@pytest.mark.parametrize("argument", ["photo", "style", "mask"])
def test_optimize(tmp_path, monkeypatch, compact_weights, capsys, make, problem, argument):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "bad.jpg")
    draw(64, 64).save(tmp_path / "good.png")
    files = {"photo": "good.png", "style": "good.png", "mask": "good.png"} | {argument: "bad.jpg"}
    options = ["--style", files["style"], "--mask", files["mask"], "--fast", "--compact", compact_weights]
    assert main(["optimize", files["photo"], *options, "--output", "new/out.png"]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert len(err.splitlines()) == 1
    assert err.startswith(f"nst-lightning: optimize: {argument}: bad.jpg: {problem}")
    assert entries(tmp_path) == ["bad.jpg", "good.png"]


@kinds
def test_evaluate_pictures(tmp_path, monkeypatch, compact_weights, capsys, make, problem):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "bad.jpg")
    draw(64, 64).save(tmp_path / "good.png")
    arguments = ["bad.jpg", "--photos", "good.png", "--paintings", "good.png", *YARDSTICK, compact_weights]
    assert main(["evaluate", "pictures", *arguments]) == 2
    assert f": pictures: bad.jpg: {problem}" in capsys.readouterr().err
    assert entries(tmp_path) == ["bad.jpg", "good.png"]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_one_line_for_each_file_of_a_folder(tmp_path, monkeypatch, model, capfd, workers):
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    problems = []
    for number, (make, problem) in enumerate(KINDS.values()):
        if make not in (device, pipe):  # which aren't files, and so left out of folders
            make(tmp_path / f"photos/{number:02}.jpg")
            problems.append(f"nst-lightning: photos/{number:02}.jpg: {problem}")
    assert main(["stylize", "photos", "--model", model, "--output", "new/out", "--workers", workers]) == 1
    out, err = capfd.readouterr()
    *lines, end = err.splitlines()
    assert not out
    assert [line.startswith(problem) for line, problem in zip(lines, problems, strict=True)] == [True] * len(problems)
    assert end == f"nst-lightning: stylize: {len(lines)} of {len(lines)} photos could not be stylized, see above"
    assert not Path("new").exists()


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("count", [1, 2])
def test_too_little_memory_leaves_no_folder(tmp_path, model, capsys, workers, count):
    for number in range(count):
        draw(80, 64).save(tmp_path / f"{number}.png")
    photos = [str(path) for path in tmp_path.iterdir()]
    options = ["--model", model, "--max-memory", "0.01", "--workers", workers, "--output", str(tmp_path / "new/out")]
    assert main(["stylize", *photos, *options]) == 1
    assert "max_memory must be >= " in capsys.readouterr().err
    assert entries(tmp_path) == [f"{number}.png" for number in range(count)]


def test_pictures_under_the_name_of_another_format_are_read(tmp_path):
    for kind in ("PNG", "GIF", "WEBP", "TIFF"):
        draw(80, 64).save(tmp_path / "a.jpg", kind)
        assert read_picture(tmp_path / "a.jpg").size == (80, 64)


def test_a_folder_is_not_a_picture(tmp_path):
    with pytest.raises(PictureError, match=r": is a folder, not a file$"):
        read_picture(tmp_path)


def test_missing_memory_is_named(tmp_path, monkeypatch):
    def fail(*_):
        raise MemoryError

    draw(80, 64).save(tmp_path / "a.png")
    monkeypatch.setattr(Image.Image, "convert", fail)
    with pytest.raises(PictureError, match=r"a\.png: can't be read \(there is not enough memory\)"):
        read_picture(tmp_path / "a.png")


def test_folders_are_removed_unless_something_is_in_them(tmp_path):
    with parent_folder(tmp_path / "a/b/c.png") as folder:
        assert folder.is_dir()
    assert entries(tmp_path) == ["a", "a/b"]
    for name in ("a/b/c.png", "a/d/e/f.png", "g/h.png"):
        with pytest.raises(KeyError), parent_folder(tmp_path / name):
            raise KeyError

    def fail_late(file):
        file.touch()
        raise KeyError

    with pytest.raises(KeyError), parent_folder(tmp_path / "i/j/k.png") as folder:
        fail_late(folder.parent / "other.txt")
    assert entries(tmp_path) == ["a", "a/b", "i", "i/other.txt"]


def test_a_check_leaves_nothing(tmp_path):
    assert check_writable(tmp_path / "a/b/c.png") == tmp_path / "a/b/c.png"
    assert not entries(tmp_path)
    (tmp_path / "file").touch()
    for name, problem in (("file/b/c.png", "Not a directory"), (f"{'a' * 300}.png", "File name too long")):
        with pytest.raises(PictureError, match=f"can't be written: {problem}"):
            check_writable(tmp_path / name)
    assert entries(tmp_path) == ["file"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
def test_a_full_disk_leaves_nothing(tmp_path, model, monkeypatch):
    draw(80, 64).save(tmp_path / "a.png")
    save = Image.Image.save
    monkeypatch.setattr(Image.Image, "save", lambda image, path, **options: save(image, "/dev/full", **options))
    painter = PhotoPainter(model, 1, {"short_side": None}, {}, WritingOptions())
    outcome = painter((tmp_path / "a.png", tmp_path / "new/out/a.png"), Saving())
    assert outcome.disk_full
    assert entries(tmp_path) == ["a.png"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_names_that_are_no_text(tmp_path, model, encoding, workers):
    """They are kept in the names of pictures, and in all that is printed some signs stand for them."""
    name = os.fsencode(tmp_path) + b"/caf\xe9\xff"
    draw(80, 64).save(tmp_path / "a.png")
    Path(os.fsdecode(name)).mkdir()
    (tmp_path / "a.png").rename(os.fsdecode(name + b"/\xe9.png"))
    Path(os.fsdecode(name + b"/\xe8.png")).write_bytes(b"")
    Path(os.fsdecode(name + b"/\xe7.onnx")).write_bytes(Path(model).read_bytes())
    command = [sys.executable, "-m", "nst_lightning", "stylize", name, "--model", name + b"/\xe7.onnx"]
    environment = os.environ | {"LC_ALL": "C", "PYTHONIOENCODING": encoding}
    options = ["--output", os.fsencode(tmp_path) + b"/\xea", "--workers", workers]
    done = subprocess.run([*command, *options], env=environment, capture_output=True, check=False)
    problem, end = done.stderr.splitlines()
    assert done.returncode == 1
    assert problem.endswith(b".png: not a picture that can be read")
    assert end == b"nst-lightning: stylize: 1 of 2 photos could not be stylized, see above"
    assert done.stdout.endswith(b".png\n")
    assert entries(Path(os.fsdecode(options[1]))) == [os.fsdecode(b"\xe9.png")]
