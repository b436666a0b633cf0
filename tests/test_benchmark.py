import pytest

from nst_lightning.cli import main
from nst_lightning.commands.evaluate_optimizer import _Watch
from nst_lightning.commands.evaluate_pictures import Judge
from nst_lightning.encoders import CompactEncoder
from nst_lightning.export import export_onnx
from nst_lightning.images import list_pictures, read_rgb
from nst_lightning.networks import JohnsonNet
from nst_lightning.optimization import OptimizeOptions, Progress, optimize_picture


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
    assert len({tuple(row[2:]) for row in rows if "*" in row[1]}) == 2


def test_the_last_row_is_what_optimize_makes(capsys, photos, painting, compact_weights, picture):
    encoder = CompactEncoder(compact_weights)
    photo = list_pictures(photos)[0]
    arguments = ["--photos", str(photo), "--paintings", painting, "--vgg19", "null", "--compact", compact_weights]
    small = ["--method", "pyramid", "--size", "96", "--levels", "1", "--iterations", "3", "--seconds", "[1000]"]
    assert main(["benchmark", *arguments, *small]) == 0
    *_, last, _ = capsys.readouterr().out.splitlines()
    made = optimize_picture(
        read_rgb(photo), [read_rgb(painting)], encoder, options=OptimizeOptions(size=96, levels=1, iterations=3)
    )
    expected = Judge(read_rgb(photo), read_rgb(painting), encoder)(made.picture)
    assert [float(cell) for cell in last.split()[2:]] == pytest.approx(expected, abs=6e-4)


def test_looks_when_the_time_has_come():
    def at(seconds):
        return Progress(1, 1, 1, 9, {}, seconds, 0.5, lambda: seconds)

    watch = _Watch([1, 2, 3], before=0.5)
    watch(at(0.4))
    watch(at(0.6))
    watch(at(1.0))
    assert watch.ended("last", 1.7) == [(0.6, 1.1), ("last", 2.2), ("last", 2.2), ("last", 2.2)]
    with pytest.raises(KeyboardInterrupt):
        watch(at(2.6))
    assert watch.done
    assert watch.ended("last", 2.7) == [(0.6, 1.1), (2.6, 3.1), (2.6, 3.1), ("last", 3.2)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--method", "sgd"], "method must be of lbfgs, adam, pyramid, got ['sgd']"),
        (["--method", "warm"], "method must be .*, got ['warm']"),
        (["--count", "0"], "count must be >= 1, got 0"),
        (["--seconds", "[]"], "seconds must be .*, got []"),
    ],
)
def test_bad_requests(capsys, photos, painting, compact_weights, change, message):
    encoder = ["--vgg19", "null", "--compact", compact_weights]
    assert main(["benchmark", "--photos", str(photos), "--paintings", painting, *encoder, *change]) == 2
    assert message in capsys.readouterr().err
