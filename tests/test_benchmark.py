import pytest

from nst_lightning.cli import main
from nst_lightning.export import export_onnx
from nst_lightning.networks import JohnsonNet


@pytest.fixture(scope="module")
def onnx_model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "style.onnx"
    export_onnx(JohnsonNet(4, 1, 3), path, metadata={})
    return str(path)


@pytest.mark.parametrize("methods", [["lbfgs", "pyramid"], ["adam", "warm"]])
def test_prints_figures_at_each_time(capsys, photos, painting, compact_weights, onnx_model, methods):
    own = [item for method in methods for item in ("--method", method)]
    small = ["--size", "160", "--count", "2", "--seconds", "[0.2, 0.4]", "--iterations", "2", "--model", onnx_model]
    encoder = ["--vgg19", "null", "--compact", compact_weights]
    assert main(["benchmark", "--photos", str(photos), "--paintings", painting, *encoder, *own, *small]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:-1]]
    assert [row[:2] for row in rows if "*" not in row[1]] == [[method, "0"] for method in methods for _ in range(2)]
    assert [row[0] for row in rows if "*" in row[1]] == methods
    assert all(float(cell) >= 0 for row in rows for cell in row[2:])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--method", "sgd"], "method: ['sgd'] is not allowed; it must be of lbfgs, adam, pyramid"),
        (["--method", "warm"], "method: ['warm'] is not allowed"),
        (["--count", "0"], "count: 0 is not allowed; it must be 1 or more"),
        (["--seconds", "[]"], "seconds: [] is not allowed"),
    ],
)
def test_bad_requests(capsys, photos, painting, compact_weights, change, message):
    encoder = ["--vgg19", "null", "--compact", compact_weights]
    assert main(["benchmark", "--photos", str(photos), "--paintings", painting, *encoder, *change]) == 2
    assert message in capsys.readouterr().err
