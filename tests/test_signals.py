import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import lightning as L
import pytest
import torch
import yaml
from PIL import Image
from training_runs import data_of, module_of, trainer_of, weights_of

from nst_lightning import system
from nst_lightning.cli import main
from nst_lightning.errors import SignalExit, WorkError
from nst_lightning.system import StopSignals
from nst_lightning.training import LastCheckpoint, SampleSheet, callbacks
from nst_lightning.training import last as last_module

CODES = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129}
pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows can't send these signals")


class Kill(L.Callback):
    """Sends a signal to this process when the run comes to a place."""

    number: ClassVar[int] = 0
    at: ClassVar[tuple[str, int]] = ("", 0)
    times: ClassVar[int] = 1

    def _come(self, place, trainer):
        if (place, trainer.global_step) == self.at:
            for _ in range(self.times):
                os.kill(os.getpid(), self.number)

    def on_train_batch_start(self, trainer, *_):
        self._come("step", trainer)

    def on_validation_batch_start(self, trainer, *_):
        self._come("validation", trainer)

    def on_train_end(self, trainer, *_):
        self._come("end", trainer)


@pytest.fixture
def short(tmp_path, config):
    """A run of four steps, which saves only at the end, without ONNX file."""
    content = yaml.safe_load(Path(config).read_text(encoding="utf-8"))
    content["checkpoint"] = {"every_n_steps": 100}
    content["sheet"]["every_n_steps"] = 0
    content["export"] = {"filename": ""}
    content["trainer"] |= {"callbacks": [f"{__name__}.Kill"], "limit_val_batches": 2, "num_sanity_val_steps": 0}
    (tmp_path / "short.yaml").write_text(yaml.safe_dump(content))
    return ["fit", "--config", str(tmp_path / "short.yaml")]


@pytest.fixture
def messages(monkeypatch):
    found = []
    monkeypatch.setattr(last_module, "rank_zero_info", found.append)
    return found


@pytest.fixture
def kill(monkeypatch):
    def prepare(name, *at, times=1):
        monkeypatch.setattr(Kill, "number", getattr(signal, name))
        monkeypatch.setattr(Kill, "at", at)
        monkeypatch.setattr(Kill, "times", times)

    return prepare


def state_of(run):
    return torch.load(run / "checkpoints/last.ckpt", weights_only=True)


ACCUMULATING = ("--trainer.accumulate_grad_batches", "2", "--trainer.val_check_interval", "3")


@pytest.mark.parametrize(
    ("options", "interruptions"),
    [
        ((), [("SIGINT", "step", 0, 1), ("SIGTERM", "step", 2, 3), ("SIGHUP", "validation", 2, 2)]),
        (ACCUMULATING, [("SIGTERM", "step", 0, 1), ("SIGTERM", "validation", 1, 1)]),
    ],
    ids=["each signal", "accumulating"],
)
def test_a_signal_saves_the_step_and_the_printed_command_goes_on_exactly(
    tmp_path, short, kill, messages, options, interruptions
):
    before = {number: signal.getsignal(number) for number in system.STOP_SIGNALS}
    assert main([*short, *options]) == 0
    whole = state_of(tmp_path / "runs/version_0")
    for number, (name, place, step, saved) in enumerate(interruptions):
        kill(name, place, step)
        assert main([*short, *options]) == CODES[name]
        assert before == {number: signal.getsignal(number) for number in system.STOP_SIGNALS}
        assert state_of(tmp_path / f"runs/version_{2 * number + 1}")["global_step"] == saved
        command = shlex.split(messages[-1].splitlines()[-1])
        assert command[:4] == [sys.executable, "-m", "nst_lightning", "fit"]
        kill(name, "nowhere", 0)
        assert main(command[3:]) == 0
        resumed = state_of(tmp_path / f"runs/version_{2 * number + 2}")
        assert resumed["global_step"] == whole["global_step"] == 4
        assert all(resumed["state_dict"][key].equal(value) for key, value in whole["state_dict"].items())


