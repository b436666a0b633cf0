import errno
import json
import os
import shlex
import signal

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from nst_lightning.cli import main
from nst_lightning.commands import optimize_files
from nst_lightning.commands.optimize_files import Files
from nst_lightning.commands.optimize_progress import Meter
from nst_lightning.commands.warm_start import load_init
from nst_lightning.images import WritingOptions, read_picture, resize_short_side, write_picture
from nst_lightning.inference import DEFAULT_MODEL, Stylizer
from nst_lightning.inference.stylizer import LEAST_FIRST_SIDE
from nst_lightning.optimization import Level, UnexpectedError


@pytest.fixture
def request_of(tmp_path, picture, painting, compact_weights):
    """Arguments of `optimize` for a small picture."""
    photo = picture(80, 60).convert("RGBA")
    photo.putalpha(Image.new("L", photo.size, 90))
    photo.save(tmp_path / "photo.png")
    small = ["--long-side", "64", "--levels", "2", "--iterations", "3", "--vgg19", "null", "--compact", compact_weights]
    target = str(tmp_path / "out/picture.png")
    return [str(tmp_path / "photo.png"), "--style", painting, "--output", target, *small]


def test_the_command_writes_the_picture_and_its_record(tmp_path, request_of, painting):
    more = ["--style", painting, "--blend-weight", "1", "--blend-weight", "3", "--style-weight", "7", "--preview", "2"]
    assert main(["optimize", *request_of, *more, "--geometric-weights"]) == 0
    with Image.open(tmp_path / "out/picture.png") as made:
        assert made.mode == "RGBA"
        assert made.size == (64, 48)
        assert made.getpixel((0, 0))[3] == 90
    record = json.loads((tmp_path / "out/picture.png.json").read_text())
    assert record["options"]["objective"]["style_weight"] == 7
    assert record["options"]["objective"]["geometric_weights"] is True
    assert record["versions"]["torch"] == torch.__version__
    assert len(record["iterations"]) >= 4
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["picture.png", "picture.png.json"]


