"""Photos that are painted in strips look as if they were painted whole."""

import pickle

import numpy as np
import onnx
import pytest
import torch
from conftest import with_metadata
from PIL import Image
from test_fixed_size import fixed
from torch import nn

from nst_lightning.cli import main
from nst_lightning.errors import UserError
from nst_lightning.export import Variant, export_onnx
from nst_lightning.images import resize_short_side
from nst_lightning.inference import Stylizer, bundled_models, large_photos, rasters
from nst_lightning.inference import stylizer as stylizer_module
from nst_lightning.inference.rasters import Raster
from nst_lightning.networks import JohnsonNet

TRAINED = 64


class Darkened(nn.Module):
    """A network that sees the whole photo without an instance normalization."""

    def forward(self, photos: torch.Tensor) -> torch.Tensor:
        return photos * photos.mean((2, 3), keepdim=True)


class Numbered(nn.Module):
    """A network that numbers rows by `Range`, as networks of several styles did in earlier versions."""

    def forward(self, photos: torch.Tensor) -> torch.Tensor:
        rows = torch.arange(photos.shape[2])[:, None] % 51
        return photos * rows / 51


@pytest.fixture
def painted_strips(monkeypatch):
    """The sizes that are painted in strips, which are all, in the narrowest strips."""
    painted, paint = [], large_photos.LargePhotos._paint_strips

    def noted(painter, raster, *arguments):
        painted.append(raster.size)
        return paint(painter, raster, *arguments)

    monkeypatch.setattr(large_photos.LargePhotos, "_paint_strips", noted)
    monkeypatch.setattr(large_photos, "ARRAYS", 1e9)
    monkeypatch.setattr(large_photos, "WORKING", (0,))
    monkeypatch.setattr(rasters, "STRIP_PIXELS", 5000)
    monkeypatch.setattr(stylizer_module, "LEAST_FIRST_SIDE", TRAINED)
    return painted


def paint_both(model, photo, painted_strips, **options):
    """A picture that is painted whole, and one in strips."""
    whole = Stylizer(model)(photo, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stylizer_module, "MIDDLING", 0)
        in_strips = Stylizer(model)(photo, **options)
    assert photo.size in painted_strips
    return whole, in_strips


def decibels(a: Image.Image, b: Image.Image) -> float:
    assert a.size == b.size
    error = np.square(np.asarray(a, np.float64) - np.asarray(b, np.float64)).mean()
    return 10 * np.log10(255**2 / max(error, 1e-9))


@pytest.mark.parametrize("size", [(120, 256), (75, 255), (64, 201), (99, 130)])
@pytest.mark.parametrize("name", ["model", "many_model"])
def test_strips_show_no_seam_at_any_size(request, name, size, picture, painted_strips):
    whole, in_strips = paint_both(request.getfixturevalue(name), picture(*size), painted_strips)
    assert decibels(whole, in_strips) > 55
    assert np.abs(np.asarray(whole, int) - np.asarray(in_strips, int)).max() <= 3


@pytest.mark.parametrize(
    "options",
    [{"style": "wood"}, {"style": "ink:2,glass:1", "strength": 0.6}, {"preserve_color": 1.0}, {"strength": 0}],
)
def test_styles_strength_and_colors_are_the_same_in_strips(many_model, picture, options, painted_strips):
    whole, in_strips = paint_both(many_model, picture(90, 230), painted_strips, strokes="native", **options)
    assert decibels(whole, in_strips) > 50


@pytest.mark.parametrize(
    "options", [{"upsampling": "bilinear"}, {"downsamplings": 3, "dilations": [3], "kernel_size": 5}]
)
def test_kinds_of_networks(tmp_path, picture, options, painted_strips):
    """Also where heights aren't multiples of all strides, so that features are enlarged by odd factors."""
    torch.manual_seed(0)
    export_onnx(JohnsonNet(**{"width": 4, "blocks": 1, "kernel_size": 3, **options}), tmp_path / "a.onnx", metadata={})
    whole, in_strips = paint_both(tmp_path / "a.onnx", picture(70, 235), painted_strips)
    assert decibels(whole, in_strips) > 50


def test_rows_that_are_numbered_go_on_in_each_strip(tmp_path, picture, painted_strips):
    export_onnx(Numbered(), tmp_path / "a.onnx", metadata={})
    assert "Range" in {node.op_type for node in onnx.load(tmp_path / "a.onnx").graph.node}
    whole, in_strips = paint_both(tmp_path / "a.onnx", picture(80, 203), painted_strips)
    assert decibels(whole, in_strips) > 55


@pytest.mark.parametrize(
    ("variant", "bake", "least"),
    [
        (Variant(io="uint8-nhwc"), None, 50),
        (Variant(batch=1), {"wood": 0.5}, 50),  # whose sides are filled up to multiples of 8
        (Variant("float16", "uint8-nhwc", opset=17), {"wood": 0.4, "ink": 0.2}, 45),
    ],
)
def test_variants_of_the_file(many, variant, bake, least, tmp_path, picture, painted_strips):
    metadata = {"size": str(TRAINED), "style": "wood"}
    export_onnx(many, tmp_path / "a.onnx", metadata=metadata, variant=variant, bake=bake)
    for photo, strokes in ((picture(93, 203), "native"), (picture(211, 165), 1)):
        whole, in_strips = paint_both(tmp_path / "a.onnx", photo, painted_strips, strokes=strokes)
        assert decibels(whole, in_strips) > least


