import pytest
import torch
from conftest import with_metadata

from nst_lightning.cli import main
from nst_lightning.commands.paintings import find_paintings
from nst_lightning.encoders import CompactEncoder, image_to_tensor
from nst_lightning.images import read_rgb, resize_short_side
from nst_lightning.inference import Stylizer
from nst_lightning.metrics import Evaluator

ROW = ("content", "style", "at 1", "at 1/2", "at 1/4", "grit", "color grit")


@pytest.fixture
def paintings(tmp_path, picture):
    for seed, name in enumerate(["somebody_ink", "glass", "wood"]):
        picture(150, 130, seed=30 + seed).save(tmp_path / f"{name}.png")
    return [f"--paintings={tmp_path / name}" for name in ("somebody_ink.png", "glass.png", "wood.png")]


def table(capsys, short_side=128):
    """The rows of one size, by style and label."""
    rows = {}
    for line in capsys.readouterr().out.splitlines()[1:]:
        style, label = line[:16].strip(), line[16:30].strip()
        found, *figures = line[30:].split()
        if int(found) == short_side:
            rows[style, label] = dict(zip(ROW, map(float, figures)))
    return rows


def measure(photo, painting, encoder, made, short_side=128):
    """The figures of one picture, from the files themselves."""
    photo, painting, made = (image_to_tensor(image) for image in (photo, painting, made))
    return Evaluator(encoder, painting, short_side=short_side).measure(made, photo)[0].tolist()


def test_medians_over_photos_are_those_of_measure(many_model, paintings, photos, compact_weights, capsys):
    common = ["--photos", str(photos), "--vgg19", "null", "--compact", compact_weights, "--short-side", "128"]
    assert main(["evaluate", "network", many_model, *common, *paintings, "--count", "3"]) == 0
    rows = table(capsys)
    assert list(rows) == [(style, label) for style in ("ink", "glass", "wood") for label in ("photos", "network")]
    stylizer, encoder = Stylizer(many_model), CompactEncoder(compact_weights)
    files = sorted(photos.rglob("*.jpg"))
    for style, painting in zip(("ink", "glass", "wood"), paintings):
        found = []
        for file in (files[0], files[2], files[5]):
            photo = read_rgb(file)
            made = stylizer(resize_short_side(photo, 128), style=style)
            found.append(measure(photo, read_rgb(painting.partition("=")[2]), encoder, made))
        medians = torch.tensor(found).quantile(0.5, dim=0).tolist()
        assert list(rows[style, "network"].values()) == pytest.approx(medians, abs=6e-4)
        assert rows[style, "photos"]["content"] == 0


@pytest.mark.parametrize(("asked", "painted_at"), [([], 160), (["--paint-short-side", "200"], 200)])
def test_a_network_paints_at_the_size_it_was_trained_for(
    many_model, tmp_path, paintings, photos, compact_weights, capsys, asked, painted_at
):
    model = with_metadata(many_model, tmp_path / "large.onnx", {"size": "160"})
    common = ["--photos", str(photos), "--vgg19", "null", "--compact", compact_weights, "--short-side", "128", *asked]
    assert main(["evaluate", "network", model, *common, *paintings, "--count", "1", "--only", "ink"]) == 0
    photo = read_rgb(sorted(photos.rglob("*.jpg"))[0])
    made = Stylizer(model)(resize_short_side(photo, painted_at), style="ink")
    expected = measure(photo, read_rgb(paintings[0].partition("=")[2]), CompactEncoder(compact_weights), made)
    assert list(table(capsys)["ink", "network"].values()) == pytest.approx(expected, abs=6e-4)


def test_pictures_are_compared_at_256_pixels_and_at_the_size_they_were_painted_at(
    many_model, tmp_path, paintings, photos, compact_weights, capsys
):
    """The network has two styles of 272 pixels, and one of 128."""
    sizes = '{"ink": 272, "glass": 128, "wood": 272}'
    model = with_metadata(many_model, tmp_path / "large.onnx", {"sizes": sizes})
    call = ["evaluate", "network", model, "--photos", str(photos), *paintings, "--count", "1", "--only", "[ink, glass]"]
    assert main([*call, "--vgg19", "null", "--compact", compact_weights]) == 0
    printed = capsys.readouterr()
    found = []
    for short_side in (256, 272):
        capsys.readouterr()
        print(printed.out, end="")
        found.append(table(capsys, short_side))
    assert list(found[0]) == [(style, label) for style in ("ink", "glass") for label in ("photos", "network")]
    assert list(found[1]) == [("ink", "photos"), ("ink", "network")]
    photo, painting = read_rgb(sorted(photos.rglob("*.jpg"))[0]), read_rgb(paintings[0].partition("=")[2])
    made = Stylizer(model)(resize_short_side(photo, 272), style="ink")
    for rows, short_side in zip(found, (256, 272)):
        for label, picture in (("photos", photo), ("network", made)):
            expected = measure(photo, painting, CompactEncoder(compact_weights), picture, short_side)
            assert list(rows["ink", label].values()) == pytest.approx(expected, abs=6e-4)


