import pytest

from nst_lightning.cli import main
from nst_lightning.commands import evaluate_optimizer
from nst_lightning.encoders import CompactEncoder, image_to_tensor
from nst_lightning.images import list_pictures, read_rgb
from nst_lightning.metrics import Evaluator
from nst_lightning.optimization import PyramidOptions, optimize_picture


@pytest.mark.parametrize("methods", [["lbfgs", "pyramid"], ["adam", "warm"]])
def test_prints_figures_at_each_time(capsys, photos, painting, compact_weights, model, methods):
    own = [item for method in methods for item in ("--method", method)]
    small = [
        "--long-side",
        "160",
        "--count",
        "2",
        "--seconds",
        "[0.2, 0.4]",
        "--iterations",
        "2",
        "--model",
        model,
    ]
    encoder = ["--vgg19", "null", "--compact", compact_weights]
    assert (
        main(["evaluate", "optimizer", "--photos", str(photos), "--paintings", painting, *encoder, *own, *small]) == 0
    )
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:-1]]
    assert [row[:2] for row in rows if "*" not in row[1]] == [[method, "0"] for method in methods for _ in range(2)]
    assert [row[0] for row in rows if "*" in row[1]] == methods
    assert len({tuple(row[2:]) for row in rows if "*" in row[1]}) == 2


def test_the_last_rows_are_what_optimize_makes_at_256_pixels_and_at_its_size(capsys, photos, painting, compact_weights):
    encoder = CompactEncoder(compact_weights)
    photo = list_pictures(photos)[0]
    arguments = ["--photos", str(photo), "--paintings", painting, "--vgg19", "null", "--compact", compact_weights]
    small = ["--method", "pyramid", "--long-side", "300", "--levels", "1", "--iterations", "2", "--seconds", "[1000]"]
    assert main(["evaluate", "optimizer", *arguments, *small]) == 0
    rows = [line.split()[2:] for line in capsys.readouterr().out.splitlines()[-3:-1]]
    content, style = read_rgb(photo), read_rgb(painting)
    pyramid = PyramidOptions(long_side=300, levels=1, iterations=2)
    made = optimize_picture(content, [style], encoder, pyramid=pyramid)
    assert [row[0] for row in rows] == ["256", str(min(made.picture.size))]
    for short_side, *figures in rows:
        evaluator = Evaluator(encoder, image_to_tensor(style), short_side=int(short_side))
        expected = evaluator.measure(image_to_tensor(made.picture), image_to_tensor(content))[0].tolist()
        assert [float(cell) for cell in figures] == pytest.approx(expected, abs=6e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--method", "sgd"], "method must be some of lbfgs, adam, pyramid (`warm` needs model), got ['sgd']"),
        (["--method", "warm"], "(`warm` needs model), got ['warm']"),
        (["--count", "0"], "count"),
        (["--seconds", "[]"], "seconds must be one or more times, got []"),
    ],
)
def test_bad_requests(capsys, photos, painting, compact_weights, change, message):
    encoder = ["--vgg19", "null", "--compact", compact_weights]
    assert main(["evaluate", "optimizer", "--photos", str(photos), "--paintings", painting, *encoder, *change]) == 2
    assert message in capsys.readouterr().err


def test_a_painting_is_measured_once_for_all_methods(photos, painting, compact_weights, monkeypatch):
    made, build = [], evaluate_optimizer.EvaluatorGroup
    monkeypatch.setattr(
        evaluate_optimizer, "EvaluatorGroup", lambda *args, **given: made.append(1) or build(*args, **given)
    )
    arguments = ["--photos", str(list_pictures(photos)[0]), "--paintings", painting, "--vgg19", "null"]
    small = ["--compact", compact_weights, "--long-side", "160", "--iterations", "1", "--seconds", "[0.1]"]
    assert main(["evaluate", "optimizer", *arguments, *small, "--method", "lbfgs", "--method", "pyramid"]) == 0
    assert len(made) == 1
