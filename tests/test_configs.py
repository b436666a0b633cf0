import inspect
import itertools
from pathlib import Path

import pytest
import yaml
from lightning.pytorch.cli import LightningArgumentParser

from nst_lightning.commands.training import DistillationCLI, RunCLI, StyleTransferCLI
from nst_lightning.distillation.module import Distillation
from nst_lightning.training import (
    ExportOnnx,
    LastCheckpoint,
    PhotoDataModule,
    PictureWriter,
    SampleSheet,
    StyleTransfer,
)

ROOT = Path(__file__).parent.parent
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
STAGES = [*(f"{i:02}" for i in range(1, 14)), "11_balance", "12_balance", "14_balance"]
CHANGES = {
    **dict.fromkeys(STAGES, "14"),
    **dict.fromkeys(("18", "19", "19_balance", "20"), "17"),
    **{f"{name}_balance": name for name in ("15", "16", "styles")},
}
"""Configurations that say only what they have different from another."""


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_parses(path, monkeypatch):
    """Parsed by the command line's own parser; the classes are not built, since that would need weights and photos."""
    monkeypatch.setattr(RunCLI, "instantiate_classes", lambda self: None)
    monkeypatch.setattr(RunCLI, "_run_subcommand", lambda self, name: None)
    files = [path.with_stem(CHANGES[path.stem])] if path.stem in CHANGES else []
    arguments = ["fit", *(f"--config={file}" for file in [*files, path])]
    if path.stem.startswith("distill"):
        cli = DistillationCLI(Distillation, PhotoDataModule, args=arguments)
    else:
        cli = StyleTransferCLI(StyleTransfer, PhotoDataModule, args=arguments)
        assert cli.config.fit.model.size == cli.config.fit.data.size
    assert isinstance(cli.parser, LightningArgumentParser)
    assert cli.config.fit.trainer.max_steps > 0


@pytest.mark.parametrize(
    ("config", "encoder", "weights"), [("style", "CompactEncoder", "bundled"), ("quickstart", "VGG19", "imagenet")]
)
def test_the_other_encoder_takes_no_more_than_its_name(config, encoder, weights, monkeypatch):
    monkeypatch.setattr(RunCLI, "instantiate_classes", lambda self: None)
    monkeypatch.setattr(RunCLI, "_run_subcommand", lambda self, name: None)
    arguments = ["fit", f"--config={ROOT}/configs/{config}.yaml", f"--model.encoder={encoder}"]
    found = StyleTransferCLI(StyleTransfer, PhotoDataModule, args=arguments).config.fit.model.encoder
    assert (found.class_path.split(".")[-1], found.init_args.weights) == (encoder, weights)


@pytest.mark.parametrize(
    ("given", "expected"), [("styles", "styles"), ("[a.ckpt, b.ckpt]", ["a.ckpt", "b.ckpt"]), ("null", None)]
)
def test_a_run_starts_from_one_or_several(given, expected, monkeypatch):
    monkeypatch.setattr(RunCLI, "instantiate_classes", lambda self: None)
    monkeypatch.setattr(RunCLI, "_run_subcommand", lambda self, name: None)
    arguments = ["fit", f"--config={ROOT}/configs/style.yaml", "--model.init_from", given]
    assert StyleTransferCLI(StyleTransfer, PhotoDataModule, args=arguments).config.fit.model.init_from == expected


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_configs_start_by_saying_what_they_are_for(path):
    assert path.read_text(encoding="utf-8").startswith("# ")


@pytest.mark.parametrize(
    ("section", "cls"),
    [
        ("data", PhotoDataModule),
        ("model", StyleTransfer),
        ("checkpoint", LastCheckpoint),
        ("sheet", SampleSheet),
        ("export", ExportOnnx),
        ("writer", PictureWriter),
    ],
)
def test_the_full_recipe_gives_every_key_a_value_and_a_reason(section, cls):
    text = (ROOT / "configs/style.yaml").read_text(encoding="utf-8")
    keys = set(inspect.signature(cls).parameters) - ({"size"} if section == "model" else set())  # `data.size` is it
    assert set(yaml.safe_load(text)[section]) == keys
    lines = itertools.takewhile(lambda line: line.startswith(" "), text.split(f"\n{section}:\n")[1].splitlines())
    given = [line.split(":")[0].strip() for line in lines if "#" in line]
    assert keys - {"network", "encoder"} <= set(given)  # theirs are below them
