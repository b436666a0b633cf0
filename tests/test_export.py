import json

import onnx
import onnxruntime
import pytest
import torch

from nst_lightning.cli import main
from nst_lightning.errors import UserError, WorkError
from nst_lightning.export import Variant, export_onnx
from nst_lightning.networks import JohnsonNet, network_record

NETWORKS = {
    "small": lambda: JohnsonNet(4, 2, 3, 2, [1, 4], "bilinear"),
    "deep": lambda: JohnsonNet(4, 1, 9, 3),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_one_file_that_does_what_the_network_does_at_any_size(tmp_path, name):
    torch.manual_seed(0)
    network = NETWORKS[name]()
    path = tmp_path / "style.onnx"
    difference = export_onnx(network, path, metadata={"style": "A painting", "painter": "Ä. Painter"})
    assert [file.name for file in tmp_path.iterdir()] == ["style.onnx"]
    session = onnxruntime.InferenceSession(path)
    for shape in ((1, 3, 41, 83), (3, 3, 32, 32), (1, 3, 100, 57)):
        photo = torch.rand(shape)
        (picture,) = session.run(["picture"], {"photo": photo.numpy()})
        torch.testing.assert_close(torch.from_numpy(picture), network(photo).detach(), rtol=0, atol=1e-4)
    assert b"johnson.py" not in path.read_bytes()  # nor any other path of this machine
    metadata = session.get_modelmeta().custom_metadata_map
    assert metadata["style"] == "A painting"
    assert metadata["painter"] == "Ä. Painter"
    assert float(metadata["largest_difference"]) == pytest.approx(difference.largest, rel=0.01)
    assert float(metadata["psnr"]) == pytest.approx(difference.psnr, abs=0.1)
    assert difference.psnr > 100
    model = onnx.load(path)
    onnx.checker.check_model(model)
    assert [dim.dim_param or dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim] == [
        "batch",
        3,
        "height",
        "width",
    ]
    assert [dim.dim_param or dim.dim_value for dim in model.graph.output[0].type.tensor_type.shape.dim] == [
        "batch",
        3,
        "height",
        "width",
    ]


def test_many_styles_are_one_file_with_inputs_of_their_own(many, many_model):
    network, path = many, many_model
    session = onnxruntime.InferenceSession(path)
    assert [(node.name, node.shape) for node in session.get_inputs()[1:]] == [
        ("style", [3]),
        ("strength", [1]),
        ("preserve_color", [1]),
    ]
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["styles"]) == ["ink", "glass", "wood"]
    assert json.loads(metadata["defaults"]) == {"style": [1, 0, 0], "strength": [1], "preserve_color": [0]}
    for shape in ((1, 3, 41, 83), (2, 3, 32, 32)):
        inputs = [torch.rand(shape), torch.tensor([0.3, 0.5, 0.2]), torch.tensor([0.6]), torch.tensor([0.5])]
        feed = {node.name: value.numpy() for node, value in zip(session.get_inputs(), inputs)}
        (picture,) = session.run(["picture"], feed)
        torch.testing.assert_close(torch.from_numpy(picture), network(*inputs).detach(), rtol=0, atol=1e-4)


def test_chosen_styles_are_exported_in_the_order_given_and_in_half_precision(tmp_path, many, capsys):
    credits, weights = json.dumps({"ink": "I", "wood": "W"}), json.dumps({"ink": 1, "glass": 2, "wood": 3})
    state = {f"network.{key}": value for key, value in many.state_dict().items()}
    record = network_record(many, {"credits": credits, "style_weights": weights, "style": "ink, glass, wood"})
    torch.save({"transfer_network": record, "state_dict": state}, tmp_path / "x.ckpt")
    call = ["export", str(tmp_path / "x.ckpt"), "--output", str(tmp_path / "x.onnx")]
    assert main([*call, "--styles", "[wood, glass]", "--precision", "float16"]) == 0
    check_half(tmp_path / "x.onnx")
    session, photo = onnxruntime.InferenceSession(tmp_path / "x.onnx"), torch.rand(1, 3, 40, 44)
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["styles"]) == ["wood", "glass"]
    assert json.loads(metadata["credits"]) == {"wood": "W"}
    assert json.loads(metadata["style_weights"]) == {"wood": 3, "glass": 2}
    assert metadata["style"] == "wood, glass"
    values = photo, torch.tensor([1.0, 0]), torch.ones(1), torch.zeros(1)
    (picture,) = session.run(None, {node.name: v.numpy() for node, v in zip(session.get_inputs(), values)})
    expected = many(photo, torch.tensor([0.0, 0, 1])).detach()
    torch.testing.assert_close(torch.from_numpy(picture), expected, rtol=0, atol=0.01)
    assert (torch.from_numpy(picture) - many(photo)).abs().max() > 0.05  # another style
    assert main([*call, "--styles", "[ink, water]"]) == 2
    assert "styles: there is no 'water'; styles: ink, glass, wood" in capsys.readouterr().err


def test_half_precision_is_half_as_large_and_nearly_the_same(tmp_path):
    torch.manual_seed(0)
    difference = export_onnx(
        NETWORKS["small"](), tmp_path / "half.onnx", metadata={}, variant=Variant(precision="float16")
    )
    assert 1e-5 < difference.largest < 0.01
    assert 50 < difference.psnr < 90
    check_half(tmp_path / "half.onnx")


def check_half(path):
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    initializers = model.graph.initializer
    weights = [tensor for tensor in initializers if len(tensor.dims) == 4 and tensor.name != "blur"]
    assert {tensor.data_type for tensor in weights} == {onnx.TensorProto.FLOAT16}
    session = onnxruntime.InferenceSession(path)
    assert {node.type for node in (*session.get_inputs(), *session.get_outputs())} == {"tensor(float)"}


class Fickle(torch.nn.Module):
    """Does something else when it is exported."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, photos):
        return photos if torch.compiler.is_exporting() else self.factor * photos


@pytest.mark.parametrize("factor", [0.9, float("nan")])
def test_a_file_that_differs_is_not_kept(tmp_path, factor):
    path = tmp_path / "style.onnx"
    path.write_bytes(b"before")
    with pytest.raises(WorkError, match="not written, ONNX Runtime differs from torch"):
        export_onnx(Fickle(factor), path, metadata={})
    assert path.read_bytes() == b"before"
    assert len(list(tmp_path.iterdir())) == 1


def test_the_name_must_say_onnx(tmp_path):
    with pytest.raises(UserError, match=r"output must be a file name that ends in \.onnx, got '.*style\.pb'"):
        export_onnx(NETWORKS["small"](), tmp_path / "style.pb", metadata={})
