"""What `make fit` does, in small, with every way into a network closed."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from nst_lightning.cli import main
from nst_lightning.inference import Stylizer

ROOT = Path(__file__).parent.parent
OFFLINE = """
import socket, sys
class Refused(socket.socket):
    def __init__(self, family=-1, *args, **kwargs):
        if family in (-1, socket.AF_INET, socket.AF_INET6):
            raise OSError("no network here")
        super().__init__(family, *args, **kwargs)
socket.socket = Refused
socket.getaddrinfo = lambda *args, **kwargs: (_ for _ in ()).throw(OSError("no network here"))
from nst_lightning.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def examples(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "nothing"))  # no weights that an earlier run has downloaded
    monkeypatch.delenv("NST_VGG19_WEIGHTS", raising=False)
    run = offline(tmp_path, "examples")
    assert run.returncode == 0, run.stderr
    return tmp_path


def offline(folder, *arguments):
    call = [sys.executable, "-c", OFFLINE, *arguments]
    return subprocess.run(call, cwd=folder, capture_output=True, text=True, timeout=300)


def test_trains_offline_and_says_what_to_do_next(examples):
    config = ["--config", str(ROOT / "configs/quickstart.yaml")]
    config += ["--trainer.default_root_dir", "my runs"]
    short = ["--trainer.max_steps", "2", "--trainer.val_check_interval", "2", "--trainer.limit_val_batches", "1"]
    small = ["--data.size", "256", "--sheet.size", "64"]
    run = offline(examples, "fit", *config, *short, *small)
    assert run.returncode == 0, run.stderr
    told = (run.stdout + run.stderr).split("Trained:")[1]
    named = dict(re.findall(r"^  (sheet|checkpoint|ONNX file) +(.+)$", told, re.MULTILINE))
    assert {name: (examples / path).is_file() for name, path in named.items()} == {
        "sheet": True,
        "checkpoint": True,
        "ONNX file": True,
    }
    assert Stylizer(examples / named["ONNX file"]).metadata["encoder"] == "CompactEncoder (bundled)"
    line = re.search(r"^  (.* -m nst_lightning stylize .*)$", told, re.MULTILINE).group(1)
    python, _, _, *advised = shlex.split(line)
    assert python == sys.executable
    Image.new("RGB", (50, 40), "teal").save(examples / "photo.jpg")
    assert offline(examples, *advised).returncode == 0
    with Image.open(next((examples / "out").iterdir())) as picture:
        assert picture.size == (50, 40)


def test_the_network_is_really_closed(tmp_path):
    told = subprocess.run(
        [
            sys.executable,
            "-c",
            OFFLINE.replace(
                "from nst_lightning.cli", "socket.socket(socket.AF_INET).connect(('127.0.0.1', 9))\nfrom x"
            ),
        ],
        capture_output=True,
        text=True,
    )
    assert "no network here" in told.stderr


def test_without_the_examples_says_which_folder_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["fit", "--config", str(ROOT / "configs/quickstart.yaml")]) == 2
    assert "`python -m nst_lightning examples` writes it" in capsys.readouterr().err
