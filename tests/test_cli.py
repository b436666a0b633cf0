import errno
import subprocess
import sys

import pytest
import yaml

from nst_lightning import __version__, cli
from nst_lightning.cli import COMMANDS, load_function, main
from nst_lightning.errors import UserError, WorkError, suggest_names


def test_help_lists_every_command(capsys):
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {name} " in out for name in COMMANDS)
    assert main([]) == 2


@pytest.mark.parametrize("family", ["evaluate", "figures"])
def test_families_list_their_commands(capsys, family):
    assert main([family, "--help"]) == 0
    listed = [line.split()[:2] for line in capsys.readouterr().out.splitlines() if line.startswith(f"  {family} ")]
    assert [" ".join(words) for words in listed] == [name for name in COMMANDS if name.startswith(f"{family} ")]
    assert main([family]) == 2


def test_version(capsys):
    assert main(["--version"]) == 0
    assert __version__ in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("fitt", "did you mean fit?"),
        ("stilyze", "did you mean stylize?"),
        ("evaluat", "did you mean evaluate?"),
        ("evaluate spede", "did you mean evaluate speed?"),
        ("xyz", "commands: fit"),
    ],
)
def test_unknown_commands(capsys, name, hint):
    assert main(name.split()) == 2
    assert hint in capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name, capsys):
    with pytest.raises(SystemExit) as exit_:
        main([*name.split(), "--help"])
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
    assert callable(load_function(COMMANDS[name].target))


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


@pytest.mark.parametrize(
    "arguments",
    [
        ["export", "nowhere.ckpt", "--output", "a.onnx"],
        ["evaluate", "pictures", "a.jpg", "--photos", "nowhere.jpg", "--paintings", "c.jpg"],
    ],
)
def test_bad_requests_are_one_line(capsys, monkeypatch, arguments):
    monkeypatch.setenv("NST_VGG19_WEIGHTS", "nowhere.pth")
    assert main(arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"nst-lightning: {arguments[0]}")
    assert "nowhere" in lines[0]


@pytest.mark.parametrize(
    ("error", "code"),
    [(UserError("no"), 2), (WorkError("no"), 1), (OSError("no"), 1), (MemoryError(), 1), (KeyboardInterrupt(), 130)],
)
def test_errors_that_a_user_can_do_something_about_are_one_line(monkeypatch, capsys, error, code):
    raise_in_styles(monkeypatch, error)
    assert main(["styles"]) == code
    assert len(capsys.readouterr().err.splitlines()) == (code != 130)
    monkeypatch.setenv("NST_DEBUG", "1")
    if code != 130:
        with pytest.raises(type(error)):
            main(["styles"])


@pytest.mark.parametrize(
    "error",
    [
        ValueError("torch's own"),
        RuntimeError("a bug"),
        KeyError("a bug"),
        ModuleNotFoundError("a bug"),
        ModuleNotFoundError("a bug", name="nst_lightning.nowhere"),
    ],
)
def test_other_errors_keep_their_traceback(monkeypatch, error):
    raise_in_styles(monkeypatch, error)
    with pytest.raises(type(error)):
        main(["styles"])


def raise_in_styles(monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr("nst_lightning.commands.styles.open_stylizer", fail)


def test_printed_config_can_be_used_again(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["nst-lightning"])
    with pytest.raises(SystemExit):
        main(["fit", "--config", "configs/cpu.yaml", "--print_config"])
    assert yaml.safe_load(capsys.readouterr().out)["trainer"]["max_steps"] == 1000


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (MemoryError(), "there is not enough memory"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (PermissionError(errno.EACCES, "Permission denied", "a.png"), "a.png: Permission denied"),
        (WorkError(), "WorkError"),
    ],
)
def test_failures_are_said_in_words(monkeypatch, capsys, error, problem):
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(cli, "_call", fail)
    assert main(["styles"]) == 1
    assert capsys.readouterr().err == f"nst-lightning: styles: {problem}\n"
