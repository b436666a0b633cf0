import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from nst_lightning.cli import main
from nst_lightning.commands.training import StyleTransferCLI
from nst_lightning.commands.training_run import RunCLI, SaveRunConfig
from nst_lightning.inference import Stylizer


def test_fit_leaves_everything_and_the_other_commands_take_it_up(
    tmp_path, config, photos, capsys, monkeypatch, recwarn
):
    assert main(["fit", "--config", config, "--model.judge", "narrow_vgg16.NarrowVGG16"]) == 0
    shown = capsys.readouterr()
    (line,) = (line for line in shown.err.splitlines() if line.startswith("step"))
    assert re.fullmatch(r"step 4/4  100%  train/loss [\d.]+  .*  pictures_per_second [\d.]+  0 s left", line)
    assert "it/s" not in shown.out + shown.err
    run = tmp_path / "runs/version_0"
    names = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert {
        "config.yaml",
        "metrics.csv",
        "style.onnx",
        "checkpoints/last.ckpt",
        "checkpoints/best.ckpt",
        "checkpoints/step-000004.ckpt",
        "sheets/step-000002.png",
        "sheets/step-000004.png",
    } <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    header = (run / "metrics.csv").read_text(encoding="utf-8").splitlines()[0].split(",")
    for name in (
        "train/loss",
        "pictures_per_second",
        "val/loss",
        "val/content_median",
        "val/style_median",
        "val/grit_median",
        "val/color_grit_median",
        "val/judge_style_median",
    ):
        assert name in header
    stylizer = Stylizer(run / "style.onnx")
    assert stylizer.metadata["steps"] == "4"
    assert float(stylizer.metadata["largest_difference"]) < 1e-3

    saved, last = ["--config", str(run / "config.yaml")], ["--ckpt_path", str(run / "checkpoints/last.ckpt")]
    before = {path: path.read_bytes() for path in (run.parent, run) for path in path.glob("*.yaml")}
    assert main(["validate", *saved, *last]) == 0
    shown = capsys.readouterr()
    assert "val/style_median" in shown.out
    assert shown.err.count("photo") == shown.err.count("photo 8/8  100%  0 s left") == 1
    assert main(["test", *saved, *last]) == 0
    shown = capsys.readouterr()
    assert "test/photo_style_median" in shown.out
    assert shown.err.count("photo") == shown.err.count("photo 8/8  100%  0 s left") == 1
    assert not [warning for warning in recwarn if issubclass(warning.category, UserWarning)]
    out = tmp_path / "out"
    (tmp_path / "new").mkdir()
    (tmp_path / "new/broken.jpg").write_text("no picture")
    shutil.copytree(photos, tmp_path / "new/photos")
    assert main(["predict", *saved, *last, "--data.predict", f"{tmp_path}/new", "--writer.output", str(out)]) == 1
    said, failed = (line for line in capsys.readouterr().err.splitlines() if line.startswith("nst-lightning: "))
    assert said.startswith(f"nst-lightning: left out: {tmp_path}/new/broken.jpg: not a picture")
    assert failed == "nst-lightning: predict: 1 of 9 photos could not be stylized, see above"
    assert len(list(out.rglob("*.png"))) == 8
    with Image.open(out / "photos/more/photo1.jpg.png") as picture, Image.open(photos / "more/photo1.jpg") as photo:
        assert picture.size == photo.size

    assert before == {path: path.read_bytes() for path in (run.parent, run) for path in path.glob("*.yaml")}

    (tmp_path / "file").touch()
    into_a_file = ["--data.predict", str(tmp_path / "new"), "--writer.output", str(tmp_path / "file")]
    assert main(["predict", *saved, *last, *into_a_file]) == 2
    assert f"predict: writer.output: {tmp_path}/file must be a folder, but it is a file" in capsys.readouterr().err

    into_itself = ["--data.predict", str(tmp_path / "new"), "--writer.output", str(tmp_path / "new/out")]
    assert main(["predict", *saved, *last, *into_itself]) == 2
    assert f"writer.output must be outside of {tmp_path}/new, or" in capsys.readouterr().err

    assert main(["fit", *saved, *last]) == 2
    assert "trainer.max_steps must be > 4, the step of" in capsys.readouterr().err
    assert main(["export", str(run / "checkpoints/best.ckpt"), "--output", str(tmp_path / "best.onnx")]) == 0
    assert "largest difference" in capsys.readouterr().out
    monkeypatch.setenv("RUN", str(run))
    last = ["--ckpt_path", "$RUN/checkpoints/last.ckpt"]
    assert main(["fit", *saved, *last, "--trainer.max_steps", "6", "--export.filename", ""]) == 0
    assert torch.load(tmp_path / "runs/version_1/checkpoints/last.ckpt", weights_only=True)["global_step"] == 6
    assert main(["fit", *saved, *last, "--trainer.max_steps", "6", "--trainer.max_epochs", "1"]) == 2
    assert f"--ckpt_path: {run}/checkpoints/last.ckpt is at the end of its run" in capsys.readouterr().err
    assert sorted(path.name for path in run.parent.iterdir()) == ["version_0", "version_1"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model.style", "nowhere.jpg"], "model.style: nowhere.jpg: no such file"),
        (["--data.train", "nowhere", "--data.val", "null"], "data.train: nowhere: no such folder"),
        (["--model.objective.style_layers", "{relu9_1: 1}"], "unknown layer 'relu9_1'; allowed: conv1_1"),
        (["--model.objective.style_weight", "-1"], "model.objective.style_weight must be >= 0, got -1.0"),
        (["--model.content_target", "2"], "model.content_target must be from 0.1 to 0.9, got 2.0"),
        (["--model.content_target", "abc"], "model.content_target must be a number or null, got abc"),
        (["--model.network.init_args.upsampling", "cubic"], "['nearest', 'bilinear']. Got value: cubic"),
        (["--model.network.init_args.blocks", "-1"], "model.network.init_args.blocks must be >= 0, got -1"),
        (["--model.short_side", "128"], "model.short_side"),
        (["--data.batch_size", "0"], "data.batch_size must be >= 1, got 0"),
        (["--data.train", "null", "--data.val", "null"], "data.train must be a folder of photos, got none"),
        (["--model.optimizer.learning_rate", "0"], "model.optimizer.learning_rate must be > 0, got 0.0"),
        (["--model.freeze_shared", "true"], "model.freeze_shared needs a MultiStyleNet, and init_from"),
        (["--model.metadata.credits", "{a: b}"], "model.metadata.credits: there is no 'a'"),
        (["--sheet.photos", "nowhere"], "sheet.photos: nowhere: no such folder"),
        (["--sheet.photos", "broken"], "sheet.photos: none of the photos can be read; broken/a.jpg: not a picture"),
        (["--data.val", "broken"], "data.val: none of the photos can be read; broken/a.jpg: not a picture"),
        (["--export.filename", "a.pb"], "export.filename must be a name that ends in .onnx, or empty, got 'a.pb'"),
        (["--model.stile", "a.jpg"], "unrecognized arguments: --model.stile"),
        (["--model.encoder.init_args.weights", "nowhere.pth"], "no such file: nowhere.pth; use a file that `distill`"),
        (
            ["--model.encoder.init_args.weights", "imagenet"],
            "'imagenet' are weights of VGG19; give 'bundled' or a file",
        ),
        (["--model.init_from", "nowhere.ckpt"], "no such checkpoint"),
        (["--ckpt_path", "nowhere.ckpt"], "nowhere.ckpt: no such checkpoint"),
        (["--trainer.accelerator", "tpu"], "torch_xla"),
        (["--trainer.max_steps", "0"], "trainer.max_steps must be > 0, or -1 for no limit, got 0"),
        (["--sheet.count", "0"], "sheet.count must be >= 1, got 0"),
        (["--checkpoint.every_n_steps", "0"], "checkpoint.every_n_steps must be >= 1, got 0"),
        (["--trainer.default_root_dir", "/proc/nowhere"], "/proc/nowhere"),
        (
            ["--trainer.max_steps", "-1", "--trainer.max_epochs", "-1"],
            "trainer.max_steps or trainer.max_time must be given, since the learning rate falls",
        ),
    ],
)
def test_bad_requests_are_one_clear_line(tmp_path, config, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/a.jpg").write_bytes(b"broken")
    assert main(["fit", "--config", config, *arguments]) in (1, 2)
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("nst-lightning: fit: ")
    assert message in last
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("--encoder Compact", "model.encoder must be the class of an encoder, such as VGG19, or null, got Compact"),
        (
            "--encoder null --encoder.weights a.pth",
            "model.encoder is null: Option 'weights' is not accepted; give the class first, as in "
            "--model.encoder VGG19",
        ),
        (
            "--encoder VGG19 --encoder.pooling bad",
            "model.encoder: Problem with given class_path 'nst_lightning.encoders.VGG19': Parser key \"pooling\": "
            "Expected a typing.Literal['max', 'average', 'l2']. Got value: bad",
        ),
        (
            "--encoder VGG19 --encoder.weights a.pth",
            "model.encoder: VGG-19 weights: no such file: a.pth; use torchvision's VGG-19, which may end early, or the "
            "default encoder, which comes with the package",
        ),
        (
            "--judge VGG16 --judge.pooling bad",
            "model.judge: Problem with given class_path 'nst_lightning.encoders.VGG16': Parser key \"pooling\": "
            "Expected a typing.Literal['max', 'average', 'l2']. Got value: bad",
        ),
        (
            "--judge VGG16 --judge.weights a.pth",
            "model.judge: VGG-16 weights: no such file: a.pth; use torchvision's VGG-16, which may end early",
        ),
    ],
)
def test_bad_encoders_are_one_clear_line(config, capsys, arguments, line):
    """Of which jsonargparse says more: it takes an encoder that may be null for a union of two types."""
    assert main(["fit", "--config", config, *arguments.replace("--", "--model.").split()]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"nst-lightning: fit: {line}"


@pytest.mark.parametrize("command", ["fit", "validate"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"garbage", "damaged, or not a checkpoint"),
        ({"state_dict": {}}, "not of a transfer network"),
        ([torch.nn.Linear(1, 1)], "damaged, or not a checkpoint"),
        ({"transfer_network": {}, "state_dict": {}}, "was not written by Lightning"),
    ],
)
def test_foreign_checkpoints_are_one_clear_line(tmp_path, config, capsys, command, content, message):
    path = tmp_path / "foreign.ckpt"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    assert main([command, "--config", config, "--ckpt_path", str(path)]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"nst-lightning: {command}: ")
    assert re.search(message, last)
    assert "foreign.ckpt" in last


