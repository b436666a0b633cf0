"""The commands and examples in the README, the guide and the cards work, and what they link to and name exists."""

import ast
import dataclasses
import inspect
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import yaml
from conftest import with_metadata
from PIL import Image

from nst_lightning import cli
from nst_lightning.inference import Stylizer
from nst_lightning.inference import stylizer as stylizer_module
from nst_lightning.inference.stylizer import LEAST_FIRST_SIDE
from nst_lightning.networks import JohnsonNet, MultiStyleNet, network_record

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
ARCHITECTURE = ROOT / "docs/guide/architecture.md"
CARD = ROOT / "export/README.md"
CARDS = [*sorted(ROOT.glob("export/*.md")), *sorted(ROOT.glob("nst_lightning/encoders/*.md"))]
CHANGELOG = ROOT / "CHANGELOG.md"  # names what is gone, too
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md")), *CARDS]
TEXTS = {page: page.read_text(encoding="utf-8") for page in [*PAGES, CHANGELOG]}
PREFIX = "python -m nst_lightning "


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", TEXTS[page], re.MULTILINE | re.DOTALL)


def shell_lines():
    """Every command, from blocks and from inline code, once."""
    found = {}
    for page in PAGES:
        lines = "".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()
        inline = re.findall(r"`((?:python -m nst_lightning|make|pip|mkdocs) [^`]+)`", TEXTS[page])
        for line in filter(str.strip, [*lines, *inline]):
            for part in line.split("&&"):
                found.setdefault(" ".join(shlex.split(part, comments=True)), part.strip())
    return [line for line in found.values() if f"{PREFIX}COMMAND" not in line]


def shorten(line):
    """A name for the test of a command."""
    return line.split(PREFIX)[1][:72]


LINES = shell_lines()
COMMANDS = [line for line in LINES if PREFIX in line]
RUNNABLE = {
    "stylize": "",
    "styles": "--height 32",
    "export": "",
    "optimize": "--long-side 48 --iterations 2 --vgg19 null --compact compact.safetensors --device cpu",
    "evaluate pictures": "--short-side 128 --vgg19 null --compact compact.safetensors",
    "evaluate network": "--short-side 128 --vgg19 null --compact compact.safetensors --count 1",
    "evaluate optimizer": "--long-side 48 --vgg19 null --compact compact.safetensors --count 1 --seconds [0.1]",
    "evaluate speed": "--image-size 32 --rounds 1",
    "evaluate latency": "--image-size 32x32 --runs 1",
    "evaluate folders": "--long-side 32 --count 1 --rounds 1",
    "figures explain": "--long-side 48 --iterations 2 --vgg19 null --compact compact.safetensors",
}
"""Commands that run here as they are written, and the options added to make them quick. Others, which train or draw
for long, have tests of their own."""
PARSED_ONLY = (
    "$NST_SHARED",
    "--precision",
    "--bake",
    "--list",
    "--optimized",
    "speed styles",
    "clip.mp4",
    "clip.gif",
    "evaluate flicker",
    "--engine ray",
    "--ray",
)
"""Commands with files from elsewhere, or of ten seconds and more."""
SHORTER = {
    "max_steps=1000": 'max_steps=2, accelerator="cpu", logger=False',
    "short_side=256": "short_side=128",
    "long_side=384": "long_side=64, iterations=2",
    'load_network("styles")': 'load_network("johnson_great_wave")',
}
"""What is replaced in Python examples to make them quick."""


def words_of(line):
    """The command's name, and what follows it."""
    name, *rest = shlex.split(line.split(PREFIX)[1], comments=True)
    return [f"{name} {rest[0]}", *rest[1:]] if name in cli.FAMILIES else [name, *rest]


@pytest.fixture
def parse(monkeypatch, capsys, workshop, options_of):
    """What a command line asks for: options of a function, or the configuration of a run. Nothing is done."""
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(workshop)  # for networks of one's own

    def parse(line):
        arguments = shlex.split(line.split(PREFIX)[1], comments=True)
        if cli.COMMANDS[words_of(line)[0]].target == cli.TRAINING:
            arguments = [re.sub(r"^runs/.*/config\.yaml$", "configs/style.yaml", argument) for argument in arguments]
            with pytest.raises(SystemExit) as end:
                cli.main([*arguments, "--print_config"])
            assert end.value.code == 0
            return yaml.safe_load(capsys.readouterr().out)
        return options_of(arguments)

    return parse


