import copy
import multiprocessing
import pickle
import shutil
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from conftest import with_metadata
from PIL import Image

from nst_lightning.cli import main
from nst_lightning.images import image_to_array, resize_short_side
from nst_lightning.inference import ModelError, Stylizer


def test_stylizer_does_what_the_network_does(network, model, picture):
    photo = picture(70, 51)
    result = Stylizer(model, threads=1)(photo)
    expected = network(torch.from_numpy(image_to_array(photo))[None])[0].detach().numpy()
    assert result.size == photo.size
    np.testing.assert_allclose(image_to_array(result), expected, atol=0.6 / 255)
    assert Stylizer(model).metadata["style"] == "test"


@pytest.mark.parametrize(
    ("options", "controls"),
    [
        ({}, ([1, 0, 0], 1, 0)),
        ({"style": "glass"}, ([0, 1, 0], 1, 0)),
        ({"style": "glass:3, ink", "strength": 0.4}, ([0.25, 0.75, 0], 0.4, 0)),
        ({"style": {"wood": 2, "ink": 2}, "preserve_color": 1}, ([0.5, 0, 0.5], 1, 1)),
        ({"style": "ink:1e308,wood:1e308,ink:1e308"}, ([2 / 3, 0, 1 / 3], 1, 0)),
        ({"strength": 0}, ([1, 0, 0], 0, 0)),
    ],
)
def test_styles_strength_and_colors(many, many_model, picture, options, controls):
    photo, (style, strength, keep) = picture(70, 51), controls
    stylizer = Stylizer(many_model)
    assert stylizer.styles == ["ink", "glass", "wood"]
    tensors = (torch.from_numpy(image_to_array(photo))[None], *map(torch.tensor, (style, [strength], [keep])))
    expected = many(*tensors)[0].detach().numpy()
    np.testing.assert_allclose(image_to_array(stylizer(photo, **options)), expected, atol=0.6 / 255)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"style": "glas"}, "style: there is no 'glas'; did you mean glass"),
        ({"style": "INK"}, "style: there is no 'INK'; did you mean ink"),
        ({"style": "las"}, "style: there is no 'las'; did you mean glass"),
        ({"style": "wode"}, "style: there is no 'wode'; did you mean wood"),
        ({"style": "van_gogh"}, "style: there is no 'van_gogh'; styles: ink, glass, wood"),
        ({"style": "ink:much"}, "style must be a name, or NAME:WEIGHT, got 'ink:much'"),
        ({"style": {"ink": 1, "wood": -1}}, "style: the weight of wood must be >= 0, got -1"),
        ({"style": "ink:-1,ink:2"}, "style: the weight of ink must be >= 0, got -1.0"),
        ({"style": "ink:inf"}, "style: the weight of ink must be >= 0, got inf"),
        ({"style": {}}, "style must have a weight > 0, got {}"),
        ({"style": "ink:nan"}, "style: the weight of ink must be >= 0, got nan"),
        ({"style": "ink:0"}, "style must have a weight > 0, got 'ink:0'"),
        ({"style": ""}, "style: there is no ''"),
        ({"strength": 1.5}, "strength must be from 0 to 1, got 1.5"),
        ({"preserve_color": float("nan")}, "preserve_color must be from 0 to 1, got nan"),
    ],
)
def test_bad_styles(many_model, picture, options, message):
    with pytest.raises(ValueError, match=message):
        Stylizer(many_model)(picture(40, 40), **options)


@pytest.mark.parametrize("styles", [None, "no JSON", '["ink"]', "3"])
def test_styles_without_their_names(many_model, tmp_path, styles):
    model = onnx.load(many_model)
    onnx.helper.set_model_props(model, {} if styles is None else {"styles": styles})
    onnx.save(model, tmp_path / "nameless.onnx")
    with pytest.raises(ModelError, match=r"nameless.onnx takes weights of styles, \[3\], but its metadata doesn't"):
        Stylizer(tmp_path / "nameless.onnx")