def test_distillation_is_stopped_alike(tmp_path, compact_weights, photos, kill, messages):
    kill("SIGTERM", "step", 1)
    root, data = str(tmp_path / "runs"), {"train": str(photos), "short_side": 48, "batch_size": 2, "workers": 0}
    trainer = {"max_steps": 3, "accelerator": "cpu", "default_root_dir": root, "limit_val_batches": 0}
    teacher = {"class_path": "nst_lightning.encoders.CompactEncoder", "init_args": {"weights": compact_weights}}
    content = {"trainer": trainer | {"callbacks": [f"{__name__}.Kill"]}, "data": data}
    student = {"class_path": "nst_lightning.distillation.NarrowStudent", "init_args": {"widths": [4, 4]}}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(content | {"model": {"student": student, "teacher": teacher}}))
    assert main(["distill", "--config", str(tmp_path / "run.yaml")]) == 143
    kill("SIGTERM", "nowhere", 0)
    command = shlex.split(messages[-1].splitlines()[-1])
    assert command[3:5] == ["distill", "--config"]
    assert main(command[3:]) == 0
    assert state_of(tmp_path / "runs/version_1")["global_step"] == 3


def test_before_the_first_step_nothing_is_left(tmp_path, short, kill, messages):
    kill("SIGTERM", "validation", 0)
    assert main([*short, "--trainer.num_sanity_val_steps", "2"]) == 143
    assert messages[-1] == "stopped before a step was trained"
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("place", [("step", 3), ("validation", 4), ("end", 4)])
def test_a_run_that_is_about_to_end_is_completed(tmp_path, short, kill, messages, place):
    kill("SIGINT", *place)
    assert main([*short, "--sheet.every_n_steps", "4"]) == 130
    assert state_of(tmp_path / "runs/version_0")["global_step"] == 4
    assert (tmp_path / "runs/version_0/sheets/step-000004.png").exists()
    assert messages[-1] == f"stopped after the last step, which is in {tmp_path}/runs/version_0/checkpoints/last.ckpt"


def test_an_interrupted_export_can_be_made_good(tmp_path, short, kill, monkeypatch):
    found, name = [], str(tmp_path / "runs/version_0/style.onnx")
    monkeypatch.setattr(callbacks, "rank_zero_info", found.append)
    monkeypatch.setattr(callbacks, "export_onnx", lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM))
    kill("SIGTERM", "nowhere", 0)
    assert main([*short, "--export.filename", "style.onnx"]) == 143
    assert found[-1].startswith(f"{name} is not written. To write it:\n  ")
    command = shlex.split(found[-1].splitlines()[-1])
    assert command[:3] == [sys.executable, "-m", "nst_lightning"]
    assert main(command[3:]) == 0
    assert Path(name).exists()


def test_a_second_signal_stops_at_once(tmp_path, short, kill, monkeypatch):
    monkeypatch.setattr(system, "_SAME_REQUEST", 0.0)
    kill("SIGTERM", "step", 3, times=2)
    assert main(short) == 143
    assert not (tmp_path / "runs/version_0/checkpoints/last.ckpt").exists()


def test_an_ignored_signal_stays_ignored_and_a_repeated_one_counts_once():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as `nohup` does
    first, again = [], []
    try:
        with StopSignals(first.append, again.append) as signals:
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
                os.kill(os.getpid(), number)
            assert (first, again, signals.received) == ([signal.SIGTERM], [], signal.SIGTERM)
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(
    ("hook", "step", "error", "saved"),
    [
        ("on_train_batch_start", 2, OSError("disk full"), 2),
        ("on_before_backward", 3, RuntimeError("out of memory"), 3),
        ("on_train_batch_end", 2, OSError("disk full"), 2),
        ("on_train_start", 0, OSError("disk full"), None),
        ("module", 3, WorkError("not finite"), 3),
        ("module", 3, RuntimeError("amid an update"), None),
    ],
)
@pytest.mark.parametrize("batches", [1, 2])
def test_an_error_saves_what_can_be_saved(
    tmp_path, compact_weights, painting, photos, hook, step, error, saved, batches
):
    def fail(*_):
        if trainer.global_step == step:
            raise error

    callback, module = L.Callback(), module_of(compact_weights, painting)
    setattr(*((module, "on_before_optimizer_step") if hook == "module" else (callback, hook)), fail)
    options = {"max_steps": 5, "accumulate_grad_batches": batches}
    trainer = trainer_of(tmp_path, callbacks=[callback, LastCheckpoint(every_n_steps=100)], **options)
    with pytest.raises(type(error), match=str(error)):
        trainer.fit(module, data_of(photos, batch_size=1))
    path = tmp_path / "checkpoints/last.ckpt"
    assert path.exists() == (saved is not None)
    if saved is not None:
        assert torch.load(path, weights_only=True)["global_step"] == saved
        whole, resumed = module_of(compact_weights, painting), module_of(compact_weights, painting)
        for again, start in ((whole, None), (resumed, path)):
            quiet = trainer_of(tmp_path, enable_checkpointing=False, **options)
            quiet.fit(again, data_of(photos, batch_size=1), ckpt_path=start)
        assert weights_of(whole).equal(weights_of(resumed))


