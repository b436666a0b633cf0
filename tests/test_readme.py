"""The README's examples run, and the commands in it and in the cards parse."""

import functools
import re
import shlex
import shutil
from pathlib import Path

import pytest
from PIL import Image

from nst_lightning import cli
from nst_lightning.commands.training import RunCLI, StyleTransferCLI, _with_styles_listed, main
from nst_lightning.inference import Stylizer
from nst_lightning.networks import MultiStyleNet
from nst_lightning.training import PhotoDataModule, StyleTransfer

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *(ROOT / "export").glob("*.md"), ROOT / "nst_lightning/encoders/compact_encoder.md"]
TEXTS = [page.read_text(encoding="utf-8") for page in PAGES]
TEXT = TEXTS[0]
SHELL = "".join(re.findall(r"```sh\n(.*?)```", "".join(TEXTS), re.DOTALL)).replace("\\\n", " ")
COMMANDS = [line for line in SHELL.splitlines() if "-m nst_lightning" in line]
EXAMPLES = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def test_examples_run(tmp_path, monkeypatch, photos, painting, compact_weights, picture):
    """In the README's order of need: the second example trains what the first one uses."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(photos, "photos")
    shutil.copy(painting, "painting.jpg")
    shutil.copy(compact_weights, "compact.safetensors")
    picture(60, 48).save("photo.jpg")
    use, train, optimize = EXAMPLES
    short = train.replace("max_steps=1000", 'max_steps=2, accelerator="cpu", logger=False').replace("256", "128")
    assert len([line for line in train.splitlines() if line]) <= 10
    exec(compile(short, "README", "exec"), {})
    assert list(Path("sheets").iterdir())
    exec(compile(use, "README", "exec"), {})
    assert Path("picture.png").is_file()
    exec(compile(optimize.replace("size=384", "size=64, iterations=2"), "README", "exec"), {})
    assert Path("optimized.png").is_file()


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_parse(line, monkeypatch):
    monkeypatch.chdir(ROOT)
    name, *arguments = shlex.split(line.split("-m nst_lightning ")[1])
    if cli.COMMANDS[name].target == cli.TRAINING:
        monkeypatch.setattr(RunCLI, "instantiate_classes", lambda self: None)
        monkeypatch.setattr(RunCLI, "_run_subcommand", lambda self, name: None)
        monkeypatch.setattr(
            "nst_lightning.networks.checkpoint.read_checkpoint", lambda path, record: {"pytorch-lightning_version": ""}
        )
        if "runs/" in arguments[1]:  # a config that a run leaves
            arguments[1] = "configs/style.yaml"
        main(name, arguments)
        return
    function, calls = cli._function(cli.COMMANDS[name].target), []

    @functools.wraps(function)
    def stub(**options):
        calls.append(options)

    monkeypatch.setattr(cli, "_function", lambda target: stub)
    assert cli.main([name, *arguments]) == 0
    assert len(calls) == 1


def test_the_command_for_many_styles_trains_the_network_that_ships(monkeypatch):
    """A network's arguments in a recipe stay when another network takes its place and has them as well."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(RunCLI, "instantiate_classes", lambda self: None)
    monkeypatch.setattr(RunCLI, "_run_subcommand", lambda self, name: None)
    (line,) = [line for line in COMMANDS if "MultiStyleNet" in line]
    cli = StyleTransferCLI(StyleTransfer, PhotoDataModule, args=_with_styles_listed(shlex.split(line)[3:]))
    given = cli.config.fit.model.network.init_args.as_dict()
    assert MultiStyleNet(**given).init_args == MultiStyleNet().init_args
    assert cli.config.fit.model.grid_weight == 1  # all of the network is trained


def test_folders_import_what_the_readme_says():
    section = TEXT.split("## Architecture")[1].split("## License")[0]
    folders = {name: "" for name in re.findall(r"^  (\w+)/ ", section, re.MULTILINE)}
    folders |= dict(re.findall(r"^  (\w+)/ .*  -> ([a-z ]+?)  ", section, re.MULTILINE))
    assert set(folders) == {path.parent.name for path in (ROOT / "nst_lightning").glob("*/__init__.py")}
    for folder, arrows in folders.items():
        sources = [path.read_text(encoding="utf-8") for path in (ROOT / "nst_lightning" / folder).glob("*.py")]
        imported = {name for text in sources for name in re.findall(r"from nst_lightning\.(\w+)", text)}
        assert imported & folders.keys() - {folder} == set(arrows.split()), folder
        assert all(list(folders).index(name) < list(folders).index(folder) for name in arrows.split())


def test_every_command_is_in_the_readme():
    assert all(re.search(rf"\b{name}\b", TEXT) for name in cli.COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_is_linked_exists(page):
    for path, heading in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", page.read_text(encoding="utf-8")):
        linked = page.parent / path if path else page
        assert linked.exists(), path
        assert page.parent != ROOT / "export" or linked.parent == page.parent  # it is pushed to hubs alone
        assert not heading or heading in headings(linked)


def headings(page):
    """As links name them."""
    found = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return [re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in found]


def test_an_app_can_do_as_the_card_says(tmp_path, monkeypatch, picture):
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "export/styles.onnx", "styles.onnx")
    picture(60, 48).save("photo.jpg")
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "export/README.md").read_text(encoding="utf-8"), re.DOTALL)
    exec(compile(example, "card", "exec"), {})
    expected = Stylizer("styles.onnx")(Image.open("photo.jpg"), style="udnie")
    assert list(Image.open("picture.png").getdata()) == list(expected.getdata())