def test_a_sheet_does_not_overwrite_its_photo(many_model, tmp_path, picture, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    picture(60, 40).save("styles.jpg")  # which sheets are called by default
    before = Path("styles.jpg").read_bytes()
    assert main(["styles", "styles.jpg", "--model", many_model]) == 2
    assert "output: styles.jpg would overwrite the input styles.jpg" in capsys.readouterr().err
    assert Path("styles.jpg").read_bytes() == before


@pytest.mark.parametrize("count", [0, 1, 2])
def test_styles_are_listed_and_drawn(many_model, tmp_path, picture, capsys, count):
    files = []
    for i in range(count):
        files.append(str(tmp_path / f"{i}.png"))
        picture(60, 40, seed=i).save(files[-1])
    sheet = tmp_path / "sheet.png"
    output = ["--output", str(sheet)] if files else []
    assert main(["styles", *files, "--model", many_model, *output, "--height", "40"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["ink", "glass", "wood"]
    assert sheet.is_file() == bool(count)
    if count:
        assert lines[3] == str(sheet)
        with Image.open(sheet) as drawn:  # four pictures beside each other, or two on four rows
            assert (drawn.width > 4 * 60, drawn.height > 4 * 40) == ((True, False) if count == 1 else (False, True))


@pytest.mark.parametrize(("size", "painted_at"), [(40, 64), (80, 80)])
def test_sheets_are_painted_as_large_as_the_network_was_trained(many_model, tmp_path, picture, size, painted_at):
    photo, sheet = tmp_path / "photo.png", tmp_path / "sheet.png"
    model = with_metadata(many_model, tmp_path / "styles.onnx", {"size": "64"})
    picture(60, 40).save(photo)
    arguments = [str(photo), "--model", model, "--output", str(sheet), "--height", str(size)]
    assert main(["styles", *arguments]) == 0
    painted = Stylizer(model)(resize_short_side(Image.open(photo), painted_at), style="ink")
    cell = painted.resize((round(painted.width * size / painted.height), size), Image.Resampling.LANCZOS)
    margin = max(4, size // 24)
    left = margin + resize_short_side(Image.open(photo), painted_at).resize(cell.size).width + margin
    found = Image.open(sheet).crop((left, margin, left + cell.width, margin + size))
    assert found.tobytes() == cell.tobytes()


def test_photos_are_read_before_styles_are_listed(many_model, tmp_path, capsys):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    assert main(["styles", str(tmp_path / "broken.png"), "--model", many_model]) != 0
    said = capsys.readouterr()
    assert (said.out, len(said.err.splitlines())) == ("", 1)


def test_a_picture_beside_a_network_is_not_its_sheet(many_model, tmp_path, picture, capsys):
    model = shutil.copy(many_model, tmp_path / "mine.onnx")
    picture(60, 40).save(tmp_path / "mine.jpg")
    assert main(["styles", "--model", str(model)]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["ink", "glass", "wood"]


def test_the_bundled_styles_have_a_sheet(capsys):
    assert main(["styles"]) == 0
    *names, sheet = capsys.readouterr().out.splitlines()
    assert len(names) == len(Stylizer("styles").styles)
    assert (Path(sheet).name, Path(sheet).is_file()) == ("styles.jpg", True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["styles", "--output", "sheet.png"], "output needs a photo to draw, got sheet.png without one"),
        (["styles", "--height", "0"], "height must be >= 32, got 0"),
        (["stylize", "photo.png", "--short-side", "10"], "short_side must be >= 32, got 10"),
    ],
)
def test_bad_requests_are_refused_at_once(tmp_path, picture, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    picture(40, 40).save("photo.png")
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", f"nst-lightning: {arguments[0]}: {message}\n")


@pytest.mark.parametrize(("metadata", "size"), [({}, None), ({"size": "160"}, 160), ({"size": "large"}, None)])
def test_the_size_of_the_photos_it_was_trained_on(tmp_path, model, metadata, size):
    assert Stylizer(with_metadata(model, tmp_path / "style.onnx", metadata)).trained_short_side() == size


@pytest.mark.parametrize(("sizes", "expected"), [('{"ink": 96}', [96, 160]), ("[96]", [160, 160]), ("{", [160, 160])])
def test_styles_may_have_been_trained_at_different_sizes(tmp_path, many_model, sizes, expected):
    stylizer = Stylizer(with_metadata(many_model, tmp_path / "styles.onnx", {"size": "160", "sizes": sizes}))
    assert [stylizer.trained_short_side(style) for style in ("ink", "wood")] == expected
    assert stylizer.trained_short_side() == expected[0]  # of the first style


def test_a_network_of_one_style_has_no_list(model, capsys):
    assert main(["styles", "--model", model]) == 2
    assert capsys.readouterr().err.endswith("has one style, test\n")


@pytest.mark.parametrize("options", [{"style": "ink"}, {"strength": 0.5}, {"preserve_color": 1}])
def test_a_network_of_one_style_has_nothing_to_adjust(model, picture, options):
    with pytest.raises(ValueError, match="this network has one style, and nothing to adjust"):
        Stylizer(model)(picture(40, 40), **options)


@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK"])
def test_any_mode(model, picture, mode):
    assert Stylizer(model)(picture(40, 40).convert(mode)).mode == "RGB"


def test_size_scales_the_short_side(model, picture):
    assert Stylizer(model)(picture(200, 100), short_side=50).size == (100, 50)
    assert Stylizer(model)(picture(20, 30), short_side=40).size == (40, 60)


@pytest.mark.parametrize(
    ("size", "option", "message"),
    [
        ((20, 64), None, "20x64 is too small"),
        ((64, 64), 31, "short_side must be >= 32, got 31"),
        ((64, 128), 20_000, "short_side: 20000x40000 are 800 megapixels, and at most 500 are allowed"),
    ],
)
def test_too_small(model, picture, size, option, message):
    with pytest.raises(ValueError, match=message):
        Stylizer(model)(picture(*size), short_side=option)


def foreign_model(path):
    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 10])
    y = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 10])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=9), path)


