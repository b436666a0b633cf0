"""What works without the packages of extras, and what is said where they are missing."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from nst_lightning.cli import COMMANDS
from nst_lightning.extras import EXTRAS, advise_install, install_command, require_extra

ROOT = Path(__file__).parent.parent
BASE = {"stylize": "--output OUTPUT", "styles": "--output OUTPUT", "examples": "--output OUTPUT"}
BASE |= {"serve": "--port PORT", "publish": "--push PUSH"}
BASE |= {"evaluate folders": "--workers WORKERS", "evaluate latency": "--runs RUNS"}
TRAIN = [name for name in COMMANDS if name not in BASE]
FOLDERS = ["encoders", "losses", "metrics", "networks", "export", "optimization", "training", "distillation"]
WITHOUT = """
import importlib, sys
for name in sys.argv.pop(1).split(","):
    sys.modules[name] = None
"""
"""Lets a process find none of the packages named by its first argument. `typeshed_client` comes with the extra, too."""
INSTALL_TRAIN = 'pip install "nst-lightning[train]"'


def run_without_extras(code, *arguments):
    blocked = ",".join(["typeshed_client", *(package for packages in EXTRAS.values() for package in packages)])
    command = [sys.executable, "-c", WITHOUT + code, blocked, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def run_command(*arguments):
    return run_without_extras("from nst_lightning.cli import main\nsys.exit(main())", *arguments)


def test_photos_are_stylized_and_styles_are_listed(tmp_path, photos):
    done = run_command("stylize", photos / "photo0.jpg", "--short-side", 64, "--output", tmp_path / "picture.png")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "picture.png").is_file()
    done = run_command("styles", photos / "photo0.jpg", "--height", 32, "--output", tmp_path / "styles.png")
    assert (done.returncode, done.stderr) == (0, "")
    assert "great_wave" in done.stdout
    assert (tmp_path / "styles.png").is_file()


def test_clusters_need_an_extra(tmp_path, photos):
    done = run_command("stylize", photos, "--engine", "ray", "--output", tmp_path / "out")
    advice = 'ray: pip install "nst-lightning[ray]"'
    assert (done.returncode, done.stderr) == (2, f"nst-lightning: stylize needs {advice}\n")


@pytest.mark.parametrize(("name", "option"), BASE.items())
def test_commands_that_need_no_extra_explain_themselves(name, option):
    done = run_command(*name.split(), "--help")
    assert done.returncode == 0
    assert re.search(rf"^options:\n  -h, --help .*\n.*{option}", done.stdout, re.MULTILINE | re.DOTALL)


def test_other_commands_say_which_extra_they_need():
    """In one process, since modules that failed to load are looked for again."""
    code = "from nst_lightning.cli import main\nfor name in sys.argv[1:]:\n    print(main([*name.split(), '--help']))"
    done = run_without_extras(code, *TRAIN)
    assert done.stdout.split() == ["2"] * len(TRAIN)
    lines = done.stderr.splitlines()
    assert len(lines) == len(TRAIN)
    for name, line in zip(TRAIN, lines):
        package = re.fullmatch(rf"nst-lightning: {name} needs (\w+): {re.escape(INSTALL_TRAIN)}", line)
        assert package, line
        assert package[1] in EXTRAS["train"]


def test_uploads_say_which_extra_they_need(tmp_path):
    done = run_command("publish", tmp_path / "folder", "--push", "me/styles")
    assert done.returncode == 2
    assert done.stderr == 'nst-lightning: publish needs huggingface_hub: pip install "nst-lightning[hub]"\n'
    assert not (tmp_path / "folder").exists()


def test_imports_say_which_extra_they_need():
    code = """
for name in sys.argv[1:]:
    try:
        importlib.import_module(f"nst_lightning.{name}")
    except ModuleNotFoundError as error:
        print(name, error.name, error)
"""
    done = run_without_extras(code, *FOLDERS)
    message = f"this part of nst_lightning needs torch: {INSTALL_TRAIN}"
    assert done.stdout.splitlines() == [f"{name} torch {message}" for name in FOLDERS]


def test_no_other_folder_needs_the_extra():
    """All that import torch, onnx and the like at their beginning."""
    pattern = rf"^(?:import|from) (?:{'|'.join(EXTRAS['train'])})\b"
    files = ROOT.glob("nst_lightning/*/*.py")
    found = {path.parent.name for path in files if re.search(pattern, path.read_text("utf-8"), re.MULTILINE)}
    assert found - {"commands"} == set(FOLDERS)


@pytest.mark.parametrize("package", EXTRAS["train"])
def test_each_package_is_named(monkeypatch, package):
    require_extra("train")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModuleNotFoundError, match=f"needs {package}: {re.escape(INSTALL_TRAIN)}") as raised:
        require_extra("train")
    assert raised.value.name == package


@pytest.mark.parametrize(
    ("package", "advice"),
    [
        ("onnx", f"onnx: {INSTALL_TRAIN}"),
        ("onnx.nowhere", None),
        ("onnxruntime", None),
        ("nst_lightning.nowhere", None),
        (None, None),
    ],
)
def test_packages_that_no_extra_brings_get_no_advice(package, advice):
    assert advise_install(package) == advice


def test_extras_bring_the_packages_that_are_looked_for():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (section,) = re.findall(r"^\[project\.optional-dependencies\]\n(.*?)\n\n", text, re.MULTILINE | re.DOTALL)
    lists = re.findall(r"^(\w+) = \[(.*?)\]$", re.sub(" +#.*", "", section), re.MULTILINE | re.DOTALL)
    brought = {extra: re.findall(r'"([\w-]+)', requirements) for extra, requirements in lists}
    renamed = {"scikit-image": "skimage", "scikit-learn": "sklearn", "pillow-heif": "pillow_heif"}
    for extra, packages in EXTRAS.items():
        assert {renamed.get(name, name) for name in brought[extra]} - {"jsonargparse"} == set(packages)
        assert f"[{extra}]" in install_command(extra)