@pytest.mark.parametrize("line", COMMANDS, ids=shorten)
def test_commands_parse(line, parse):
    assert parse(line)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory, photos, painting, compact_weights, model, many_model):
    """A folder with the files that the pages speak of, all of them small."""
    folder = tmp_path_factory.mktemp("workshop")
    with Image.open(painting) as image:
        style = image.convert("RGB")
    for name in ("painting", "a", "b", "dunes", "reeds", "paintings/a", "paintings/b"):
        (folder / name).parent.mkdir(exist_ok=True)
        style.save(folder / f"{name}.jpg")
    photo = photos / "photo0.jpg"
    for name in ("photo.jpg", "photos/one.jpg", "photos/two.jpg"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(photo, folder / name)
    with Image.open(photo) as image:
        image.save(folder / "picture.png")
        for name in ("sky", "ground"):
            Image.new("L", image.size, 128).save(folder / f"{name}.png")
    shutil.copy(compact_weights, folder / "compact.safetensors")
    shutil.copy(CARD.with_name("styles.onnx"), folder / "styles.onnx")
    for name in ("style.onnx", "mine.onnx", "runs/cpu/version_0/style.onnx"):
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        shutil.copy(model, folder / name)
    network = onnx.load(many_model)
    named = {entry.key: entry.value for entry in network.metadata_props}
    onnx.helper.set_model_props(network, {**named, "styles": '["dunes", "reeds", "wood"]'})
    (folder / "runs/many/version_0").mkdir(parents=True)
    onnx.save(network, folder / "runs/many/version_0/style.onnx")
    networks = {"style": JohnsonNet(4, 1, 3), "painting": MultiStyleNet(["painting", "other"], [4, 6, 8], 5, [1])}
    for run, trained in networks.items():
        state = {f"network.{key}": value for key, value in trained.state_dict().items()}
        (folder / f"runs/{run}/version_0/checkpoints").mkdir(parents=True)
        content = {"state_dict": state, "transfer_network": network_record(trained, {})}
        torch.save(content, folder / f"runs/{run}/version_0/checkpoints/last.ckpt")
    write_own_network(folder)
    return folder


def write_own_network(folder):
    """The network that a page defines, as a module, and a checkpoint of it."""
    (source,) = [block for block in blocks(ROOT / "docs/guide/train.md", "python") if "class MyUNet" in block]
    (folder / "my_networks.py").write_text(source, encoding="utf-8")
    names = {"__name__": "my_networks"}
    exec(compile(source, "my_networks", "exec"), names)
    network = names["MyUNet"](24)
    network.init_args = {"width": 24}
    state = {f"network.{key}": value for key, value in network.state_dict().items()}
    (folder / "runs/mine/version_0/checkpoints").mkdir(parents=True)
    content = {"state_dict": state, "transfer_network": network_record(network, {})}
    torch.save(content, folder / "runs/mine/version_0/checkpoints/last.ckpt")


def runs_here(line):
    return words_of(line)[0] in RUNNABLE and not any(text in line for text in PARSED_ONLY)


@pytest.mark.parametrize("line", [line for line in COMMANDS if runs_here(line)], ids=shorten)
def test_commands_run(line, workshop, monkeypatch):
    monkeypatch.chdir(workshop)
    added = shlex.split(RUNNABLE[words_of(line)[0]])
    assert cli.main([*shlex.split(line.split(PREFIX)[1], comments=True), *added]) == 0


@pytest.mark.parametrize("line", [line for line in LINES if PREFIX not in line])
def test_other_shell_commands_make_sense(line):
    program, *arguments = shlex.split(line, comments=True)
    if program == "make":
        done = subprocess.run(["make", "--dry-run", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    elif program == "pip" and arguments[0] == "install":
        section = (ROOT / "pyproject.toml").read_text(encoding="utf-8").split("[project.optional-dependencies]\n")[1]
        section = section.split("\n\n")[0]
        (extras,) = re.findall(r"^(?:\.|nst-lightning|dist/nst_lightning_gpu-\*\.whl)(?:\[(.+)\])?$", arguments[1])
        assert {*filter(None, extras.split(","))} <= {*re.findall(r"^(\w+) = ", section, re.MULTILINE)}
        assert len(arguments) == 2
    elif program.endswith("python"):
        assert arguments[:2] == ["-m", "pytest"]
        assert (ROOT / arguments[2]).is_file()
    elif program.endswith(".sh"):
        done = subprocess.run([ROOT / program], capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "usage: " in done.stderr
        assert arguments[0].isdecimal()
    else:
        assert line in ("python3 -m venv .venv", ". .venv/bin/activate", "pip list")


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.stem)
def test_examples_run(page, workshop, monkeypatch):
    """One after the other: some use what those before them made."""
    monkeypatch.chdir(workshop)
    for example in blocks(page, "python"):
        for text, shorter in SHORTER.items():
            example = example.replace(text, shorter)
        exec(compile(example, page.name, "exec"), {})


def test_an_app_paints_as_the_stylizer_does(workshop, monkeypatch):
    monkeypatch.chdir(workshop)
    example, *_ = blocks(CARD, "python")
    exec(compile(example, "card", "exec"), {})
    expected = Stylizer("styles.onnx")(Image.open("photo.jpg"), style="udnie")
    assert Image.open("picture.png").tobytes() == expected.tobytes()


LARGE = [page for page in PAGES if "large_picture.png" in TEXTS[page]]


@pytest.mark.parametrize("page", LARGE, ids=lambda page: page.stem)
@pytest.mark.parametrize("first", [32, 100, 512])
def test_an_app_paints_large_photos_as_the_stylizer_does(workshop, tmp_path, monkeypatch, page, first):
    """The photo's short side of 140 pixels is as large here, next to 48, as one of 1500 is next to 512."""
    monkeypatch.setattr(stylizer_module, "LEAST_FIRST_SIDE", 48)
    with_metadata(CARD.with_name("styles.onnx"), tmp_path / "styles.onnx", {"sizes": f'{{"udnie": {first}}}'})
    shutil.copy(workshop / "photo.jpg", tmp_path)
    monkeypatch.chdir(tmp_path)
    (example,) = [block for block in blocks(page, "python") if "large_picture.png" in block]
    assert example.count(f"max({LEAST_FIRST_SIDE}, ") == 1
    exec(compile(example.replace(f"max({LEAST_FIRST_SIDE}, ", "max(48, "), page.name, "exec"), {})
    found = np.asarray(Image.open("large_picture.png"), int)
    expected = np.asarray(Stylizer("styles.onnx")(Image.open("photo.jpg"), style="udnie"), int)
    assert np.abs(found - expected).max() <= 3
    assert np.abs(found - expected).mean() < 0.1


def test_the_command_for_many_styles_trains_the_network_that_ships(parse):
    """A network's arguments in a recipe stay when another network takes its place and has them as well."""
    (line,) = [line for line in COMMANDS if "networks.MultiStyleNet" in line]
    model = parse(line)["model"]
    assert MultiStyleNet(**model["network"]["init_args"]).init_args == MultiStyleNet().init_args
    assert model["objective"]["grid_weight"] == 1  # all of the network is trained


def test_settings_and_options_that_pages_name_exist(parse):
    prose = [re.sub(r"^```.*?^```", "", TEXTS[page], flags=re.MULTILINE | re.DOTALL) for page in PAGES]
    inline = [code for text in prose for code in re.findall(r"`([^`]+)`", text)]
    sections = r"^(?!model\.safetensors)(?:--)?((?:model|data|trainer|sheet|writer|export|checkpoint)\.[\w.]+)"
    config = {
        key: value
        for name in ("fit --config configs/style.yaml", "distill --config configs/distill.yaml")
        for key, value in flatten(parse(PREFIX + name))
    }
    assert {name for code in inline for name in re.findall(sections, code)} <= config.keys()
    assert {name for code in inline for name in re.findall(r"(?<!\S)--([a-z][\w-]+)", code)} <= options_of_commands()


def flatten(config, prefix=""):
    for key, value in config.items():
        yield f"{prefix}{key}", value
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")


def options_of_commands():
    found = {"config", "ckpt_path", "help", "model", "data", "trainer", "writer"}
    for command in cli.COMMANDS.values():
        for name, parameter in inspect.signature(cli.load_function(command.target)).parameters.items():
            group = parameter.annotation
            found |= {field.name for field in dataclasses.fields(group)} if dataclasses.is_dataclass(group) else {name}
    return {name.replace("_", "-") for name in found} | {"ckpt_path"}


def rows_of(page):
    """The cells of tables, by the first cell of each row; of rows that begin alike, those of the first."""
    lines = [line for line in TEXTS[page].splitlines() if line.startswith("|")]
    rows = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in lines]
    return {row[0]: row[1:] for row in reversed(rows) if len(row) >= 5 and row[0]}


def test_the_quality_page_has_the_cards_figures():
    page, card = rows_of(ROOT / "docs/guide/quality.md"), rows_of(CARD)
    for style in Stylizer("styles").styles:
        content, of_style, *_, grit, color_grit, of_photos = card[style]
        assert page[style] == [content, of_style, of_photos, grit, color_grit]
    for name in ("johnson_great_wave", "johnson_wheat_field"):
        card = rows_of(CARD.with_name(f"{name}.md"))
        (content, of_style, *_, grit, _), of_photos = card["stylized"], card["the photos themselves"][1]
        assert page[name][1:3] == [of_style, of_photos]
        rounded = pytest.approx([float(content), float(grit)], abs=0.0051)
        assert [float(page[name][0]), float(page[name][3])] == rounded


def test_every_command_is_in_the_readme():
    rows = re.findall(r"^\| `([a-z ]+)` \|", TEXTS[README], re.MULTILINE)
    assert sorted(rows) == sorted(cli.COMMANDS)


def folder_imports(folder):
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "nst_lightning" / folder).glob("*.py")]
    return {name for text in sources for name in re.findall(r"from nst_lightning\.(\w+)", text)}


