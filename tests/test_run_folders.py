import os
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

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


def test_runs_that_start_together_share_nothing(tmp_path, config, begun, monkeypatch):
    note, loggers = L.Trainer.fit, f"{tmp_path}/logs"

    def start_another(trainer, ckpt_path=None, **_):
        monkeypatch.setattr(L.Trainer, "fit", note)
        note(trainer, ckpt_path)
        assert main(command) == 0

    for own in ([], ["--trainer.logger", "CSVLogger", "--trainer.logger.save_dir", loggers]):
        begun.clear()
        command = ["fit", "--config", config, *own]
        monkeypatch.setattr(L.Trainer, "fit", start_another)
        assert main(command) == 0
        first, second = begun
        assert not {first["folder"], first["best"], *first["logs"]} & {
            second["folder"],
            second["best"],
            *second["logs"],
        }


def test_many_claims_at_once(tmp_path):
    (tmp_path / "version_7").mkdir()
    (tmp_path / "version_old").mkdir()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: claim_version(tmp_path), range(24)))
    assert sorted(found) == list(range(8, 32))


def test_a_named_version_is_used_as_it_is(tmp_path, config, begun):
    named = ["--trainer.logger", "CSVLogger", "--trainer.logger.save_dir", f"{tmp_path}/logs"]
    named += ["--trainer.logger.name", "mine", "--trainer.logger.version", "a"]
    for _ in range(2):
        assert main(["fit", "--config", config, *named]) == 0
    assert [run["folder"] for run in begun] == [tmp_path / "logs/mine/a"] * 2


@pytest.fixture
def short(tmp_path, config):
    """A run without sheets and ONNX file, which keeps the checkpoint of every step."""
    content = yaml.safe_load(Path(config).read_text(encoding="utf-8"))
    content["checkpoint"] = {"every_n_steps": 1, "keep_all": True}
    content["sheet"]["every_n_steps"] = 0
    content["export"] = {"filename": ""}
    content["trainer"]["limit_val_batches"] = 1
    (tmp_path / "short.yaml").write_text(yaml.safe_dump(content))
    return ["fit", "--config", str(tmp_path / "short.yaml")]


@pytest.fixture
def slurm(monkeypatch):
    """Starts of a job, as SLURM's environment variables tell them."""

    def start(job: int, restarts: int = 0) -> None:
        values = {"JOB_ID": job, "NTASKS": 1, "PROCID": 0, "LOCALID": 0, "NODEID": 0, "STEP_ID": 0}
        for name, value in (values | {"RESTART_COUNT": restarts}).items():
            monkeypatch.setenv(f"SLURM_{name}", str(value))

    return start


class Signal(L.Callback):
    """Sends signals at the beginnings of steps."""

    at: ClassVar[dict[int, int]] = {}

    def on_train_batch_start(self, trainer, *_):
        if trainer.global_step in self.at:
            os.kill(os.getpid(), self.at[trainer.global_step])


def steps_of(run):
    return sorted(int(path.stem[5:]) for path in (run / "checkpoints").glob("step-*.ckpt"))


def weights_of(run):
    state = torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    return torch.cat([value.flatten() for value in state.values()])


def test_a_checkpoint_that_nobody_named_is_not_resumed(tmp_path, short, slurm):
    runs = tmp_path / "runs"
    assert main([*short, "--trainer.max_steps", "2"]) == 0
    shutil.copy(runs / "version_0/checkpoints/last.ckpt", runs / "hpc_ckpt_1.ckpt")
    slurm(job=5)
    assert main(short) == 0
    assert steps_of(runs / "version_1") == [1, 2, 3, 4]  # and not from step 2 on


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="SLURM doesn't run on Windows")
def test_a_job_that_is_started_again_goes_on_in_its_own_folder(tmp_path, short, slurm, monkeypatch):
    runs = tmp_path / "runs"
    callback = ["--trainer.callbacks", f"{__name__}.Signal"]
    slurm(job=5)
    assert main([*short, *callback]) == 0
    slurm(job=6)
    with monkeypatch.context() as patch:
        patch.setattr(Signal, "at", {1: signal.SIGUSR1, 2: signal.SIGTERM})
        assert main([*short, *callback]) == 143
    mine = runs / "version_1"
    assert steps_of(mine) == [1, 2, 3]
    metrics = (mine / "metrics.csv").read_text()
    (mine / "checkpoints/last.ckpt").write_bytes(b"the job was killed here")
    assert (mine / "hpc_ckpt_1.ckpt").exists()
    slurm(job=6, restarts=1)
    for path in mine.glob("checkpoints/step-*"):
        path.unlink()
    assert main([*short, *callback]) == 0
    assert steps_of(mine) == [2, 3, 4]
    assert weights_of(mine).equal(weights_of(runs / "version_0"))
    assert (mine / "metrics-0.csv").read_text() == metrics
    assert sorted(path.name for path in runs.iterdir()) == ["version_0", "version_1"]
    assert main([*short, *callback, "--trainer.max_steps", "3"]) == 0  # another request of the same job
    slurm(job=7, restarts=1)
    assert main([*short, *callback]) == 0
    assert [steps_of(runs / f"version_{number}") for number in (2, 3)] == [[1, 2, 3], [1, 2, 3, 4]]
