"""The script that trains the bundled recipe on a GPU within a given time, with a stand-in for Python."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from nst_lightning.cli import main

SCRIPT = Path(__file__).parent.parent / "configs/bundled/train_on_gpu.sh"
STAND_IN = """#!{python}
import pathlib, signal, sys, time
arguments = sys.argv[3:]
with open("calls.txt", "a") as calls:
    print("\\t".join(arguments), file=calls)
if arguments[0] == "fit":
    folder = pathlib.Path("runs/version_3/checkpoints")
    folder.mkdir(parents=True)
    pathlib.Path("runs/version_12").mkdir()
    if pathlib.Path("slow").exists():
        signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.3), (folder / "last.ckpt").touch(), sys.exit(143)))
        time.sleep(60)
else:
    print("val/style_median 0.1")
"""


@pytest.fixture
def start(tmp_path):
    """A function that starts the script in a folder of its own."""
    python = tmp_path / "python"
    python.write_text(STAND_IN.format(python=sys.executable))
    python.chmod(0o755)
    (tmp_path / "examples/styles").mkdir(parents=True)
    (tmp_path / "examples/styles/impasto.png").touch()

    def start(*arguments, **variables):
        environment = {**os.environ, "PYTHON": str(python), "RUNS": "runs", **variables}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen([SCRIPT, *arguments], cwd=tmp_path, env=environment, **pipes)

    return start


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "usage: "),
        (["ten"], "usage: "),
        (["0"], "usage: "),
        (["100"], "SECONDS must be > 100, which RESERVE sets, got 100"),
    ],
)
def test_bad_requests_are_one_clear_line(start, arguments, message):
    process = start(*arguments)
    _, shown = process.communicate(timeout=10)
    assert process.returncode == 2
    assert message in shown
    assert shown.count("\n") == 1


@pytest.mark.parametrize(
    ("seconds", "reserve", "expected"),
    [("3800", "100", "00:01:01:40"), ("90061", "0", "01:01:01:01"), ("59", "20", "00:00:00:39")],
)
def test_the_steps_have_the_time_that_is_not_kept(start, tmp_path, capsys, seconds, reserve, expected):
    process = start(seconds, "--data.batch_size", "2", RESERVE=reserve)
    shown, _ = process.communicate(timeout=10)
    assert process.returncode == 0
    fit, validate = (line.split("\t") for line in (tmp_path / "calls.txt").read_text().splitlines())
    with pytest.raises(SystemExit):
        main([*fit, "--print_config"])
    asked = yaml.safe_load(capsys.readouterr().out)
    assert (asked["trainer"]["max_time"], asked["trainer"]["max_steps"]) == (expected, -1)
    assert asked["data"]["batch_size"] == 2
    assert "great_wave" in asked["model"]["styles"]
    assert validate[:3] == ["validate", "--config", "runs/version_12/config.yaml"]
    assert "val/style_median 0.1" in shown
    assert (tmp_path / "runs/version_12/figures.txt").read_text() == "val/style_median 0.1\n"


def test_a_signal_lets_the_run_save(start, tmp_path):
    (tmp_path / "slow").touch()
    process = start("1000")
    deadline = time.monotonic() + 10
    while not (tmp_path / "runs/version_12").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=10)
    assert process.returncode == 143
    assert (tmp_path / "runs/version_3/checkpoints/last.ckpt").exists()
    assert "validate" not in (tmp_path / "calls.txt").read_text()