def test_folders_import_only_what_the_architecture_page_says():
    (drawing,) = [block for block in re.findall(r"^```\n(.*?)^```", TEXTS[ARCHITECTURE], re.M | re.S) if "->" in block]
    folders = {name: "" for name in re.findall(r"^  (\w+)/ ", drawing, re.MULTILINE)}
    folders |= dict(re.findall(r"^  (\w+)/ .*  -> ([a-z ]+?)(?:  |$)", drawing, re.MULTILINE))
    assert set(folders) == {path.parent.name for path in (ROOT / "nst_lightning").glob("*/__init__.py")}
    above = []
    for folder, arrows in folders.items():
        allowed = set(above) if arrows == "all of the above" else set(arrows.split())
        assert allowed <= set(above), folder
        assert folder_imports(folder) & folders.keys() - {folder} <= allowed, folder
        above.append(folder)


def test_only_commands_print():
    for path in (ROOT / "nst_lightning").rglob("*.py"):
        if path.parent.name == "commands" or path.name == "cli.py":
            continue
        calls = [node.func for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
        assert not [call for call in calls if isinstance(call, ast.Name) and call.id == "print"], path


@pytest.mark.parametrize("page", [*PAGES, CHANGELOG], ids=lambda page: page.stem)
def test_what_is_linked_exists(page):
    for path, heading in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", TEXTS[page]):
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), path
        assert page not in CARDS or linked.parent == page.parent  # folders of cards are pushed to hubs alone
        assert ROOT / "docs" not in page.parents or linked.is_relative_to(ROOT / "docs")  # as is the built site
        assert not heading or heading in headings(linked)


def headings(page):
    """As links name them."""
    found = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return [re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in found]


@pytest.mark.parametrize("page", [*PAGES, CHANGELOG], ids=lambda page: page.stem)
def test_spelling_is_american(page):
    british = (
        r"colour|licence|neighbour|\bgrey|behaviour|labelled|(?:al|im|mar|min|ogn|tim|tor|nal|yl)is(?:e|es|ed|ing)\b"
    )
    assert not re.findall(british, TEXTS[page], re.IGNORECASE)


def test_every_folder_of_the_library_has_a_page_in_the_reference():
    named = {page.stem for page in (ROOT / "docs/reference").glob("*.md")}
    folders = {path.parent.name for path in (ROOT / "nst_lightning").glob("*/__init__.py")}
    assert folders - {"commands", "examples"} <= named


def test_every_page_is_in_the_navigation():
    listed = re.findall(r": ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    pages = [page.relative_to(ROOT / "docs").as_posix() for page in PAGES if ROOT / "docs" in page.parents]
    assert sorted(listed) == sorted(pages)
