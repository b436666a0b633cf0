"""Text on the command line arrives as it was typed, whatever YAML would make of it."""

import functools

import pytest
import yaml

from nst_lightning.cli import main

TYPED = [
    "#1",
    "~",
    "&x",
    "*x",
    "yes",
    "on",
    "1e3",
    "1",
    "0x10",
    "2026-11-27",
    "Hokusai: The Wave",
    "- a",
    "? x",
    "{x}",
    "{x",
    "[x",
    "[x] y",
    "'q'",
    '"q"',
    "!x",
    "@x",
    "%x",
    "|",
    "a #b",
    r"A\B",
    " a ",
]
BRACKETS = "[x]"  # a list, where lists are allowed


@pytest.mark.parametrize("start", range(0, len(TYPED), 5))
def test_text_of_fit_arrives_as_typed(config, capsys, start):
    paths = ["model.metadata.title", "model.metadata.painter", "model.metadata.license", "data.train", "model.style"]
    options = dict(zip(paths, (TYPED + [BRACKETS] * 5)[start : start + 5]))
    options |= {f"model.metadata.credits.style{number}": text for number, text in enumerate(TYPED)}
    words = [word for path, text in options.items() for word in (f"--{path}", text)]
    with pytest.raises(SystemExit):
        main(["fit", "--config", config, *words, "--print_config"])
    found = yaml.safe_load(capsys.readouterr().out)
    for path, text in options.items():
        assert functools.reduce(lambda values, key: values[key], path.split("."), found) == text


@pytest.mark.parametrize("text", [*TYPED, BRACKETS])
def test_single_options_of_commands_arrive_as_typed(options_of, text):
    found = options_of(["optimize", text, "--style", "a.png", "--output", text, "--init", text, "--vgg19", text])
    assert [found[name] for name in ("photo", "output", "init", "vgg19")] == [text] * 4
    found = options_of(["stylize", text, "--model", text, "--output", text])
    assert [found["photos"], found["model"], found["output"]] == [[text], text, text]


@pytest.mark.parametrize("text", [*TYPED, "null"])
def test_repeatable_options_arrive_as_typed(options_of, text):
    assert options_of(["stylize", "a.png", "--style", text])["style"] == [text]
    assert options_of(["stylize", "a.png", f"--style={text}"])["style"] == [text]
    found = options_of(["optimize", "a.png", "--style", text, "--style", "b", "--mask", text, "--output", "o.png"])
    assert (found["style"], found["mask"]) == ([text, "b"], [text])
    assert options_of(["export", "a.ckpt", "--output", "o.onnx", "--styles", text])["styles"] == [text]
    found = options_of(["evaluate", "network", "m", "--photos", "p", "--paintings", text, "--only", text])
    assert (found["paintings"], found["only"]) == ([text], [text])


def test_lists_numbers_and_none_mean_what_they_did(options_of):
    found = options_of(["evaluate", "network", "m", "--photos", "p", "--paintings", "[a, b]", "--only", '["[x]"]'])
    assert (found["paintings"], found["only"]) == (["a", "b"], ["[x]"])
    weights = ["--blend-weight", "3", "--blend-weight=0.5"]
    found = options_of(
        ["optimize", "a.png", "--style", "a", "--style", "b", *weights, "--output", "o.png", "--vgg19", "null"]
    )
    assert (found["blend_weight"], found["vgg19"]) == ([3.0, 0.5], None)
    scales = "{1: 0.5, 2: 0.5}"
    found = options_of(["optimize", "a.png", "--style", "a", "--output", "o.png", "--style-scales", scales])
    assert found["objective"].style_scales == {1: 0.5, 2: 0.5}


@pytest.mark.parametrize(
    ("option", "value", "kind"),
    [("content-target", "abc", "a number"), ("content-target", "nan", "a number"), ("levels", "1.5", "an integer")],
)
def test_a_value_that_is_no_number_is_one_clear_line(option, value, kind, capsys):
    assert main(["optimize", "a.png", "--style", "b.png", "--output", "c.png", f"--{option}", value]) == 2
    name = option.replace("-", "_")
    assert capsys.readouterr().err == f"nst-lightning: optimize: {name} must be {kind} or null, got {value}\n"


@pytest.mark.parametrize("arguments", [["--style"], ["--style", "--output", "out"]])
def test_an_option_without_its_value_is_refused(arguments, capsys):
    assert main(["stylize", "a.png", *arguments]) == 2
    assert "style" in capsys.readouterr().err


def test_wildcards_in_quotes(tmp_path, monkeypatch, picture, model, painting, compact_weights, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for name in ("a", "b"):
        picture(140, 130).save(tmp_path / f"photos/{name}.png")
    assert main(["stylize", "photos/*.png", "--model", model, "--output", "out"]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "b.png"]
    compact = ["--compact", compact_weights, "--vgg19", "null"]
    small = ["--long-side", "48", "--iterations", "1", "--levels", "1", "--device", "cpu", *compact]
    assert main(["optimize", "photos/*.png", "--style", "photos/[a].png", "--output", "made", *small]) == 0
    assert sorted(path.name for path in (tmp_path / "made").glob("*.png")) == ["a.png", "b.png"]
    capsys.readouterr()
    call = ["evaluate", "pictures", "photos/*.png", "--photos", "photos/b*", "--paintings", painting, *compact]
    assert main([*call, "--short-side", "128"]) == 0
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines()[1:]] == ["b.png", "a.png", "b.png"]
    for arguments, message in (
        (["stylize", "photos/*.jpg"], "stylize: photos: photos/*.jpg: no picture fits this pattern"),
        (["styles", "photos/*.jpg"], "styles: photos: photos/*.jpg: no picture fits this pattern"),
        (
            ["optimize", "photos/*.png", "--style", "photos/a.png", "--output", "o.png"],
            "output must be a folder, for 2",
        ),
        (
            ["figures", "explain", "photos/*.png", "--style", "photos/a.png", "--output", "o.png"],
            "figures explain: photo: photos/*.png fits 2 files, but one is needed",
        ),
    ):
        assert main(arguments) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--mask", "black.png"], "mask: number 1 is all black"),
        (["--mask", "wide.png"], "mask: number 1 must have the aspect ratio"),
        (["--blend-weight", "-1"], "blend_weight must be >= 0"),
        (["--blend-weight", "1", "--mask", "a.png"], "blend_weight can't be given with masks"),
    ],
)
def test_messages_name_options_as_they_are_typed(
    tmp_path, monkeypatch, picture, compact_weights, capsys, change, message
):
    monkeypatch.chdir(tmp_path)
    picture(64, 48).save("a.png")
    picture(64, 20).save("wide.png")
    picture(64, 48).point(lambda value: 0).save("black.png")
    call = [
        "optimize",
        "a.png",
        "--style",
        "a.png",
        "--output",
        "o.png",
        "--vgg19",
        "null",
        "--compact",
        compact_weights,
        "--device",
        "cpu",
    ]
    assert main([*call, *change]) == 2
    assert f"nst-lightning: optimize: {message}" in capsys.readouterr().err


def test_a_painting_that_is_too_small_names_its_argument(config, capsys):
    assert main(["fit", "--config", config, "--model.painting_scale", "0.05"]) == 2
    assert "nst-lightning: fit: model.style: a painting of 7x6 is too small for " in capsys.readouterr().err
