"""Variants of ONNX files: precision, bytes, fixed sizes, baked styles, older opsets; and their list."""

import json
import shutil

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

from nst_lightning.cli import main
from nst_lightning.errors import UserError, WorkError
from nst_lightning.export import Variant, export_onnx
from nst_lightning.images import image_to_array
from nst_lightning.inference import InputShape, Stylizer
from nst_lightning.networks import network_record

BAKE = {"wood": 0.4, "ink": 0.2}
METADATA = {
    "credits": json.dumps({"ink": "I", "glass": "G", "wood": "W"}),
    "sizes": json.dumps({"ink": 90, "glass": 100, "wood": 60}),
    "style": "ink, glass, wood",
    "license": "MIT",
}
VARIANTS = {
    "bytes": (Variant(io="uint8-nhwc", fixed_size="48x65", batch=2, opset=18), None),
    "baked": (Variant(opset=17), BAKE),
    "baked fixed": (Variant(fixed_size="45x66"), BAKE),
    "all": (Variant("float16", "uint8-nhwc", "48x64", 3, 17), BAKE),
}
SHAPES = ("Shape", "Reshape", "Gather", "GatherND", "Mod", "Range", "Squeeze", "Unsqueeze", "Expand", "Size")


@pytest.fixture(scope="module")
def files(many, tmp_path_factory):
    """The path and the difference from torch of each variant."""
    folder = tmp_path_factory.mktemp("variants")
    exported = {}
    for name, (variant, bake) in VARIANTS.items():
        path = folder / f"{name}.onnx"
        exported[name] = path, export_onnx(many, path, metadata=METADATA, variant=variant, bake=bake)
    return exported


def reference(many, photo, baked):
    """What torch makes of a photo, an array of shape (3, H, W), with the file's style or the first."""
    style, strength = (torch.tensor([0.2, 0, 0.4]), 0.6) if baked else (torch.tensor([1.0, 0, 0]), 1.0)
    with torch.no_grad():
        return many(torch.from_numpy(photo)[None], style, torch.tensor([strength]))[0].numpy()


@pytest.mark.parametrize("name", VARIANTS)
def test_the_file_is_as_asked_for_and_does_what_torch_does(many, files, name, picture):
    (variant, bake), (path, difference) = VARIANTS[name], files[name]
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert model.opset_import[0].version == variant.opset
    assert model.ir_version <= (8 if variant.opset == 17 else 9)  # what ONNX Runtime 1.17 reads
    session = onnxruntime.InferenceSession(path)
    inputs, (output,) = session.get_inputs(), session.get_outputs()
    assert [node.name for node in inputs[1:]] == ([] if bake else ["style", "strength", "preserve_color"])
    height, width = variant.lengths or (40, 56)
    in_bytes, batch = variant.io == "uint8-nhwc", variant.fixed_batch
    for node in (inputs[0], output):
        assert node.type == ("tensor(uint8)" if in_bytes else "tensor(float)")
        assert node.shape[0] == (batch or "batch")
        lengths = node.shape[1:3] if in_bytes else node.shape[2:]
        assert (lengths == [height, width]) == bool(variant.lengths)
    photo = image_to_array(picture(width, height))
    given = np.round(255 * photo).astype(np.uint8).transpose(1, 2, 0) if in_bytes else photo
    controls = {node.name: np.eye(1, node.shape[0], dtype=np.float32)[0] for node in inputs[1:-1]}
    controls |= {node.name: np.zeros(1, np.float32) for node in inputs[1:][-1:]}
    (pictures,) = session.run(None, {"photo": np.stack([given] * (batch or 2)), **controls})
    expected = reference(many, photo, bake)
    tolerance = 0.03 if variant.precision == "float16" else 1e-4
    for made in pictures:
        made = made.transpose(2, 0, 1) / 255 if in_bytes else made
        np.testing.assert_allclose(made, expected, atol=tolerance + 0.51 / 255 * in_bytes)
    assert difference.largest < tolerance + 1 / 255 * in_bytes
    assert difference.psnr > (50 if in_bytes else 100)


