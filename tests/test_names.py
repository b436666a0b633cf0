"""Names of styles: "café" is one name, whether its accent is a letter's part or a mark of its own."""

import json
import unicodedata
from pathlib import Path

import pytest
import torch
from conftest import with_metadata
from training_runs import data_of, module_of, trainer_of

from nst_lightning.cli import main
from nst_lightning.commands import export
from nst_lightning.commands.paintings import find_paintings
from nst_lightning.errors import UserError
from nst_lightning.export import Difference
from nst_lightning.inference import Stylizer
from nst_lightning.networks import MultiStyleNet, load_network
from nst_lightning.networks.checkpoint import per_style_metadata
from nst_lightning.training import Metadata

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
FORMS = pytest.mark.parametrize(("stored", "asked"), [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)])


@pytest.fixture
def named(many_model, tmp_path):
    """Makes a file of a network one of whose styles has a name."""

    def name(style):
        content = {"styles": [style, "glass", "wood"], "sizes": {style: 96}, "credits": {style: "A painter"}}
        texts = {key: json.dumps(value, ensure_ascii=False) for key, value in content.items()}
        return with_metadata(many_model, tmp_path / "named.onnx", texts)

    return name


@FORMS
def test_a_style_is_found_in_either_form(named, picture, stored, asked):
    stylizer = Stylizer(named(stored))
    assert stylizer.styles == [COMPOSED, "glass", "wood"]
    assert stylizer.trained_short_side(asked) == stylizer.trained_short_side(stored) == 96
    photo = picture(60, 40)
    expected = stylizer(photo, style={stored: 2, "wood": 1}).tobytes()
    assert stylizer(photo, style=f"{asked}:2,wood").tobytes() == expected
    assert stylizer(photo, style={asked: 2, "wood": 1}).tobytes() == expected


@FORMS
def test_commands_find_it_too(named, tmp_path, picture, capsys, stored, asked):
    model = named(stored)
    picture(140, 130).save(tmp_path / "photo.png")
    photo, output = str(tmp_path / "photo.png"), str(tmp_path / "out")
    assert main(["stylize", photo, "--model", model, "--style", asked, "--output", output]) == 0
    capsys.readouterr()
    assert main(["styles", "--model", model]) == 0
    assert capsys.readouterr().out.splitlines()[0] == f"{COMPOSED}   A painter"


@FORMS
def test_paintings_are_matched_with_styles(tmp_path, monkeypatch, picture, stored, asked):
    monkeypatch.chdir(tmp_path)
    for name in (f"{stored}.png", f"night_{stored}.png", "ink.png", "ink=old.png"):
        picture(40, 30).save(name)
    styles = [COMPOSED, "ink"]
    for given in (f"{stored}.png", f"night_{stored}.png", f"{asked}={stored}.png", f"{asked}={asked}.png"):
        found = find_paintings(styles, [given], only=[COMPOSED])
        assert found[COMPOSED].exists()
    assert list(find_paintings([], [f"{stored}.png"], only=[])) == [COMPOSED]
    assert find_paintings(["ink"], ["ink=ink.png"], only=["ink"]) == {"ink": Path("ink.png")}
    with pytest.raises(UserError, match="named after the style ink"):  # the file itself, whose name isn't the style's
        find_paintings(["ink"], ["ink=old.png"], only=["ink"])


@FORMS
def test_evaluate_network_takes_only_that_style(named, tmp_path, picture, compact_weights, capsys, stored, asked):
    picture(140, 130).save(tmp_path / "photo.png")
    picture(140, 130, 1).save(tmp_path / "painting.png")
    call = ["evaluate", "network", named(stored), "--photos", str(tmp_path / "photo.png"), "--only", asked]
    call += ["--paintings", f"{asked}={tmp_path / 'painting.png'}", "--short-side", "128"]
    assert main([*call, "--vgg19", "null", "--compact", compact_weights]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]] == [COMPOSED] * 2


@FORMS
def test_export_and_metadata_of_checkpoints(tmp_path, many, monkeypatch, stored, asked):
    state = {f"network.{key}": value for key, value in many.state_dict().items()}
    record = {
        "class": "MultiStyleNet",
        "init_args": {**many.init_args, "styles": [stored, "glass", "wood"]},
        "metadata": {"credits": json.dumps({stored: "A painter"}), "style": stored},
    }
    torch.save({"state_dict": state, "transfer_network": record}, tmp_path / "x.ckpt")
    network, metadata = load_network(tmp_path / "x.ckpt")
    assert network.styles == [COMPOSED, "glass", "wood"]
    assert per_style_metadata(metadata)["credits"] == {COMPOSED: "A painter"}
    exported = {}

    def stub(network, path, *, metadata, **options):
        exported.update(metadata)
        return Difference(0.0, 100.0)

    monkeypatch.setattr(export, "export_onnx", stub)
    assert main(["export", str(tmp_path / "x.ckpt"), "--output", str(tmp_path / "x.onnx"), "--styles", asked]) == 0
    assert exported["style"] == COMPOSED
    assert json.loads(exported["credits"]) == {COMPOSED: "A painter"}


@FORMS
def test_training_continues_a_style_in_either_form(tmp_path, compact_weights, painting, photos, stored, asked):
    (tmp_path / f"{stored}.png").write_bytes(Path(painting).read_bytes())
    module = module_of(
        compact_weights,
        str(tmp_path / f"{asked}.png"),
        MultiStyleNet([], [4, 6, 8], 5, [1]),
        metadata=Metadata(credits={asked: "A painter"}),
    )
    assert module.sampler.names == module.network.styles == [*module.paintings] == [COMPOSED]
    assert json.loads(module.metadata["credits"]) == {COMPOSED: "A painter"}
    trainer_of(tmp_path, max_steps=1).fit(module, data_of(photos))
    module.trainer.save_checkpoint(tmp_path / "a.ckpt")
    network = MultiStyleNet([], [4, 6, 8], 5, [1])
    again = module_of(compact_weights, None, network, styles={asked: painting}, init_from=str(tmp_path / "a.ckpt"))
    assert again.network.styles == [COMPOSED]


def test_both_forms_are_the_same_style():
    with pytest.raises(UserError, match="styles must be different names"):
        MultiStyleNet([COMPOSED, DECOMPOSED])
