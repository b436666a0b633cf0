import inspect
import itertools
import sys
from pathlib import Path

import pytest
import torch
import yaml

from nst_lightning.cli import main
from nst_lightning.losses import ObjectiveOptions
from nst_lightning.networks import load_network
from nst_lightning.training import (
    ExportOnnx,
    LastCheckpoint,
    Metadata,
    OptimizerOptions,
    PhotoDataModule,
    PictureWriter,
    SampleSheet,
    build_style_transfer,
)

ROOT = Path(__file__).parent.parent
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))


@pytest.fixture
def parsed(capsys):
    """The configuration that a command understands, of which nothing is built: that would need weights and photos."""

    def parse(command, *arguments):
        with pytest.raises(SystemExit) as end:
            main([command, *arguments, "--print_config"])
        assert end.value.code == 0
        return yaml.safe_load(capsys.readouterr().out)

    return parse


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_parses(path, parsed):
    config = parsed("distill" if path.stem in ("distill", "deep_layers") else "fit", f"--config={path}")
    written = yaml.safe_load(path.read_text(encoding="utf-8"))
    trainer = written["trainer"]
    assert config["trainer"]["max_steps"] == trainer["max_steps"]
    assert trainer["max_steps"] > 0 or trainer["max_time"]
    assert config["data"]["short_side"] == written["data"]["short_side"]


@pytest.mark.parametrize(
    ("config", "encoder", "weights"), [("style", "CompactEncoder", "bundled"), ("quickstart", "VGG19", "imagenet")]
)
def test_the_other_encoder_takes_no_more_than_its_name(config, encoder, weights, parsed):
    found = parsed("fit", f"--config={ROOT}/configs/{config}.yaml", f"--model.encoder={encoder}")["model"]["encoder"]
    assert (found["class_path"].split(".")[-1], found["init_args"]["weights"]) == (encoder, weights)


@pytest.mark.parametrize("config", ["style", "quickstart", "cpu"])
def test_null_is_the_default_encoder(config, parsed):
    assert parsed("fit", f"--config={ROOT}/configs/{config}.yaml", "--model.encoder=null")["model"]["encoder"] is None


@pytest.mark.parametrize(
    ("given", "expected"), [("styles", "styles"), ("[a.ckpt, b.ckpt]", ["a.ckpt", "b.ckpt"]), ("null", None)]
)
def test_a_run_starts_from_one_or_several(given, expected, parsed):
    config = parsed("fit", f"--config={ROOT}/configs/style.yaml", "--model.init_from", given)
    assert config["model"]["init_from"] == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["--model.styles", "a.jpg", "b.jpg"], ["a.jpg", "b.jpg"]),
        (["--model.styles=a.jpg", "b.jpg", "--data.seed", "4"], ["a.jpg", "b.jpg"]),
        (["--model.styles", "a.jpg", "--data.seed=4", "--model.styles", "b.jpg"], ["a.jpg", "b.jpg"]),
        (["--model.styles", "a.jpg", "-c", f"{ROOT}/configs/cpu.yaml"], ["a.jpg"]),
        (["--model.styles", "{a: a.jpg}"], {"a": "a.jpg"}),
        (["--model.styles=[a.jpg]"], ["a.jpg"]),
        (["--model.styles", "null"], None),
        (["--model.style", "a.jpg"], None),
    ],
)
def test_styles_are_a_list_however_they_are_given(given, expected, parsed):
    assert parsed("fit", *given)["model"]["styles"] == expected


def test_the_larger_sibling_begins_as_the_bundled_network(tmp_path, compact_weights, painting, photos, monkeypatch):
    """Two steps of its recipe, so short that they change nothing, on small pictures."""
    monkeypatch.setattr(sys, "argv", ["nst-lightning"])
    overrides = {
        "data.train": photos,
        "data.val": photos,
        "data.short_side": 128,
        "data.surroundings": 0,
        "data.batch_size": 2,
        "data.workers": 0,
        "model.styles": f"{{great_wave: {painting}}}",
        "model.encoder": "CompactEncoder",
        "model.encoder.weights": compact_weights,
        "model.objective.style_scales": "{1: 1}",
        "model.optimizer.learning_rate": 1e-12,
        "trainer.max_steps": 2,
        "trainer.limit_val_batches": 0,
        "trainer.accelerator": "cpu",
        "trainer.precision": "32-true",
        "trainer.default_root_dir": tmp_path,
        "export.filename": "",
        "sheet.every_n_steps": 0,
    }
    words = [word for key, value in overrides.items() for word in (f"--{key}", str(value))]
    assert main(["fit", "--config", f"{ROOT}/configs/styles_large.yaml", *words]) == 0
    larger, _ = load_network(tmp_path / "version_0/checkpoints/last.ckpt")
    bundled, _ = load_network("styles")
    photo, style = torch.rand(2, 3, 64, 80), torch.eye(12)[[3, 7]]
    assert larger.styles == bundled.styles
    torch.testing.assert_close(larger(photo, style), bundled(photo, style), rtol=0, atol=1e-4)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_configs_start_by_saying_what_they_are_for(path):
    assert path.read_text(encoding="utf-8").startswith("# ")


@pytest.mark.parametrize(
    ("section", "described"),
    [
        ("data", PhotoDataModule),
        ("model", build_style_transfer),
        ("model.objective", ObjectiveOptions),
        ("model.optimizer", OptimizerOptions),
        ("model.metadata", Metadata),
        ("checkpoint", LastCheckpoint),
        ("sheet", SampleSheet),
        ("export", ExportOnnx),
        ("writer", PictureWriter),
    ],
)
def test_the_full_recipe_gives_every_key_a_value_and_a_reason(section, described):
    text = (ROOT / "configs/style.yaml").read_text(encoding="utf-8")
    found, below = yaml.safe_load(text), text
    for depth, name in enumerate(section.split(".")):
        found, below = found[name], below.split(f"\n{depth * '  '}{name}:", 1)[1]
        below = below[below.index("\n") :]
    linked = {"short_side"} if section == "model" else set()  # to that of `data`
    keys = set(inspect.signature(described).parameters) - linked
    assert set(found) == keys
    indent = " " * 2 * (section.count(".") + 1)
    lines = itertools.takewhile(lambda line: line.startswith(indent), below.splitlines()[1:])
    explained = {line.split(":")[0].strip() for line in lines if "#" in line}
    assert keys - {"network", "encoder"} <= explained  # theirs are below them
