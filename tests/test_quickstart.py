"""What `make fit` does, in small, with every way into a network closed."""

import re
import shlex
import socket
import sys
from pathlib import Path

import pytest
from PIL import Image

from nst_lightning.cli import main
from nst_lightning.examples import mosaic
from nst_lightning.inference import Stylizer

ROOT = Path(__file__).parent.parent


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """A folder to work in, without a network and without weights that an earlier run has downloaded."""

    class Refused(socket.socket):
        def __init__(self, family=-1, *args, **kwargs):
            if family in (-1, socket.AF_INET, socket.AF_INET6):
                raise OSError("no network here")
            super().__init__(family, *args, **kwargs)

    def refuse(*args, **kwargs):
        raise OSError("no network here")

    monkeypatch.setattr(socket, "socket", Refused)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(sys, "argv", ["nst-lightning"])
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "nothing"))
    monkeypatch.delenv("NST_VGG19_WEIGHTS", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_trains_offline_and_says_what_to_do_next(offline, caplog, monkeypatch):
    monkeypatch.setattr("nst_lightning.commands.examples.STYLES", {"mosaic": lambda: mosaic(256)})
    assert main(["examples"]) == 0
    config = ["--config", str(ROOT / "configs/quickstart.yaml"), "--trainer.default_root_dir", "my runs"]
    short = ["--trainer.max_steps", "2", "--trainer.val_check_interval", "2", "--trainer.limit_val_batches", "1"]
    small = ["--data.short_side", "256", "--data.workers", "0", "--sheet.short_side", "64"]
    with caplog.at_level("INFO"):
        assert main(["fit", *config, *short, *small]) == 0
    report = caplog.text.split("Trained:")[1]
    named = dict(re.findall(r"^  (sheet|checkpoint|ONNX file) +(.+)$", report, re.MULTILINE))
    assert {name: (offline / path).is_file() for name, path in named.items()} == {
        "sheet": True,
        "checkpoint": True,
        "ONNX file": True,
    }
    assert Stylizer(offline / named["ONNX file"]).metadata["encoder"] == "CompressedVGG (bundled)"
    line = re.search(r"^  (.* -m nst_lightning stylize .*)$", report, re.MULTILINE).group(1)
    python, _, module, *advised = shlex.split(line)
    assert (python, module) == (sys.executable, "nst_lightning")
    Image.new("RGB", (50, 40), "teal").save(offline / "photo.jpg")
    assert main(advised) == 0
    with Image.open(next((offline / "out").iterdir())) as picture:
        assert picture.size == (50, 40)


def test_the_network_is_really_closed(offline):
    with pytest.raises(OSError, match="no network here"):
        socket.create_connection(("127.0.0.1", 9))
    with pytest.raises(OSError, match="no network here"):
        socket.socket()


def test_without_the_examples_says_which_folder_is_missing(offline, capsys):
    assert main(["fit", "--config", str(ROOT / "configs/quickstart.yaml")]) == 2
    error = capsys.readouterr().err
    assert "model.style: examples/styles/mosaic.png is missing; `python -m nst_lightning examples` writes it" in error
    assert main(["fit", "--config", str(ROOT / "configs/quickstart.yaml"), "--model.style", "a.png"]) == 2
    assert "data.train: examples/photos/train is missing" in capsys.readouterr().err