def test_evaluating_needs_a_checkpoint(config, capsys):
    assert main(["predict", "--config", config]) == 2
    assert "--ckpt_path must name a checkpoint, got none" in capsys.readouterr().err


def test_a_misspelt_key_in_a_config_is_named(tmp_path, config, capsys):
    spelt = Path(config).read_text(encoding="utf-8").replace("batch_size", "batchsize")
    (tmp_path / "wrong.yaml").write_text(spelt)
    assert main(["fit", "--config", str(tmp_path / "wrong.yaml")]) == 2
    assert "batchsize" in capsys.readouterr().err.splitlines()[-1]


def test_a_saved_config_is_one_file(tmp_path, config, monkeypatch):
    """Also where sections came from files of their own, even of one name."""
    monkeypatch.setattr(StyleTransferCLI, "after_fit", lambda self: None)
    monkeypatch.setattr(RunCLI, "_run_subcommand", _set_up)
    sections = []
    for section in ("data", "trainer"):
        path = tmp_path / section / "config.yaml"
        path.parent.mkdir()
        path.write_text(yaml.safe_dump(yaml.safe_load(Path(config).read_text(encoding="utf-8"))[section]))
        sections += [f"--{section}", str(path)]
    assert main(["fit", "--config", config, *sections]) == 0
    run = tmp_path / "runs/version_0"
    assert [path.name for path in run.glob("*.yaml")] == ["config.yaml"]
    assert main(["fit", "--config", str(run / "config.yaml")]) == 0


