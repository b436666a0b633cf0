"""The networks that ship do what their cards say."""

import json
import re
from pathlib import Path
from statistics import median

import numpy as np
import pytest
import torch
import yaml

from nst_lightning.commands.examples import STYLES
from nst_lightning.encoders import build_encoder
from nst_lightning.images import image_to_array, list_pictures, read_rgb, resize_short_side
from nst_lightning.inference import DEFAULT_MODEL, Stylizer, bundled_models
from nst_lightning.metrics import FIGURES, SHORT_SIDE, Evaluator, extract_features, resize_pictures
from nst_lightning.networks import load_network

ROOT = Path(__file__).parent.parent
SINGLE = {"johnson_great_wave": "hokusai_great_wave.jpg", "johnson_wheat_field": "van_gogh_wheat_field.jpg"}
MANY, HALF = DEFAULT_MODEL, f"{DEFAULT_MODEL}_fp16"
CARDS = {**{name: f"{name}.md" for name in SINGLE}, MANY: "README.md"}
RECIPE = yaml.safe_load((ROOT / f"configs/bundled/{MANY}.yaml").read_text(encoding="utf-8"))


def tensor_of(image):
    return torch.from_numpy(image_to_array(image))[None]


@pytest.mark.parametrize("path", sorted((ROOT / "checkpoints").glob("*.ckpt")), ids=lambda path: path.stem)
def test_shipped_checkpoints_are_networks_without_their_optimizer(path):
    assert "optimizer_states" not in torch.load(path, map_location="cpu", weights_only=True)


def test_the_package_has_them_by_name_and_every_folder_of_its_own():
    tomllib = pytest.importorskip("tomllib")
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "nst_lightning").rglob("*.py")}
    elsewhere = {"zoo": "export", "checkpoints": "checkpoints", "page": "web/page"}
    elsewhere = {f"nst_lightning.{name}": folder for name, folder in elsewhere.items()}
    assert set(setup["packages"]) == {".".join(folder.parts) for folder in folders} | set(elsewhere)
    assert setup["package-dir"] == {"nst_lightning": "nst_lightning", **elsewhere}
    for package, folder in {"nst_lightning.encoders": "nst_lightning/encoders", **elsewhere}.items():
        patterns = setup["package-data"][package]
        files = {path for path in (ROOT / folder).rglob("[!.]*") if path.is_file() and ".py" not in path.suffix}
        assert {path for pattern in patterns for path in (ROOT / folder).glob(pattern)} & files == files
    assert bundled_models() == {name: ROOT / f"export/{name}.onnx" for name in (*SINGLE, MANY, HALF)}
    assert Stylizer(MANY).metadata == Stylizer(ROOT / f"export/{MANY}.onnx").metadata


@pytest.mark.parametrize("name", CARDS)
def test_a_card_is_one_that_model_hubs_read(name):
    _, header, text = (ROOT / "export" / CARDS[name]).read_text(encoding="utf-8").split("---\n", 2)
    assert yaml.safe_load(header)["license"] == "mit"
    assert f"{name}.onnx" in text
    assert f"configs/bundled/{name}.yaml" in text
    assert (ROOT / f"configs/bundled/{name}.yaml").is_file()


@pytest.mark.parametrize("name", SINGLE)
def test_checkpoint_and_onnx_are_one_network(name, picture):
    network, metadata = load_network(ROOT / f"checkpoints/{name}.ckpt")
    stylizer = Stylizer(ROOT / f"export/{name}.onnx")
    photo = picture(83, 61)
    expected = network(tensor_of(photo))[0].detach()
    torch.testing.assert_close(torch.from_numpy(image_to_array(stylizer(photo))), expected, rtol=0, atol=0.6 / 255)
    assert stylizer.metadata["style"] == metadata["style"]


@pytest.mark.parametrize(("name", "megabytes", "levels"), [(MANY, 4, 0.6), (HALF, 2, 6)])
def test_the_network_of_many_styles_is_one_too(name, megabytes, levels, picture):
    network, metadata = load_network(ROOT / f"checkpoints/{MANY}.ckpt")
    path = ROOT / f"export/{name}.onnx"
    stylizer, photo = Stylizer(path), picture(83, 61)
    assert path.stat().st_size < megabytes * 1e6
    recipe = RECIPE["model"]
    text = (ROOT / f"configs/bundled/{MANY}.yaml").read_text(encoding="utf-8")
    found = re.findall(r"^#   (\w+) +([\d.]+)$", text, re.MULTILINE)
    weights = {style: pytest.approx(float(weight), abs=0.006) for style, weight in found}
    assert network.styles == stylizer.styles == list(recipe["styles"])
    for described in (metadata, stylizer.metadata):
        assert json.loads(described["credits"]) == recipe["metadata"]["credits"]
        assert json.loads(described["style_weights"]) == weights
        assert described["license"] == recipe["metadata"]["license"]
        assert described["size"] == str(RECIPE["data"]["short_side"])
        assert json.loads(described["sizes"]) == dict.fromkeys(recipe["styles"], RECIPE["data"]["short_side"])
    for style, strength, keep in (("udnie", 1.0, 0.0), ("great_wave:3,pastel:1", 0.6, 1.0)):
        found = stylizer(photo, style=style, strength=strength, preserve_color=keep)
        controls = map(torch.from_numpy, stylizer.controls(style, strength, keep).values())
        expected = network(tensor_of(photo), *controls)[0].detach()
        torch.testing.assert_close(torch.from_numpy(image_to_array(found)), expected, rtol=0, atol=levels / 255)


