"""Files whose shape was fixed after the export, with ONNX Runtime's own tool, and its other tools for our files."""

import numpy as np
import onnx
import pytest
import torch
from conftest import with_metadata
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.tools.onnx_model_utils import fix_output_shapes, make_dim_param_fixed, make_input_shape_fixed
from onnxruntime.tools.symbolic_shape_infer import SymbolicShapeInference
from PIL import Image

from nst_lightning.cli import main
from nst_lightning.errors import UserError
from nst_lightning.images import image_to_array, resize_short_side
from nst_lightning.inference import InputShape, ModelError, Stylizer
from nst_lightning.networks import JohnsonNet


def fixed(model, path, shape=None, **lengths):
    """A file as `python -m onnxruntime.tools.make_dynamic_shape_fixed` writes it."""
    content = onnx.load(model)
    if shape:
        make_input_shape_fixed(content.graph, "photo", shape)
    for name, length in lengths.items():
        make_dim_param_fixed(content.graph, name, length)
    fix_output_shapes(content)
    onnx.save(content, path)
    return str(path)


def shape_of(value):
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


@pytest.mark.parametrize("name", ["model", "many_model"])
def test_a_photo_of_just_this_size_is_painted_as_by_the_free_file(request, name, tmp_path, picture):
    model, photo = request.getfixturevalue(name), picture(90, 64)
    file = fixed(model, tmp_path / "fixed.onnx", [1, 3, 64, 90])
    stylizer = Stylizer(file)
    assert stylizer.input_shape == InputShape(batch=1, height=64, width=90)
    np.testing.assert_allclose(stylizer(photo), Stylizer(model)(photo), atol=1)


@pytest.mark.parametrize(
    ("lengths", "size", "painted", "filled"),
    [
        ({"height": 64, "width": 96}, (60, 40), (60, 40), (96, 64)),  # what fits keeps its size
        ({"height": 64, "width": 96}, (120, 120), (64, 64), (96, 64)),
        ({"height": 64, "width": 96}, (400, 134), (96, 32), (96, 64)),
        ({"height": 64}, (200, 128), (100, 64), (100, 64)),
        ({"height": 64}, (70, 40), (70, 40), (70, 64)),
        ({"batch": 2}, (60, 40), (60, 40), (60, 40)),
        ({"width": 64}, (128, 70), (64, 35), (64, 35)),
        ({"batch": 3, "height": 64, "width": 64}, (70, 128), (35, 64), (64, 64)),
    ],
)
def test_photos_are_scaled_down_to_fit_and_back_and_the_rest_is_reflected(
    many_model, tmp_path, picture, lengths, size, painted, filled
):
    photo = picture(*size)
    result = Stylizer(fixed(many_model, tmp_path / "fixed.onnx", **lengths))(photo, style="wood", strength=0.8)
    scaled = photo if painted == size else photo.resize(painted, Image.Resampling.LANCZOS)
    padding = [(0, big - small) for big, small in zip(filled, painted)]
    pixels = np.pad(np.asarray(scaled), (padding[1], padding[0], (0, 0)), mode="reflect")
    expected = Stylizer(many_model)(Image.fromarray(pixels), style="wood", strength=0.8)
    expected = expected.crop((0, 0, *painted)).resize(size, Image.Resampling.LANCZOS)
    assert result.size == size
    np.testing.assert_allclose(result, expected, atol=2)


@pytest.mark.parametrize(
    ("lengths", "size", "scaled"),
    [({"height": 240, "width": 320}, (2000, 40), "320x6"), ({"width": 64}, (128, 62), "64x31")],
)
def test_photos_that_are_too_small_after_scaling_are_refused(model, tmp_path, picture, lengths, size, scaled):
    message = (
        rf"^a photo of {size[0]}x{size[1]} is too small: {scaled} after it is scaled down .* at least 32x32 pixels$"
    )
    with pytest.raises(UserError, match=message):
        Stylizer(fixed(model, tmp_path / "fixed.onnx", **lengths))(picture(*size))


@pytest.mark.parametrize(("short_side", "size", "painted"), [(48, (96, 48), (96, 48)), (64, (128, 64), (96, 48))])
def test_a_short_side_is_that_of_the_picture(model, tmp_path, picture, short_side, size, painted):
    file, photo = fixed(model, tmp_path / "fixed.onnx", [1, 3, 64, 96]), picture(120, 60)
    result = Stylizer(file)(photo, short_side=short_side)
    assert result.size == size
    scaled = resize_short_side(photo, short_side).resize(painted, Image.Resampling.LANCZOS)
    np.testing.assert_allclose(result, Stylizer(file)(scaled).resize(size, Image.Resampling.LANCZOS), atol=1)