def test_photos_are_turned_upright(model, tmp_path, picture):
    exif = Image.Exif()
    exif[0x0112] = 8
    picture(60, 40).save(tmp_path / "phone.jpg", exif=exif)
    assert Stylizer(model)(Image.open(tmp_path / "phone.jpg")).size == (40, 60)


def test_sixteen_bit_pictures_keep_their_tones(model, picture):
    gray = picture(40, 40).convert("L")
    sixteen = Image.fromarray(np.asarray(gray).astype(np.uint16) * 257)
    np.testing.assert_array_equal(np.asarray(Stylizer(model)(sixteen)), np.asarray(Stylizer(model)(gray)))


def test_stylizers_can_be_pickled(many_model, tmp_path, monkeypatch, picture):
    monkeypatch.chdir(tmp_path)
    file = shutil.copy(many_model, "styles.onnx")
    stylizer = Stylizer(file, threads=1, providers=["CPUExecutionProvider"])
    kept = pickle.dumps(stylizer)
    monkeypatch.chdir("/")  # the path need not be absolute
    expected = stylizer(picture(60, 40))
    for copied in (pickle.loads(kept), copy.deepcopy(stylizer), copy.copy(stylizer)):
        assert copied.styles == stylizer.styles
        assert copied(picture(60, 40)) == expected
    assert b"zoo" not in pickle.dumps(Stylizer("styles"))  # a bundled network has a name on every machine
    assert pickle.loads(pickle.dumps(Stylizer("styles"))).styles == Stylizer("styles").styles
    Path(tmp_path, "styles.onnx").unlink()
    with pytest.raises(ModelError, match=r"no such file: .*styles\.onnx"):
        pickle.loads(kept)


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_stylizers_work_in_other_processes(many_model, picture, method):
    stylizer, photo = Stylizer(many_model, threads=2), picture(60, 40)
    expected = stylizer(photo)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as pool:
        assert pool.submit(stylizer, photo, style="ink").result(timeout=60) == expected


def test_a_failing_run_is_one_line(model, picture, monkeypatch):
    stylizer = Stylizer(model)

    class Failing:
        def run(self, *_):
            raise Exception("bad allocation\nmore")

    monkeypatch.setattr(stylizer, "_session", Failing())
    with pytest.raises(RuntimeError, match=r"a photo of 60x40 could not be stylized \(bad allocation\)$"):
        stylizer(picture(60, 40))


def test_bad_models(tmp_path, model):
    with pytest.raises(ModelError, match="no such file"):
        Stylizer(tmp_path / "nowhere.onnx")
    whole = Path(model).read_bytes()
    for content in (b"", b"garbage", whole[: len(whole) // 2]):
        (tmp_path / "bad.onnx").write_bytes(content)
        with pytest.raises(ModelError, match=r"bad\.onnx is (damaged|no transfer)"):
            Stylizer(tmp_path / "bad.onnx")
    foreign_model(tmp_path / "foreign.onnx")
    with pytest.raises(ModelError, match=r"not a transfer network for photos: x tensor\(float\) \[1, 10\]"):
        Stylizer(tmp_path / "foreign.onnx")


def test_starts_without_torch_in_well_under_a_second():
    code = "import sys, nst_lightning.commands.stylize; assert 'torch' not in sys.modules, 'torch'"
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    assert time.perf_counter() - start < 10  # a guard against a heavy import, not a measurement
