import os
import shlex
import subprocess
import sys
from pathlib import Path

import lightning as L
import pytest
import torch
import yaml
from lightning.pytorch.loggers.logger import DummyLogger

from nst_lightning.cli import main
from nst_lightning.commands.training import StyleTransferCLI
from nst_lightning.training.folder import claim_version, run_folder


class Elsewhere(DummyLogger):
    """A logger whose folder all runs share."""

    save_dir = "shared"


@pytest.fixture
def begun(monkeypatch):
    """What each run of `fit` begins with, in place of training."""
    runs = []

    def note(trainer, ckpt_path=None, **_):
        runs.append(
            {
                "folder": run_folder(trainer),
                "root": Path(trainer.default_root_dir),
                "best": Path(trainer.checkpoint_callback.dirpath),
                "logs": [Path(logger.log_dir) for logger in trainer.loggers if logger.log_dir],
                "checkpoint": ckpt_path,
            }
        )

    monkeypatch.setattr(StyleTransferCLI, "after_fit", lambda cli: None)
    monkeypatch.setattr(StyleTransferCLI, "_refuse_ended_run", lambda cli: None)
    monkeypatch.setattr(L.Trainer, "fit", note)
    return runs


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--trainer.logger", "true"],
        ["--trainer.logger", "false"],
        ["--trainer.logger", f"{__name__}.Elsewhere"],
        ["--trainer.fast_dev_run", "true"],
    ],
)
def test_each_run_has_a_folder_of_its_own(tmp_path, config, monkeypatch, begun, options):
    monkeypatch.setenv("MY_RUNS", str(tmp_path / "runs"))
    for _ in range(2):
        assert main(["fit", "--config", config, "--trainer.default_root_dir", "$MY_RUNS", *options]) == 0
    for number, run in enumerate(begun):
        folder = tmp_path / f"runs/version_{number}"
        assert folder.is_dir()
        assert (run["folder"], run["root"], run["best"]) == (folder, folder, folder / "checkpoints")
        assert set(run["logs"]) <= {folder}
