"""Paths as people write them: `~` and `$VARIABLES`, names that hold a `$`, accents of either Unicode form."""

import unicodedata
from pathlib import Path

import pytest
import yaml
from PIL import Image

from nst_lightning.cli import main
from nst_lightning.errors import UserError
from nst_lightning.images import expand_path, expand_wildcards

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The working folder, with a variable that is set and one that isn't."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.setenv("SET", str(tmp_path / "set"))
    monkeypatch.delenv("AP", raising=False)
    (tmp_path / "home").mkdir()
    return tmp_path


def test_variables_and_home_are_expanded(place):
    assert expand_path("$SET/a.png") == expand_path("${SET}/a.png") == place / "set/a.png"
    assert expand_path("~/a.png") == place / "home/a.png"
    assert expand_path(Path("a/b.png")) == Path("a/b.png")
    assert expand_path("~nobody-of-this-name/a.png") == Path("~nobody-of-this-name/a.png")


@pytest.mark.parametrize("name", ["A$AP.png", "A$SET.png", "$AP", "$SET", "photo$", "${AP}", "~", "a~", "$"])
def test_an_existing_name_is_taken_as_it_is(place, name):
    (place / "folder" / name).mkdir(parents=True)
    (place / name).mkdir()
    assert expand_path(name) == Path(name)
    assert expand_path(f"folder/{name}") == Path("folder", name)
    assert expand_path(f"folder/{name}/new.png") == Path("folder", name, "new.png")  # an output in such a folder


def test_a_new_file_may_have_a_dollar_in_its_name(place):
    assert expand_path("new/A$AP.png") == Path("new/A$AP.png")
    assert expand_path("new/cost$.png") == Path("new/cost$.png")
    assert expand_path(r"new$/photo$") == Path("new$/photo$")  # no variable has an empty name


def test_what_stands_for_a_variable_or_the_home_may_have_a_dollar(place, monkeypatch):
    monkeypatch.setenv("DIR", str(place / "A$AP"))
    monkeypatch.setenv("HOME", str(place / "h$SET"))
    monkeypatch.setenv("USERPROFILE", str(place / "h$SET"))
    assert expand_path("$DIR/p$.png") == place / "A$AP/p$.png"
    assert expand_path("${DIR}/new/a.png") == place / "A$AP/new/a.png"
    assert expand_path("~/a.png") == place / "h$SET/a.png"


@pytest.mark.parametrize("path", ["", "$NONE", "$NONE/photos"])
def test_an_empty_path_is_not_the_working_folder(place, monkeypatch, path):
    monkeypatch.setenv("NONE", "")
    with pytest.raises(UserError, match="is empty"):
        expand_path(path)


@pytest.mark.parametrize("path", ["$AP/a.png", "${AP}/a.png", "$AP", "runs/$AP", "runs/run_$AP", "a/x$AP/b.png"])
def test_a_variable_that_is_not_set_is_named(place, path):
    with pytest.raises(UserError, match="the environment variable AP is not set"):
        expand_path(path)


@pytest.mark.parametrize(("given", "stored"), [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)])
def test_a_path_is_found_in_either_form(place, given, stored):
    (place / stored).mkdir()
    (place / stored / f"{stored}.png").touch()
    found = expand_path(f"{given}/{given}.png")
    assert found == Path(stored, f"{stored}.png")
    assert found.exists()
    assert expand_path(f"{given}/new_{given}.png") == Path(stored, f"new_{given}.png")  # and new names are kept


@pytest.mark.parametrize(("given", "stored"), [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED), (COMPOSED, COMPOSED)])
def test_a_pattern_fits_names_of_either_form(place, picture, given, stored):
    (place / f"{stored}dir").mkdir()
    files = [place / f"{stored}dir" / f"{form}{i}.png" for i, form in enumerate((stored, COMPOSED, DECOMPOSED))]
    for file in files:
        picture(40, 30).save(file)
    for pattern in (f"{given}dir/{given}*.png", f"*/{given}?.png", f"{given}*/*.png"):
        assert sorted(map(str, expand_wildcards(place / pattern))) == sorted(map(str, files))


def test_both_forms_side_by_side_stay_apart(place):
    for name in (COMPOSED, DECOMPOSED):
        (place / name).touch()
    if len(list(place.glob("caf*"))) < 2:
        pytest.skip("this file system doesn't distinguish the forms")
    assert [str(expand_path(name)) for name in (COMPOSED, DECOMPOSED)] == [COMPOSED, DECOMPOSED]