def test_commands_take_fixed_files(many_model, model, tmp_path, picture, painting, compact_weights, capsys):
    photo = str(tmp_path / "photo.png")
    picture(150, 100).save(photo)
    many, one = (fixed(source, tmp_path / f"{i}.onnx", [1, 3, 96, 128]) for i, source in enumerate((many_model, model)))
    assert main(["stylize", photo, "--model", many, "--output", str(tmp_path / "out")]) == 0
    with Image.open(tmp_path / "out/photo.png") as image:
        assert image.size == (150, 100)
    assert main(["styles", photo, "--model", many, "--output", str(tmp_path / "sheet.png"), "--height", "120"]) == 0
    capsys.readouterr()
    encoder = ["--vgg19", "null", "--compact", compact_weights]
    files = ["--photos", photo, "--paintings", f"{tmp_path}/test.png"]
    Image.open(painting).save(tmp_path / "test.png")
    assert main(["evaluate", "network", one, *files, *encoder, "--short-side", "128"]) == 0
    assert "network" in capsys.readouterr().out
    assert main(["evaluate", "network", one, *files, *encoder, "--paint-short-side", "120"]) == 2
    assert "paint_short_side: a photo of 180x120 does not fit" in capsys.readouterr().err
    options = ["--output", str(tmp_path / "optimized.png"), "--long-side", "64", "--iterations", "1"]
    assert main(["optimize", photo, "--style", painting, "--init", one, *options, *encoder]) == 0
    assert main(["evaluate", "speed", many, one, "--image-size", "64", "--rounds", "1"]) == 0
    assert main(["evaluate", "speed", many, "--image-size", "100"]) == 2
    assert f"image_size: {many}: a photo of 100x100 does not fit" in capsys.readouterr().err


def test_pictures_are_compared_at_the_size_that_a_fixed_file_paints(
    model, tmp_path, painting, photos, compact_weights, capsys
):
    trained = with_metadata(model, tmp_path / "large.onnx", {"size": "272"})
    file = fixed(trained, tmp_path / "fixed.onnx", height=256, width=320)
    encoder = ["--vgg19", "null", "--compact", compact_weights]
    call = ["--photos", str(photos), "--paintings", painting, "--count", "1", *encoder]
    for network, sizes in ((trained, ["256", "272"]), (file, ["256"])):
        assert main(["evaluate", "network", network, *call]) == 0
        rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
        assert [row[2] for row in rows if row[1] == "network"] == sizes


def test_networks_that_change_the_size_are_none_for_photos(tmp_path, picture):
    class Enlarging(torch.nn.Module):
        def forward(self, x):
            return torch.nn.functional.interpolate(x, scale_factor=2.0)

    options = {"external_data": False, "verbose": False, "input_names": ["photo"], "output_names": ["picture"]}
    torch.onnx.export(Enlarging().eval(), (torch.rand(1, 3, 64, 64),), tmp_path / "two.onnx", **options)
    with pytest.raises(ModelError, match="not a transfer network for photos"):
        Stylizer(tmp_path / "two.onnx")
    lengths = ({2: torch.export.Dim("height"), 3: torch.export.Dim("width")},)
    torch.onnx.export(
        Enlarging(), (torch.rand(1, 3, 64, 64),), tmp_path / "any.onnx", dynamic_shapes=lengths, **options
    )
    with pytest.raises(
        RuntimeError, match=r"picture of shape \(1, 3, 80, 120\) from a photo of shape \(1, 3, 40, 60\)"
    ):
        Stylizer(tmp_path / "any.onnx")(picture(60, 40))


def test_files_that_were_exported_at_one_size(tmp_path, picture):
    network, photo = JohnsonNet(4, 0, 3).eval(), picture(64, 64)
    torch.onnx.export(network, (torch.rand(1, 3, 64, 64),), tmp_path / "x.onnx", external_data=False, verbose=False)
    expected = network(torch.from_numpy(image_to_array(photo))[None])[0].detach().numpy()
    np.testing.assert_allclose(image_to_array(Stylizer(tmp_path / "x.onnx")(photo)), expected, atol=0.6 / 255)
    assert (
        resize_short_side(picture(60, 40), 42).size
        == Stylizer(tmp_path / "x.onnx")(picture(60, 40), short_side=42).size
    )


@pytest.mark.parametrize("name", ["model", "many_model"])
def test_shapes_can_be_inferred(request, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where the tool leaves a file when it gives up
    model = request.getfixturevalue(name)
    inferred = SymbolicShapeInference.infer_shapes(onnx.load(model))
    assert shape_of(inferred.graph.output[0]) == ["batch", 3, "height", "width"]
    assert {output for node in inferred.graph.node for output in node.output} <= {
        value.name for value in (*inferred.graph.value_info, *inferred.graph.output)
    }
    quant_pre_process(model, "prepared.onnx")
    assert Stylizer("prepared.onnx").styles == Stylizer(model).styles