def _set_up(cli, name):
    """Has the configuration saved, and nothing trained."""
    for callback in cli.trainer.callbacks:
        if isinstance(callback, SaveRunConfig):
            callback.setup(cli.trainer, cli.model, name)


def test_a_callback_of_ones_own(config, monkeypatch):
    callbacks = []
    monkeypatch.setattr(StyleTransferCLI, "after_fit", lambda self: None)
    monkeypatch.setattr(RunCLI, "_run_subcommand", lambda self, name: callbacks.extend(self.trainer.callbacks))
    assert main(["fit", "--config", config, "--trainer.callbacks", "LearningRateMonitor"]) == 0
    assert {"LearningRateMonitor", "PictureRate", "SampleSheet"} <= {type(callback).__name__ for callback in callbacks}


def test_two_processes_train_equal_weights_and_export_once(tmp_path, config):
    """In processes of their own, as Lightning launches them."""
    script = tmp_path / "watch.py"
    script.write_text(
        "import sys, torch, lightning as L\n"
        "import nst_lightning.commands.training as cli, nst_lightning.commands.training_run as run\n"
        "class Watch(L.Callback):\n"
        "    def on_fit_end(self, trainer, module):\n"
        "        state = module.network.state_dict() | {'sums': module.balance.state()['sums']}\n"
        "        torch.save(state, f'{sys.argv[0]}.{trainer.global_rank}.pt')\n"
        "run.PictureRate = Watch\n"
        "cli.main('fit', sys.argv[2:])\n"
    )
    short = ["--trainer.max_steps", "2", "--trainer.limit_val_batches", "1"]
    arguments = ["fit", "--config", config, "--trainer.devices", "2", "--trainer.strategy", "ddp", *short]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [sys.executable, script, *arguments], capture_output=True, text=True, timeout=300, env=environment, check=False
    )
    assert result.returncode == 0, result.stderr[-3000:]
    first, second = (torch.load(Path(f"{script}.{rank}.pt"), weights_only=True) for rank in (0, 1))
    assert all(first[key].equal(second[key]) for key in first)
    assert first["sums"][0, 3] > 2  # style losses of both processes
    assert len(list((tmp_path / "runs").rglob("style.onnx"))) == 1
    assert (result.stdout + result.stderr).count("ONNX file:") == 1


def test_whole_limits_are_numbers_and_others_are_shares(tmp_path, config, monkeypatch):
    names = ["limit_train_batches", "limit_val_batches", "limit_test_batches", "limit_predict_batches"]
    found = []
    monkeypatch.setattr(StyleTransferCLI, "after_fit", lambda self: None)
    monkeypatch.setattr(
        RunCLI, "_run_subcommand", lambda self, _: found.append([getattr(self.trainer, name) for name in names])
    )
    (tmp_path / "one.yaml").write_text(yaml.safe_dump({"trainer": dict.fromkeys(names, 1)}))
    assert main(["fit", "--config", config, "--config", str(tmp_path / "one.yaml")]) == 0
    for value in ("1", "1.0", "3", "0.5"):
        limits = [word for name in names for word in (f"--trainer.{name}", value)]
        assert main(["fit", "--config", config, *limits]) == 0
    assert found == [[value] * 4 for value in (1, 1, 1.0, 3, 0.5)]
    assert [type(row[0]) for row in found] == [int, int, float, int, float]