def test_the_record_makes_the_picture_again(tmp_path, request_of, painting):
    more = [
        "--style",
        painting,
        "--blend-weight",
        "1",
        "--blend-weight",
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


@pytest.mark.parametrize(
    ("options", "encoder"),
    [
        ([], "CompressedVGG (bundled)"),
        (["--fast"], "CompactEncoder (bundled)"),
        (["--fast", "--vgg19", "null"], "CompactEncoder (bundled)"),
    ],
)
def test_the_default_encoder_and_the_fast_one(tmp_path, picture, painting, options, encoder):
    picture(80, 60).save(tmp_path / "photo.png")
    tiny = ["--long-side", "48", "--levels", "1", "--iterations", "1", "--style-scales", "{1: 1}", "--device", "cpu"]
    call = [str(tmp_path / "photo.png"), "--style", painting, "--output", str(tmp_path / "picture.png"), *tiny]
    assert main(["optimize", *call, *options]) == 0
    record = json.loads((tmp_path / "picture.png.json").read_text())
    assert record["encoder"] == encoder
    made = (tmp_path / "picture.png").read_bytes()
    assert main(shlex.split(record["command"])[3:]) == 0
    assert json.loads((tmp_path / "picture.png.json").read_text())["encoder"] == encoder
    assert (tmp_path / "picture.png").read_bytes() == made


@pytest.mark.skipif(os.name == "nt", reason="Windows can't send these signals")
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_the_command_is_interrupted_and_resumed(tmp_path, request_of, monkeypatch, name, code):
    request_of[request_of.index("--iterations") + 1] = "20"
    whole, target = tmp_path / "out/whole.png", tmp_path / "out/picture.png"
    assert main(["optimize", *[str(whole) if item == str(target) else item for item in request_of]]) == 0
    calls = []

    def interrupt(self, progress):
        calls.append(progress)
        if len(calls) == 30:
            os.kill(os.getpid(), getattr(signal, name))

    with monkeypatch.context() as patch:
        patch.setattr(Meter, "__call__", interrupt)
        assert main(["optimize", *request_of]) == code
    assert (tmp_path / "out/picture.png.state").exists()
    assert target.read_bytes() != whole.read_bytes()
    assert main(["optimize", *request_of, "--resume", "--max-memory", "8"]) == 0  # less memory need not stop it
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
    write_picture(tmp_path / "deep.png", values, WritingOptions(bits=16))
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


def paint_as_large(init, photo):
    """What a network paints of a photo for a level of the same size."""
    return load_init(init).paint(photo, [Level(*photo.size, iterations=1, history=1)])


@pytest.mark.parametrize("larger", [False, True])
def test_a_style_that_comes_with_the_package_paints_the_start(picture, larger):
    stylizer = Stylizer(DEFAULT_MODEL)
    size = stylizer.trained_short_side("udnie")
    least = max(size, LEAST_FIRST_SIDE)  # above which a stylizer paints coarse to fine, unless it is asked not to
    photo = picture(least + 40, least + 20) if larger else picture(60, 48)
    painted = stylizer(photo if larger else resize_short_side(photo, size), style="udnie", strokes="native")
    expected = painted.resize(photo.size, Image.Resampling.LANCZOS)
    assert np.array_equal(paint_as_large("udnie", photo), expected)
    assert np.array_equal(paint_as_large(f"{DEFAULT_MODEL}:udnie", photo), expected)


def test_a_style_with_a_dot_in_its_name_paints_the_start(tmp_path, picture, many_model):
    path, model = tmp_path / "mine.ONNX", onnx.load(many_model)
    (names,) = (entry for entry in model.metadata_props if entry.key == "styles")
    names.value = json.dumps(["ink", "st.ives", "wood"])
    onnx.save(model, path)
    photo = picture(60, 48)
    expected = Stylizer(path)(photo, style="st.ives")
    assert np.array_equal(paint_as_large(f"{path}:st.ives", photo), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--output", "out.gif"], "out.gif: can't write this kind of file"),
        (["--output", "out.jpg", "--bits", "16"], "out.jpg: bits must be 8"),
        (["--blend-weight", "1", "--blend-weight", "2"], "blend_weight must be one for each painting: 1, got 2"),
        (["--style-layers", "{relu9_1: 1}"], "unknown layer 'relu9_1'"),
        (["--long-side", "40"], "too small"),
        (
            ["--long-side", "64", "--margin", "60"],
            "margin must be less than the short side of the smallest level, 48, got 60",
        ),
        (
            ["--mask", "photo.png", "--mask", "photo.png"],
            "mask must be one for each painting, in the same order: 1, got 2",
        ),
        (["--resume"], "out.png.state is missing: there is nothing to resume"),
        (["--max-memory", "0.01"], "max_memory must be >= "),
        (["--output", "photo.png"], "output: photo.png would overwrite the input photo.png"),
        (["--optimizer", "sgd"], "optimizer"),
        (["--average", "0.9"], "average must be 0 unless the optimizer is adam, got 0.9"),
        (["--device", "abacus"], "device must be auto, cpu, cuda or mps, and available, got 'abacus'"),
        (["--preview", "-1"], "preview"),
        (["--max-memory", ".inf"], "max_memory must be > 0, got inf"),
        (["--max-memory", "0"], "max_memory must be > 0, got 0.0"),
        (["--init", "none.onnx"], "none.onnx"),
        (["--vgg19", "imagenet"], "fast must be left out if vgg19 is given, or if compact is null, got True"),
        (["--compact", "null"], "fast must be left out if vgg19 is given, or if compact is null, got True"),
        (["--init", "graet_wave"], "did you mean great_wave?"),
        (["--init", "johnson_great_wave:ink"], "this network has one style"),
        (["--style", "other.png", "--output", "other.png"], "output: other.png would overwrite the input other.png"),
        (["--output", "folder.png"], "folder.png: is a folder, not a file"),
        (["--output", "photo.png/out.png"], "photo.png/out.png: can't be written: "),
        (
            ["--long-side", "70000", "--max-memory", "1e6", "--output", "out.jpg"],
            "the sides of a JPEG must be <= 65500 pixels",
        ),
    ],
)
def test_bad_requests(tmp_path, monkeypatch, picture, painting, compact_weights, capsys, change, message):
    monkeypatch.chdir(tmp_path)
    picture(80, 60).save("photo.png")
    picture(80, 60).save("other.png")
    (tmp_path / "folder.png").mkdir()
    arguments = [
        "photo.png",
        "--style",
        painting,
        "--output",
        "out.png",
        "--fast",
        "--compact",
        compact_weights,
        *change,
    ]
    assert main(["optimize", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["folder.png", "other.png", "photo.png"]


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
    def full(*_, **__):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(optimize_files, "write_picture", full)
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


@pytest.mark.parametrize(("owner", "fails"), [(Files, "write_state"), (optimize_files, "write_picture")])
def test_what_cannot_be_written_does_not_cost_the_rest(tmp_path, request_of, monkeypatch, capsys, owner, fails):
    def interrupt(self, progress):
        raise KeyboardInterrupt

    def full(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(Meter, "__call__", interrupt)
    monkeypatch.setattr(owner, fails, full)
    assert main(["optimize", *request_of]) == 130
    assert "disk full" in capsys.readouterr().err
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert left == ({"picture.png", "picture.png.json"} if fails == "write_state" else {"picture.png.state"})


def test_a_bug_keeps_the_state_and_shows_its_traceback(tmp_path, request_of, monkeypatch):
    def fail(self, progress):
        raise RuntimeError("shapes cannot be multiplied")

    with monkeypatch.context() as patch:
        patch.setattr(Meter, "__call__", fail)
        with pytest.raises(UnexpectedError, match="shapes cannot be multiplied") as raised:
            main(["optimize", *request_of])
    assert isinstance(raised.value.__cause__, RuntimeError)
    assert main(["optimize", *request_of, "--resume"]) == 0


def test_memory_that_runs_out_is_one_line(tmp_path, request_of, monkeypatch, capsys):
    def fail(self, progress):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr(Meter, "__call__", fail)
    assert main(["optimize", *request_of]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("nst-lightning: optimize: DefaultCPUAllocator: can't")
    assert (tmp_path / "out/picture.png.state").exists()


def test_a_bug_at_one_photo_of_a_folder_does_not_cost_the_others(tmp_path, request_of, picture, monkeypatch, capsys):
    (tmp_path / "photos").mkdir()
    for name in ("a.png", "b.png"):
        picture(80, 60).save(tmp_path / "photos" / name)
    real = Files.write

    def fail(self, result):
        if self.target.name == "a.png":
            raise TypeError("a bug")
        real(self, result)

    monkeypatch.setattr(Files, "write", fail)
    arguments = [str(tmp_path / "photos"), *request_of[1:]]
    arguments[arguments.index("--output") + 1] = str(tmp_path / "made")
    with pytest.raises(TypeError, match="a bug"):
        main(["optimize", *arguments])
    assert f"nst-lightning: {tmp_path}/photos/a.png: a bug" in capsys.readouterr().err
    assert {path.name for path in (tmp_path / "made").iterdir()} == {"a.png.state", "b.png", "b.png.json"}


def test_a_full_disk_stops_a_folder(tmp_path, request_of, picture, monkeypatch, capsys):
    (tmp_path / "photos").mkdir()
    for name in ("a.png", "b.png", "c.png"):
        picture(80, 60).save(tmp_path / "photos" / name)
    real, tried = Files.write, []

    def write(self, result):
        tried.append(self.target.name)
        if self.target.name == "b.png":
            raise OSError(errno.ENOSPC, "No space left on device")
        real(self, result)

    monkeypatch.setattr(Files, "write", write)
    arguments = [str(tmp_path / "photos"), *request_of[1:]]
    arguments[arguments.index("--output") + 1] = str(tmp_path / "made")
    assert main(["optimize", *arguments]) == 1
    assert tried == ["a.png", "b.png"]
    *_, problem, end = capsys.readouterr().err.splitlines()
    assert problem == f"nst-lightning: {tmp_path}/photos/b.png: No space left on device"
    assert end == "nst-lightning: optimize: the disk is full; the same command with --resume goes on"


def test_one_picture_is_made_by_one_process(tmp_path, request_of, capsys, monkeypatch):
    found = []

    def start_another(self, progress):
        if not found:
            found.append(0)
            found[0] = main(["optimize", *request_of])

    with monkeypatch.context() as patch:
        patch.setattr(Meter, "__call__", start_another)
        assert main(["optimize", *request_of]) == 0
    assert found == [2]
    assert f"output: {tmp_path}/out/picture.png is being made by another process" in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["picture.png", "picture.png.json"]