def test_optimized_pictures_are_beside_the_networks(
    many_model, paintings, photos, compact_weights, capsys, monkeypatch, tmp_path
):
    from nst_lightning.commands import evaluate_network

    monkeypatch.setattr(evaluate_network, "optimize_like", lambda photo, painting, _: painting.resize(photo.size))
    common = ["--photos", str(photos), "--vgg19", "null", "--compact", compact_weights, "--short-side", "128"]
    assert main(["evaluate", "network", many_model, *common, *paintings, "--optimized", "2"]) == 0
    rows = table(capsys)
    assert rows["ink", "optimize (2)"]["style"] < 0.5 * rows["ink", "network (2)"]["style"]
    sheet = tmp_path / "sheet.png"
    chosen = ["--only", "[wood, ink]", "--optimized", "1", "--sheet", str(sheet)]
    assert main(["evaluate", "network", many_model, *common, *paintings[::2], *chosen]) == 0
    said = capsys.readouterr().out.splitlines()
    assert list(dict.fromkeys(line.split()[0] for line in said)) == ["style", "wood", "ink", str(sheet)]
    photo, painting = (read_rgb(path) for path in (sorted(photos.rglob("*.jpg"))[0], tmp_path / "wood.png"))
    drawn, cell = read_rgb(sheet), resize_short_side(photo, 128)
    left, top = 5 + 2 * (cell.width + 5), 5  # the third of the first row's pictures is the optimized one
    found = drawn.crop((left, top, left + cell.width, top + 128))
    assert found.tobytes() == painting.resize(cell.size).tobytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--count", "0"], "count must be >= 1, got 0"),
        (["--short-side", "100"], "short_side must be >= 128, got 100"),
        (["--paint-short-side", "31"], "paint_short_side must be >= 32, got 31"),
        (["--photos", "nowhere"], "nowhere"),
        (["--only", "[ink, gras]"], "only: there is no 'gras'; did you mean glass?"),
        (["--sheet", "a.png"], "sheet needs optimized, the number of photos to draw, got a.png without it"),
        (["--sheet", "a.txt", "--optimized", "1"], "a.txt: can't write this kind of file"),
        (["--paintings", "inc=ink.png"], "paintings: inc=ink.png doesn't name a style; styles: ink, glass"),
    ],
)
def test_bad_requests_are_one_line(many_model, paintings, photos, compact_weights, capsys, change, message):
    common = ["--photos", str(photos), "--vgg19", "null", "--compact", compact_weights]
    assert main(["evaluate", "network", many_model, *common, *paintings, *change]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_the_figures_need_deep_layers(many_model, paintings, photos, capsys):
    shallow = ["--vgg19", "bundled", "--compact", "null"]
    assert main(["evaluate", "network", many_model, "--photos", str(photos), *paintings, *shallow]) == 2
    said = capsys.readouterr()
    assert "has no layer relu4_1" in said.err
    assert not said.out


@pytest.mark.parametrize("shown", ["photo0.jpg", "glass.png"])
def test_a_sheet_does_not_overwrite_what_it_shows(
    many_model, paintings, photos, compact_weights, capsys, tmp_path, shown
):
    common = ["--photos", str(photos), "--vgg19", "null", "--compact", compact_weights]
    read = photos / shown if shown.startswith("photo") else tmp_path / shown
    before = read.read_bytes()
    assert main(["evaluate", "network", many_model, *common, *paintings, "--optimized", "1", "--sheet", str(read)]) == 2
    assert "would overwrite" in capsys.readouterr().err
    assert read.read_bytes() == before


def test_a_style_without_a_painting_is_named(many_model, paintings, photos, compact_weights, capsys):
    common = ["--photos", str(photos), "--vgg19", "null", "--compact", compact_weights]
    assert main(["evaluate", "network", many_model, *common, paintings[0]]) == 2
    assert "paintings: none of somebody_ink.png is named after the style glass" in capsys.readouterr().err


def test_paintings_by_name(tmp_path):
    for name in ("a_ink", "ink", "wood"):
        (tmp_path / f"{name}.png").touch()
    found = find_paintings(["ink", "glass"], [str(tmp_path), f"glass={tmp_path}/wood.png"], only=["ink", "glass"])
    assert found == {"ink": tmp_path / "ink.png", "glass": tmp_path / "wood.png"}
    (tmp_path / "b_ink.png").touch()
    (tmp_path / "ink.png").unlink()
    with pytest.raises(ValueError, match=r"a_ink\.png.*b_ink\.png are all named after .*; choose one with ink=FILE"):
        find_paintings(["ink"], [str(tmp_path)], only=["ink"])


def test_a_network_of_one_style_takes_one_painting(model, paintings, photos, compact_weights, capsys):
    common = ["--photos", str(photos), "--vgg19", "null", "--compact", compact_weights, "--short-side", "128"]
    assert main(["evaluate", "network", model, *common, *paintings]) == 2
    assert "the network has one style, and there are 3 paintings; give one" in capsys.readouterr().err
    assert main(["evaluate", "network", model, *common, paintings[1], "--only", "[ink]"]) == 2
    assert "only: there is no 'ink'; the network's one style has no name" in capsys.readouterr().err
    assert main(["evaluate", "network", model, *common, paintings[1], "--count", "1"]) == 0
    assert ("glass", "network") in table(capsys)