@pytest.mark.parametrize("name", ["baked", "baked fixed", "all"])
def test_baked_files_have_no_arithmetic_of_shapes(files, name):
    graph = onnx.load(files[name][0]).graph
    operators = {node.op_type for node in graph.node}
    assert not operators & {*SHAPES}
    if name != "baked":  # the noise is a constant, too
        assert not operators & {"CumSum", "MatMul", "Floor"}
        pads = [node.input[1] for node in graph.node if node.op_type == "Pad"]
        values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
        assert all((values[name] >= 0).all() for name in pads)


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("size", [(64, 48), (66, 45), (150, 90)])
def test_a_stylizer_opens_them(many, files, name, size, picture):
    (variant, bake), photo = VARIANTS[name], picture(*size)
    stylizer = Stylizer(files[name][0])
    assert stylizer.styles == ([] if bake else ["ink", "glass", "wood"])
    result = stylizer(photo, strokes="native")
    assert result.size == size
    shape = InputShape(height=(variant.lengths or [None])[0], width=(variant.lengths or [None])[-1])
    painted = photo.resize(shape.fit(size), Image.Resampling.LANCZOS)
    multiple = 8 if bake and not variant.lengths else 1
    height, width = (
        shape.height or -(-size[1] // multiple) * multiple,
        shape.width or -(-size[0] // multiple) * multiple,
    )
    pixels = np.pad(painted, ((0, height - painted.height), (0, width - painted.width), (0, 0)), mode="reflect")
    made = reference(many, image_to_array(Image.fromarray(pixels)), bake)[:, : painted.height, : painted.width]
    image = Image.fromarray(np.round(255 * made.transpose(1, 2, 0)).astype(np.uint8)).resize(
        size, Image.Resampling.LANCZOS
    )
    assert np.abs(np.subtract(result, image, dtype=float)).max() <= (6 if variant.precision == "float16" else 2)


def test_baked_files_know_their_style(files):
    metadata = Stylizer(files["baked"][0]).metadata
    assert json.loads(metadata["baked"]) == {
        "style": {"wood": pytest.approx(2 / 3), "ink": pytest.approx(1 / 3)},
        "strength": 0.6,
    }
    assert json.loads(metadata["credits"]) == {"wood": "W", "ink": "I"}
    assert (metadata["style"], metadata["license"], metadata["size"]) == ("wood, ink", "MIT", "70")
    assert not {"styles", "defaults", "sizes"} & {*metadata}
    assert Stylizer(files["baked"][0]).trained_short_side() == 70
    assert Stylizer(files["bytes"][0]).trained_short_side("wood") == 60
    with pytest.raises(UserError, match="this network has one style, and nothing to adjust"):
        Stylizer(files["baked"][0])(Image.new("RGB", (40, 40)), style="wood")


@pytest.fixture(scope="module")
def checkpoint(many, tmp_path_factory):
    state = {f"network.{key}": value for key, value in many.state_dict().items()}
    path = tmp_path_factory.mktemp("checkpoint") / "many.ckpt"
    torch.save({"transfer_network": network_record(many, METADATA), "state_dict": state}, path)
    return str(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--fixed-size", "512"], "fixed_size must be HEIGHTxWIDTH, both >= 32, such as 512x768, got '512'"),
        (["--fixed-size", "16x64"], "fixed_size must be HEIGHTxWIDTH, both >= 32"),
        (["--batch", "0"], "batch must be >= 1, got 0"),
        (["--opset", "16"], "opset must be from 17 to 20, got 16"),
        (["--bake", "ink:1,wood:0.5"], "bake must be weights whose sum, the strength, is above 0 and at most 1"),
        (["--bake", "ink:0"], "bake must be weights whose sum, the strength, is above 0 and at most 1"),
        (["--bake", "ink:-0.5,wood"], "bake: the weight of ink must be >= 0, got -0.5"),
        (["--bake", "inc:0.5"], "bake: there is no 'inc'; did you mean ink?"),
        (["--bake", "ink:much"], "bake must be a name, or NAME:WEIGHT, got 'ink:much'"),
        (["--bake", "ink", "--styles", "wood"], "styles can't be given with bake"),
        (["--list", "."], "list: no other option can be given with it"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(checkpoint, tmp_path, capsys, options, message):
    assert main(["export", checkpoint, "--output", str(tmp_path / "x.onnx"), *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not [*tmp_path.iterdir()]


def test_one_style_has_nothing_to_bake(network, tmp_path):
    with pytest.raises(UserError, match="bake: this network has one style"):
        export_onnx(network, tmp_path / "x.onnx", metadata={}, bake={"test": 1})


def test_needs_a_checkpoint_and_an_output(capsys):
    assert main(["export"]) == 2
    assert "checkpoint and output are needed" in capsys.readouterr().err


class Recent(torch.nn.Module):
    def forward(self, photos):
        return photos + 0 * photos.mean((2, 3), keepdim=True)


def test_an_opset_that_lacks_an_operator_is_refused(tmp_path):
    export_onnx(Recent(), tmp_path / "new.onnx", metadata={})
    with pytest.raises(WorkError, match=r"old\.onnx: not written, the network doesn't fit opset 17"):
        export_onnx(Recent(), tmp_path / "old.onnx", metadata={}, variant=Variant(opset=17))
    assert [path.name for path in tmp_path.iterdir()] == ["new.onnx"]


def test_the_command_exports_and_lists(checkpoint, many_model, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("nst_lightning.commands.export_list.SIDE", 96)
    shutil.copy(many_model, tmp_path / "plain.onnx")
    options = ["--bake", "wood:0.5", "--fixed-size", "64x96", "--io", "uint8-nhwc", "--precision", "float16"]
    assert main(["export", checkpoint, "--output", str(tmp_path / "baked.onnx"), *options]) == 0
    line = capsys.readouterr().out.strip()
    assert line.startswith(f"{tmp_path / 'baked.onnx'}: largest difference from torch ")
    assert line.endswith(" dB")
    (tmp_path / "other.onnx").write_text("nothing")
    assert main(["export", "--list", str(tmp_path)]) == 0
    out, error = capsys.readouterr()
    head, baked, plain = out.splitlines()
    assert head.split() == ["MB", "ms", "PSNR", "variant", "inputs", "file"]
    assert "bake wood:0.5, float16, uint8-nhwc, 64x96, batch 1  photo[1,64,96,3]" in baked
    assert baked.endswith("  baked.onnx")
    assert 40 < float(baked.split()[2]) < 80
    assert plain.split()[2:4] == ["-", "plain"]
    assert "photo[batch,3,height,width] style[3] strength[1] preserve_color[1]" in plain
    assert all(float(line.split()[1]) > 0 for line in (baked, plain))
    assert "other.onnx is damaged" in error
    assert main(["export", "--list", str(tmp_path / "baked.onnx")]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[2] == baked.split()[2]
    for path, message in (("none", "list: no such file or folder"), ("other.onnx", "is damaged")):
        assert main(["export", "--list", str(tmp_path / path)]) == 2
        assert message in capsys.readouterr().err
