import shutil

import pytest
import torch
from safetensors.torch import save_file

from nst_lightning.cli import main
from nst_lightning.commands import evaluate_encoder
from nst_lightning.encoders.compact import BUNDLED_FILE


@pytest.fixture(autouse=True)
def one_run(monkeypatch):
    monkeypatch.setattr(evaluate_encoder, "RUNS", 1)
    monkeypatch.setattr(evaluate_encoder, "BATCH", 1)


@pytest.fixture(scope="module")
def first_layers(tmp_path_factory):
    """A VGG-19 that ends at relu1_2, with random weights."""
    generator = torch.Generator().manual_seed(0)
    tensors = {
        "features.0.weight": 0.3 * torch.randn(64, 3, 3, 3, generator=generator),
        "features.0.bias": torch.zeros(64),
        "features.2.weight": 0.05 * torch.randn(64, 64, 3, 3, generator=generator),
        "features.2.bias": torch.zeros(64),
    }
    path = tmp_path_factory.mktemp("vgg") / "first.safetensors"
    save_file(tensors, path)
    return str(path)


@pytest.fixture(scope="module")
def wide(compact_weights, tmp_path_factory):
    """The compact encoder's file with relu1_1 embedded in 64 channels, as VGG-19 has."""
    from safetensors.torch import load_file

    tensors = load_file(compact_weights)
    tensors["embed1_1.weight"], tensors["embed1_1.bias"] = torch.randn(64, 4, 1, 1), torch.rand(64)
    path = tmp_path_factory.mktemp("weights") / "wide.safetensors"
    save_file(tensors, path)
    return str(path)


def test_prints_correlation_speed_and_what_optimization_reaches(capsys, photos, painting, first_layers, wide, tmp_path):
    (tmp_path / "paintings").mkdir()
    shutil.copy(painting, tmp_path / "paintings")
    folders = ["--photos", str(photos), "--paintings", str(tmp_path / "paintings")]
    exact = ["--vgg19", first_layers, "--compact", wide]
    small = ["--short-side", "128", "--count", "2", "--iterations", "15"]
    assert main(["evaluate", "encoder", wide, *folders, *exact, *small]) == 0
    correlations, speed, *both = capsys.readouterr().out.split("\n\n")
    assert correlations.splitlines()[1].split() == ["relu1_1"]
    assert float(correlations.splitlines()[2].split()[0]) < 0.99
    ratios = {line.split()[-1]: float(line.split()[1]) for line in speed.splitlines()[2:]}
    assert ratios["reference"] == 1
    assert ["at one scale" in styles for styles in both] == [True, False]
    one_scale, three_scales = (
        {line.split()[-1]: [float(cell) for cell in line.split()[:2]] for line in styles.splitlines()[2:]}
        for styles in both
    )
    for rows in (one_scale, three_scales):
        assert rows["reference"][1] == 1
        assert rows["reference"][0] < rows["photo"][0]
        assert rows[wide][0] < rows["photo"][0]
    assert one_scale["photo"][0] == three_scales["photo"][0]
    assert one_scale["reference"] != three_scales["reference"]


def test_deep_layers_are_compared_with_vgg16(capsys, photos, painting, compressed_weights, vgg16_weights, tmp_path):
    """The class of a file shows in its tensors."""
    for folder, source in (("photos", next(photos.glob("*.jpg"))), ("paintings", painting)):
        (tmp_path / folder).mkdir()
        shutil.copy(source, tmp_path / folder)
    folders = ["--photos", str(tmp_path / "photos"), "--paintings", str(tmp_path / "paintings")]
    small = ["--vgg16", vgg16_weights, "--short-side", "128", "--count", "1", "--iterations", "1"]
    assert main(["evaluate", "encoder", compressed_weights, *folders, *small]) == 0
    header, names, row = capsys.readouterr().out.splitlines()[:3]
    assert "VGG19 (bundled) + VGG16 (vgg16.safetensors)" in header
    assert names.split() == ["relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"]
    correlations = [float(cell) for cell in row.split()[:-1]]
    assert correlations[:3] == [1, 1, 1]  # both have VGG-19's exact layers
    assert max(map(abs, correlations[3:])) < 0.5


@pytest.mark.weights
def test_pictures_optimized_against_the_bundled_encoder_come_near_the_reference(capsys, shared, tmp_path):
    """As its card says: within 1.5 times, by the exact first blocks and its own deep layers."""
    for folder, source in (
        ("photos", "photos/val/n02894605_breakwater.jpg"),
        ("paintings", "styles/hokusai_great_wave.jpg"),
    ):
        (tmp_path / folder).mkdir()
        shutil.copy(shared / source, tmp_path / folder)
    folders = ["--photos", str(tmp_path / "photos"), "--paintings", str(tmp_path / "paintings")]
    exact = ["--vgg19", str(shared / "weights/vgg19_conv1_1-conv3_4.safetensors"), "--compact", str(BUNDLED_FILE)]
    assert (
        main(
            [
                "evaluate",
                "encoder",
                "bundled",
                *folders,
                *exact,
                "--short-side",
                "128",
                "--count",
                "1",
                "--iterations",
                "20",
            ]
        )
        == 0
    )
    for styles in capsys.readouterr().out.split("\n\n")[2:]:
        ratios = {line.split()[-1]: float(line.split()[1]) for line in styles.splitlines()[2:]}
        assert ratios["bundled"] < 1.5 < ratios["photo"]


@pytest.mark.parametrize(("option", "value"), [("short_side", 64), ("count", 0), ("iterations", 0)])
def test_bad_numbers(capsys, photos, option, value, compact_weights):
    folders = ["--photos", str(photos), "--paintings", str(photos)]
    assert main(["evaluate", "encoder", compact_weights, *folders, f"--{option}", str(value)]) == 2
    assert option in capsys.readouterr().err
