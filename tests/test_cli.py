import subprocess
import sys

import pytest
import yaml

from nst_lightning import __version__
from nst_lightning.cli import COMMANDS, _function, main
from nst_lightning.errors import suggest_names


def test_help_lists_every_command(capsys):
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {name} " in out for name in COMMANDS)
    assert main([]) == 2


def test_version(capsys):
    assert main(["--version"]) == 0
    assert __version__ in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "hint"), [("fitt", "did you mean fit?"), ("stilyze", "did you mean stylize?"), ("xyz", "commands: fit")]
)
def test_unknown_commands(capsys, name, hint):
    assert main([name]) == 2
    assert hint in capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name, capsys):
    with pytest.raises(SystemExit) as exit_:
        main([name, "--help"])
    assert exit_.value.code == 0
    out = capsys.readouterr().out
    assert "usage: " in out
    positional = out.partition("options:")[0]
    for argument, nargs in COMMANDS[name].positional.items():
        assert argument in positional
        assert nargs != "*" or "(required)" not in positional


@pytest.mark.parametrize(
    ("name", "names", "said"),
    [
        ("a", ["great_wave", "pastel"], "names: great_wave, pastel"),  # too short to mean those that have it in theirs
        ("wave", ["great_wave", "Wave", "ink"], "did you mean great_wave or Wave?"),
        ("z", ["Wave", "wave"], "names: Wave, wave"),
        ("", ["wave"], "names: wave"),
    ],
)
def test_names_that_may_be_meant(name, names, said):
    assert suggest_names(name, names, "names") == said


@pytest.mark.parametrize("name", COMMANDS)
def test_targets_exist(name):
    assert callable(_function(COMMANDS[name].target))


def test_works_as_a_module_and_imports_nothing_heavy():
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "nst_lightning", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "stylize" in result.stdout
    imported = {line.split("|")[-1].strip() for line in result.stderr.splitlines()}
    assert not imported & {"torch", "lightning", "onnxruntime", "numpy", "PIL", "jsonargparse"}


@pytest.mark.parametrize("arguments", [["export", "nowhere.ckpt", "--output", "a.onnx"], ["measure", "a", "b", "c"]])
def test_bad_requests_are_one_line(capsys, monkeypatch, arguments):
    monkeypatch.setenv("NST_VGG19_WEIGHTS", "nowhere.pth")
    assert main(arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"nst-lightning: {arguments[0]}: ")
    assert "nowhere" in lines[0]


def test_printed_config_can_be_used_again(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["nst-lightning"])
    with pytest.raises(SystemExit):
        main(["fit", "--config", "configs/cpu.yaml", "--print_config"])
    assert yaml.safe_load(capsys.readouterr().out)["model"]["learning_rate"] == 3e-3