def test_stylize_takes_such_paths(place, model, picture):
    (place / "home/$share").mkdir()
    for path in ("A$AP.png", "home/b.png", "home/$share/c.png"):
        picture(60, 40).save(place / path)
    (place / "home/style.onnx").write_bytes(Path(model).read_bytes())
    common = ["stylize", "--model", "~/style.onnx", "--output"]
    assert main([*common, "~/$share", "A$AP.png", "~/b.png"]) == 0
    assert main([*common, "$SET", "~/$share"]) == 0
    assert main([*common, "out/A$AP.jpg", "A$AP.png"]) == 0
    written = {str(path.relative_to(place)) for path in place.rglob("*.*") if path.is_file()}
    assert written >= {"home/$share/A$AP.png", "home/$share/b.png", "set/c.png", "out/A$AP.jpg"}


def test_optimize_takes_such_paths(place, picture, painting, compact_weights):
    for path in ("A$AP.png", "home/mask$.png", "home/init.png"):
        picture(64, 48).save(place / path)
    (place / "home/style.png").write_bytes(Path(painting).read_bytes())
    call = ["optimize", "A$AP.png", "--style", "~/style.png", "--mask", "~/mask$.png", "--init", "~/init.png"]
    small = ["--fast", "--compact", compact_weights, "--long-side", "48", "--iterations", "1", "--levels", "1"]
    small += ["--device", "cpu"]
    assert main([*call, "--output", "$SET/picture.png", *small]) == 0
    assert (place / "set/picture.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["stylize", "$AP/a.png"], "photos"),
        (["stylize", "a.png", "--output", "$AP"], "output"),
        (["stylize", "a.png", "--model", "$AP/a.onnx"], "model"),
        (["styles", "$AP/a.png"], "photos"),
        (["styles", "a.png", "--output", "$AP/a.png"], "output"),
        (["optimize", "$AP/a.png", "--style", "a.png", "--output", "b.png"], "photo"),
        (["optimize", "a.png", "--style", "$AP/a.png", "--output", "b.png"], "style"),
        (["optimize", "a.png", "--style", "a.png", "--mask", "$AP/a.png", "--output", "b.png"], "mask"),
        (["optimize", "a.png", "--style", "a.png", "--init", "$AP/a.png", "--output", "b.png"], "init"),
        (["optimize", "a.png", "--style", "a.png", "--output", "$AP/b.png"], "output"),
        (["export", "$AP/a.ckpt", "--output", "b.onnx"], "checkpoint"),
        (["evaluate", "pictures", "$AP/a.png", "--photos", "a.png", "--paintings", "a.png"], "pictures"),
        (["evaluate", "pictures", "a.png", "--photos", "a.png", "--paintings", "$AP/a.png"], "paintings"),
        (["figures", "explain", "$AP/a.png", "--style", "a.png", "--output", "b.png"], "photo"),
        (["figures", "explain", "a.png", "--style", "a.png", "--output", "$AP/b.png"], "output"),
        (["figures", "gallery", "a.png", "--style", "$AP/a.png", "--output", "b.png"], "style"),
        (["fit", "--config", "$AP/config.yaml"], "--config"),
        (["fit", "--config=$AP/config.yaml"], "--config"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_errors_name_the_argument(place, picture, capsys, arguments, name):
    picture(64, 48).save(place / "a.png")
    assert main(arguments) == 2
    command = " ".join(arguments[:2]) if arguments[0] in ("evaluate", "figures") else arguments[0]
    assert f"nst-lightning: {command}: {name}: $AP" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["stylize", ""], "photos"),
        (["stylize", "a.png", "--output", ""], "output"),
        (["stylize", "a.png", "--model", ""], "model"),
        (["styles", ""], "photos"),
        (["styles", "a.png", "--output", ""], "output"),
        (["optimize", "", "--style", "a.png", "--output", "b.png"], "photo"),
        (["optimize", "a.png", "--style", "", "--output", "b.png"], "style"),
        (["optimize", "a.png", "--style", "a.png", "--output", ""], "output"),
        (["optimize", "a.png", "--style", "a.png", "--output", "b.png", "--init", ""], "init"),
        (["optimize", "a.png", "--style", "a.png", "--output", "b.png", "--compact", ""], "CompactEncoder weights"),
        (["optimize", "a.png", "--style", "a.png", "--output", "b.png", "--vgg19", ""], "VGG-19 weights"),
        (["export", "", "--output", "b.onnx"], "checkpoint"),
        (["export", "styles", "--output", ""], "output"),
        (["examples", "--output", ""], "output"),
        (["evaluate", "pictures", "a.png", "--photos", "", "--paintings", "a.png"], "photos"),
        (["fit", "--config", ""], "--config"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_empty_paths_are_refused(place, picture, capsys, arguments, name):
    picture(64, 48).save(place / "a.png")
    before = sorted(place.rglob("*"))
    assert main(arguments) == 2
    assert f"{name}: the path is empty, perhaps since a variable is not set" in capsys.readouterr().err
    assert sorted(place.rglob("*")) == before


@pytest.mark.parametrize(
    "option", ["data.train", "model.style", "writer.output", "trainer.default_root_dir", "ckpt_path", "sheet.photos"]
)
def test_empty_paths_of_training_are_refused(place, config, capsys, option):
    assert main(["fit", "--config", config, f"--{option}", ""]) == 2
    assert f"{option}: the path is empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (["--data.train", "$AP/photos"], "data.train"),
        (["--model.style", "$AP/a.png"], "model.style"),
        (["--model.init_from", "$AP/a.ckpt"], "model.init_from"),
        (["--writer.output", "$AP/out"], "writer.output"),
        (["--sheet.photos", "$AP/photos"], "sheet.photos"),
        (["--trainer.default_root_dir", "$AP/runs"], "trainer.default_root_dir"),
        (["--ckpt_path", "$AP/last.ckpt"], "--ckpt_path"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_errors_of_training_name_the_argument(place, config, capsys, change, name):
    assert main(["fit", "--config", config, *change]) == 2
    assert f"nst-lightning: fit: {name}: $AP" in capsys.readouterr().err


def test_recipes_are_found_at_home(place, config, capsys):
    (place / "home/A$AP.yaml").write_bytes(Path(config).read_bytes())
    for arguments in (["--config", "~/A$AP.yaml"], ["--config=~/A$AP.yaml"], ["-c", "$SET/../home/A$AP.yaml"]):
        (place / "set").mkdir(exist_ok=True)
        with pytest.raises(SystemExit):
            main(["fit", *arguments, "--print_config"])
        assert yaml.safe_load(capsys.readouterr().out)["trainer"]["max_steps"] == 4


@pytest.mark.parametrize("output", ["null", "null/below"])
def test_a_file_is_no_folder_to_write_to(place, model, painting, compact_weights, picture, capsys, output):
    (place / "photos").mkdir()
    picture(60, 40).save(place / "photos/1.png")
    (place / "null").write_text("kept")
    optimize = ["--style", painting, "--fast", "--compact", compact_weights, "--device", "cpu", "--iterations", "1"]
    for arguments in (
        ["stylize", "photos", "--model", model],
        ["stylize", "photos/1.png", "--model", model],
        ["optimize", "photos", *optimize],
        ["examples"],
    ):
        assert main([*arguments, "--output", output]) == 2
        file = "it" if output == "null" else "null"
        expected = f"nst-lightning: {arguments[0]}: output: {output} must be a folder, but {file} is a file\n"
        assert capsys.readouterr().err == expected
    assert (place / "null").read_text() == "kept"


@pytest.mark.parametrize(
    ("output", "code", "written"),
    [
        ("new.pgn", 2, None),
        ("new.jp", 2, None),
        ("out.v2", 2, None),
        ("out.v2/", 0, "out.v2/a.png"),
        ("out-1.5", 0, "out-1.5/a.png"),
        ("there.v2", 0, "there.v2/a.png"),
        ("new.webp", 0, "new.webp"),
        ("new.webp/", 0, "new.webp/a.png"),
    ],
)
def test_an_output_that_looks_like_a_mistyped_file_is_refused(place, model, picture, capsys, output, code, written):
    picture(60, 40).save(place / "a.png")
    (place / "there.v2").mkdir()
    assert main(["stylize", "a.png", "--model", model, "--output", output]) == code
    if written:
        with Image.open(place / written) as image:
            assert image.size == (60, 40)
    else:
        error = capsys.readouterr().err
        assert f"output: {output}: can't write this kind of file; endings allowed: .jpg" in error
        assert f"or {output}/ for a folder" in error
        assert not (place / output).exists()