def figures_on_card(name, style):
    """Content, style, grit and color grit of pictures, and style of the photos, at 256 pixels."""
    lines = (ROOT / "export" / CARDS[name]).read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")]
    found = next(row for row in rows if row[0] == style and len(row) >= 7)
    of_photos = found[8] if name == MANY else next(row[2] for row in rows if row[0] == "the photos themselves")
    return [float(cell) for cell in (found[1], found[2], found[6], found[7], of_photos)]


def by_parity(picture, axis):
    """Size of luma's second differences along an axis, at odd places over that at even ones, or its inverse."""
    luma = picture @ np.array([0.299, 0.587, 0.114])
    sizes = np.abs(np.diff(luma, 2, axis=axis)).mean(axis=1 - axis)
    odd, even = sizes[0::2].mean(), sizes[1::2].mean()
    return max(odd / even, even / odd)


@pytest.mark.weights
def test_no_grid(shared):
    """The last convolution makes pixels in pairs, which should not be seen."""
    stylizer = Stylizer(MANY)
    photos = [
        resize_short_side(read_rgb(path), stylizer.trained_short_side())
        for path in list_pictures(shared / "photos/val")[::11]
    ]
    for style in stylizer.styles:
        pictures = [np.asarray(stylizer(photo, style=style)) / 255 for photo in photos]
        for axis in (0, 1):
            assert median(by_parity(picture, axis) for picture in pictures) < 1.18, (style, axis)


@pytest.mark.weights
def test_borders_are_painted_as_the_rest(shared):
    """Colors of the outermost pixels, next to those far from the border, in the average over parts of photos.

    Parts are nearly twice as large as the network's own size: at that size some styles have a composition, as their
    paintings do, such as a sky at the top.
    """
    stylizer, random, parts = Stylizer(MANY), np.random.default_rng(0), []
    unit = stylizer.trained_short_side() // 16
    side = 30 * unit
    for path in list_pictures(shared / "photos/test"):
        photo = resize_short_side(read_rgb(path), 56 * unit)
        for _ in range(2):
            top, left = random.integers(photo.height - side), random.integers(photo.width - side)
            parts.append(photo.crop((left, top, left + side, top + side)))
    from_border = np.minimum(np.arange(side), np.arange(side)[::-1])
    distance = np.minimum(from_border[:, None], from_border)
    for style in stylizer.styles:
        pictures = [stylizer(part, style=style, strokes="native") for part in parts]
        picture = np.mean([np.asarray(picture, np.float64) for picture in pictures], axis=0)
        difference = picture[distance < unit].mean(0) - picture[distance >= 8 * unit].mean(0)
        assert np.sqrt((difference**2).mean()) < 30, style  # of 255; was 44 before half of the batches were larger


JUDGED = [
    *((name, "stylized", file) for name, file in SINGLE.items()),
    (MANY, "udnie", "picabia_udnie.jpg"),
    (MANY, "ink_wash", None),
]
"""Networks, their styles, and the paintings; None stands for one that a program draws."""


@pytest.mark.weights
def test_figures_are_the_cards(shared):
    """Medians over 45 photos, of the networks' pictures and of the photos, each of which is encoded once."""
    weights = shared / "weights"
    encoder = build_encoder(
        str(weights / "vgg19_conv1_1-conv3_4.safetensors"), str(weights / "vgg19_16x_distilled.safetensors")
    )
    evaluators, figures, stylizers = {}, {case: [] for case in JUDGED}, {name: Stylizer(name) for name, *_ in JUDGED}
    for case in JUDGED:
        _, style, painting = case
        image = STYLES[style]() if painting is None else read_rgb(shared / "styles" / painting)
        evaluators[case] = Evaluator(encoder, tensor_of(image))
    for path in list_pictures(shared / "photos/val"):
        photo = read_rgb(path)
        tensor = resize_pictures(tensor_of(photo), SHORT_SIDE)
        untouched = extract_features(tensor, encoder)
        for case, evaluator in evaluators.items():
            stylizer, style = stylizers[case[0]], case[1] if case[0] == MANY else None
            made = stylizer(photo, short_side=stylizer.trained_short_side(style), style=style)
            of_photo = evaluator.compare(untouched, untouched.content)
            figures[case].append(torch.cat([evaluator.measure(tensor_of(made), tensor), of_photo]))
    for case, rows in figures.items():
        medians = torch.stack(rows).quantile(0.5, dim=0)
        content, style, *_, grit, color = medians[0].tolist()
        found = [content, style, grit, color, medians[1, FIGURES.index("style")].item()]
        assert found == pytest.approx(figures_on_card(*case[:2]), rel=0.01, abs=0.006), case