@pytest.mark.parametrize("name", sorted(bundled_models()))
def test_bundled_networks(name, picture, painted_strips):
    whole, in_strips = paint_both(name, picture(80, 203), painted_strips)
    assert decibels(whole, in_strips) > 50


@pytest.mark.parametrize(
    ("name", "options"), [("model", {}), ("many_model", {}), ("many_model", {"strength": 0.5, "preserve_color": 0.5})]
)
def test_coarse_to_fine_goes_on_in_strips(request, name, options, tmp_path, picture, painted_strips):
    model = with_metadata(request.getfixturevalue(name), tmp_path / "a.onnx", {"size": str(TRAINED)})
    whole, in_strips = paint_both(model, picture(300, 259), painted_strips, **options)
    assert [size[1] for size in dict.fromkeys(painted_strips)][-4:] == [64, 65, 130, 259]
    assert decibels(whole, in_strips) > 45


def test_small_sizes_are_painted_whole_before(many_model, tmp_path, picture, monkeypatch, painted_strips):
    """Where there is memory for them: half of it would do for 130 rows, but twice as much is needed for 259."""
    monkeypatch.setattr(large_photos, "ARRAYS", large_photos.DEFAULT_MEMORY / 2 / (151 * 130))
    model = with_metadata(many_model, tmp_path / "a.onnx", {"size": str(TRAINED)})
    whole, in_strips = paint_both(model, picture(300, 259), painted_strips)
    assert {size[1] for size in painted_strips} & {64, 65, 130, 259} == {259}
    assert decibels(whole, in_strips) > 45


def test_networks_that_see_all_of_a_photo_paint_it_whole(tmp_path, picture, monkeypatch, painted_strips):
    export_onnx(Darkened(), tmp_path / "a.onnx", metadata={})
    photo = picture(80, 203)
    expected = Stylizer(tmp_path / "a.onnx")(photo)
    monkeypatch.setattr(stylizer_module, "MIDDLING", 0)
    assert Stylizer(tmp_path / "a.onnx")(photo) == expected
    assert photo.size not in painted_strips  # but a small one was tried


def test_files_of_a_fixed_size_paint_photos_whole(model, tmp_path, picture, monkeypatch, painted_strips):
    file = fixed(model, tmp_path / "a.onnx", height=96)
    expected = Stylizer(file)(picture(70, 96))
    monkeypatch.setattr(stylizer_module, "MIDDLING", 0)
    assert Stylizer(file)(picture(70, 96)) == expected
    assert not painted_strips


def test_too_little_memory_is_refused_for_the_largest_pass(many_model, picture, tmp_path):
    trained = with_metadata(many_model, tmp_path / "trained.onnx", {"size": "32"})
    with pytest.raises(UserError, match="GB for a photo of 120x100, got"):
        Stylizer(trained, max_memory=1e7)(picture(120, 100), strokes=8)  # begins at a short side of 64


def test_too_little_memory_is_refused_with_what_is_needed(many_model, picture, tmp_path, capsys):
    with pytest.raises(UserError, match=r"max_memory must be >= .* GB for a photo of 90x70, got 0\.01 GB"):
        Stylizer(many_model, max_memory=1e7)(picture(90, 70))
    with pytest.raises(UserError, match="max_memory must be > 0, got 0"):
        Stylizer(many_model, max_memory=0)
    picture(90, 70).save(tmp_path / "a.png")
    line = ["stylize", str(tmp_path / "a.png"), "--model", many_model, "--output", str(tmp_path / "out")]
    assert main([*line, "--max-memory", "0.01"]) == 1
    assert "max_memory must be >= " in capsys.readouterr().err
    assert main([*line, "--max-memory", "-1"]) == 2
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "a.png"]
    assert main([*line, "--max-memory", "8"]) == 0


def test_memory_that_is_enough_changes_nothing(many_model, picture):
    stylizer = pickle.loads(pickle.dumps(Stylizer(many_model, max_memory=8e9)))
    assert stylizer(picture(90, 70)) == Stylizer(many_model)(picture(90, 70))


@pytest.mark.parametrize("size", [(40, 31), (181, 124), (97, 62)])
def test_rows_of_a_scaled_picture_are_those_of_the_whole(size, picture):
    image = picture(97, 62)
    channels = [channel.convert("F").resize(size, Image.Resampling.LANCZOS) for channel in image.split()]
    expected = (np.stack(channels) / 255).clip(0, 1)
    scaled = Raster.of_image(image).resized(size)
    for start, stop in ((0, 1), (5, 17), (20, size[1])):
        np.testing.assert_allclose(scaled.read(start, stop), expected[:, start:stop], atol=1e-5)
    assert resize_short_side(image, 62) == image
