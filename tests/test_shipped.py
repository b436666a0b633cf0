"""The networks that ship do what their cards say."""

from pathlib import Path

import pytest
import torch

from nst_lightning.images import image_to_array, read_rgb, resize_short_side
from nst_lightning.inference import Stylizer, bundled_models
from nst_lightning.networks import load_network
from nst_lightning.perception import VGG19, CompactEncoder, ContentDistance, EncoderChain, Grit, StyleDistance

ROOT = Path(__file__).parent.parent
STYLES = {
    "great_wave": "hokusai_great_wave.jpg",
    "tahiti": "gauguin_tahiti.jpg",
    "starry_night": "van_gogh_starry_night.jpg",
    "wheat_field": "van_gogh_wheat_field.jpg",
}


def tensor_of(image):
    return torch.from_numpy(image_to_array(image))[None]


def test_every_shipped_file_is_tested():
    assert {path.stem for path in (ROOT / "export").glob("*.onnx")} == set(STYLES)
    assert {path.stem for path in (ROOT / "checkpoints").glob("*.ckpt")} == {"base", *STYLES}


def test_the_package_has_them_by_name_and_every_folder_of_its_own():
    tomllib = pytest.importorskip("tomllib")
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "nst_lightning").rglob("*.py")}
    assert set(setup["packages"]) == {".".join(folder.parts) for folder in folders} | {"nst_lightning.zoo"}
    assert ROOT / setup["package-dir"]["nst_lightning.zoo"] == ROOT / "export"
    assert bundled_models() == {name: ROOT / f"export/{name}.onnx" for name in STYLES}
    assert Stylizer("tahiti").metadata == Stylizer(ROOT / "export/tahiti.onnx").metadata


@pytest.mark.parametrize("name", STYLES)
def test_checkpoint_and_onnx_are_one_network(name, picture):
    network, metadata = load_network(ROOT / f"checkpoints/{name}.ckpt")
    stylizer = Stylizer(ROOT / f"export/{name}.onnx")
    photo = picture(83, 61)
    expected = network(tensor_of(photo))[0].detach()
    torch.testing.assert_close(torch.from_numpy(image_to_array(stylizer(photo))), expected, rtol=0, atol=0.6 / 255)
    assert stylizer.metadata["style"] == metadata["style"]
    assert (ROOT / f"configs/{name}.yaml").is_file()
    assert (ROOT / f"export/{name}.md").is_file()


def figures_on_card(name):
    """Content, style and grit of the stylized photos, and style of the photos, as the card has them."""
    rows = [line.split("|")[1:-1] for line in (ROOT / f"export/{name}.md").read_text(encoding="utf-8").splitlines()]
    cells = {row[0].strip(): row for row in rows if len(row) == 7}
    stylized, photos = cells["stylized"], cells["the photos themselves"]
    return [float(cell) for cell in (stylized[1], stylized[2], stylized[6], photos[2])]


@pytest.mark.weights
@pytest.mark.parametrize("name", STYLES)
def test_figures_are_the_cards(name, shared):
    """On every second of the held-out photos, so not exactly."""
    weights = shared / "weights"
    encoder = EncoderChain(
        [
            VGG19(str(weights / "vgg19_conv1_1-conv3_4.safetensors")),
            CompactEncoder(str(weights / "vgg19_16x_distilled.safetensors")),
        ]
    )
    painting = tensor_of(resize_short_side(read_rgb(shared / "styles" / STYLES[name]), 256))
    content, style, grit = ContentDistance(encoder), StyleDistance(encoder, painting), Grit(painting)
    photo_style = StyleDistance(encoder, painting)
    stylizer = Stylizer(ROOT / f"export/{name}.onnx")
    for path in sorted((shared / "photos/val").iterdir())[::2]:
        photo = resize_short_side(read_rgb(path), 256)
        stylized = tensor_of(stylizer(photo))
        content.update(stylized, tensor_of(photo))
        style.update(stylized)
        grit.update(stylized)
        photo_style.update(tensor_of(photo))
    found = [content.compute(), style.compute()[0], grit.compute(), photo_style.compute()[0]]
    assert [value.item() for value in found] == pytest.approx(figures_on_card(name), rel=0.2)