def test_a_full_disk_leaves_no_half_checkpoint(tmp_path, compact_weights, painting, photos, monkeypatch, messages):
    def save(trainer, path, **_):
        Path(path).parent.mkdir(exist_ok=True)
        Path(path).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(L.Trainer, "save_checkpoint", save)
    trainer = trainer_of(tmp_path, max_steps=3, callbacks=[LastCheckpoint(every_n_steps=2)])
    with pytest.raises(OSError, match="disk full"):
        trainer.fit(module_of(compact_weights, painting), data_of(photos))
    assert messages == ["step 2 could not be saved: disk full"]
    assert not list((tmp_path / "checkpoints").iterdir())


def test_in_ones_own_trainer(tmp_path, compact_weights, painting, photos, kill, messages):
    kill("SIGTERM", "step", 2)
    callbacks = [Kill(), SampleSheet(1, count=1, short_side=64), LastCheckpoint(every_n_steps=100)]
    before = {number: signal.getsignal(number) for number in system.STOP_SIGNALS}
    with pytest.raises(SignalExit) as stopped:
        trainer_of(tmp_path, max_steps=5, callbacks=callbacks).fit(
            module_of(compact_weights, painting), data_of(photos)
        )
    assert stopped.value.code == 143
    assert before == {number: signal.getsignal(number) for number in system.STOP_SIGNALS}
    assert f"ckpt_path='{tmp_path}/checkpoints/last.ckpt'" in messages[-1]
    assert len(list((tmp_path / "sheets").iterdir())) == 2  # and none after the signal


def test_two_processes_stop_together(tmp_path, short):
    """One of them gets the signal, and it is not the one that saves."""
    script = tmp_path / "kill.py"
    script.write_text(
        "import os, signal, sys\n"
        "import nst_lightning.cli, nst_lightning.commands.training_run as run\n"
        "class Kill(run.PictureRate):\n"
        "    def on_train_batch_start(self, trainer, *_):\n"
        "        if trainer.global_rank == 1 and trainer.global_step == 1:\n"
        "            os.kill(os.getpid(), signal.SIGTERM)\n"
        "run.PictureRate = Kill\n"
        "sys.exit(nst_lightning.cli.main(sys.argv[1:]))\n"
    )
    recipe = Path(short[-1])
    recipe.write_text(recipe.read_text(encoding="utf-8").replace(f"- {__name__}.Kill", "- LearningRateMonitor"))
    short += ["--trainer.devices", "2", "--trainer.strategy", "ddp"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [sys.executable, script, *short], capture_output=True, text=True, timeout=300, env=environment, check=False
    )
    assert result.returncode == 143, result.stderr[-3000:]
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["version_0"]
    assert state_of(tmp_path / "runs/version_0")["global_step"] == 2
    assert result.stderr.count(f"To go on, in {Path.cwd()}:") == 1


@pytest.mark.parametrize("name", CODES)
def test_commands_clean_up_when_they_are_stopped(tmp_path, model, picture, monkeypatch, name):
    """Here `stylize`, while it writes a picture."""

    def save(image, path, **_):
        Path(path).write_bytes(b"half")
        os.kill(os.getpid(), getattr(signal, name))

    picture(64, 48).save(tmp_path / "photo.png")
    monkeypatch.setattr(Image.Image, "save", save)
    arguments = ["stylize", str(tmp_path / "photo.png"), "--model", model, "--output", str(tmp_path / "out")]
    assert main(arguments) == CODES[name]
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]
