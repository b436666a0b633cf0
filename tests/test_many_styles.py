import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from training_runs import data_of, module_of, trainer_of, weights_of

from nst_lightning.cli import main
from nst_lightning.encoders import image_to_tensor
from nst_lightning.inference import Stylizer
from nst_lightning.networks import JohnsonNet, MultiStyleNet, load_network
from nst_lightning.training import LastCheckpoint, Metadata, StyleSampler


@pytest.fixture
def styles_of(tmp_path, compact_weights, picture):
    """Makes runs of several styles, whose paintings are drawn."""

    def make(*names, network=None, **options):
        torch.manual_seed(0)
        files = {}
        for seed, name in enumerate(names or "abc"):
            files[name] = str(tmp_path / f"{name}.png")
            picture(90, 80, seed=50 + seed).save(files[name])
        network = network or MultiStyleNet(widths=[4, 6, 8], block_width=4, dilations=[1])
        return module_of(compact_weights, options.pop("style", None), network, **{"styles": files, **options})

    return make


def test_each_style_comes_nearer_to_its_own_painting(tmp_path, styles_of, photos):
    module, data = styles_of(optimizer={"learning_rate": 1e-2}), data_of(photos, batch_size=3)
    photo = torch.from_numpy(data.val_dataloader().dataset[0].pictures)[None].float() / 255
    trainer_of(tmp_path, max_steps=60, enable_checkpointing=False).fit(module, data)
    losses = torch.tensor(
        [
            [module.loss(module(photo, style), photo, styles=torch.tensor([of]))["style"] for of in range(3)]
            for style in range(3)
        ]
    )
    assert losses.argmin(0).tolist() == [0, 1, 2]  # of all pictures, its own is the nearest to each painting


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_many_styles_resume_exactly(tmp_path, styles_of, photos, optimizer):
    whole, resumed, start = (styles_of(optimizer={"name": optimizer}) for _ in range(3))
    save = LastCheckpoint(every_n_steps=1, keep_all=True)
    trainer_of(tmp_path, max_steps=6, accumulate_grad_batches=2, callbacks=[save]).fit(whole, data_of(photos))
    again = trainer_of(tmp_path, max_steps=6, accumulate_grad_batches=2, enable_checkpointing=False)
    again.fit(resumed, data_of(photos), ckpt_path=tmp_path / "checkpoints/step-000004.ckpt")
    assert weights_of(whole).equal(weights_of(resumed))
    assert not weights_of(whole).equal(weights_of(start))
    other = styles_of(optimizer={"name": "muon" if optimizer == "adam" else "adam"})
    last = trainer_of(tmp_path, max_steps=8, enable_checkpointing=False)
    with pytest.raises(
        ValueError, match=rf"ckpt_path: the checkpoint was trained with {optimizer}; .* can't continue it"
    ):
        last.fit(other, data_of(photos), ckpt_path=tmp_path / "checkpoints/step-000004.ckpt")


def test_a_new_style_leaves_the_others_as_they_were(tmp_path, styles_of, photos):
    first = styles_of(
        metadata=Metadata(credits={"a": "A painter", "b": "B"}, license="MIT"),
        objective={"style_weight": 2.0},
        content_target=None,
    )
    trainer_of(tmp_path, max_steps=2, callbacks=[LastCheckpoint()]).fit(first, data_of(photos))
    last = str(tmp_path / "checkpoints/last.ckpt")
    mine = {"metadata": Metadata(credits={"new": "I"}), "optimizer": {"learning_rate": 0.1}, "content_target": None}
    again = styles_of("new", init_from=last, freeze_shared=True, **mine)
    trainer_of(tmp_path / "again", max_steps=4, enable_checkpointing=False).fit(again, data_of(photos))
    assert again.network.styles == ["new", "a", "b", "c"]
    assert json.loads(again.metadata["credits"]) == {"a": "A painter", "b": "B", "new": "I"}
    assert json.loads(again.metadata["style_weights"]) == {"new": 5.0, "a": 2.0, "b": 2.0, "c": 2.0}
    assert again.metadata["license"] == "MIT"
    assert again.metadata["style"] == "new, a, b, c"
    old = torch.load(last, weights_only=True)
    del old["transfer_network"]["metadata"]["sizes"]  # as earlier versions wrote it
    torch.save(old, tmp_path / "old.ckpt")
    for start in (last, str(tmp_path / "old.ckpt")):
        sizes = styles_of("new", init_from=start, freeze_shared=True, short_side=96).metadata["sizes"]
        assert json.loads(sizes) == {"new": 96, "a": 64, "b": 64, "c": 64}
    wider = MultiStyleNet(widths=[4, 6, 8], block_width=4, dilations=[2])  # the same weights would paint otherwise
    with pytest.raises(
        ValueError, match=r"network\.init_args\.dilations must be \[1\] with freeze_shared, .*, got \[2\]"
    ):
        styles_of("new", network=wider, init_from=last, freeze_shared=True)
    another = styles_of("b", init_from=last).metadata
    assert json.loads(another["credits"]) == {"a": "A painter"}
    assert json.loads(another["style_weights"]) == {"a": 2.0, "b": 5.0, "c": 2.0}
    photo, (before, after) = torch.rand(1, 3, 64, 64), (module.network for module in (first, again))
    for i in range(3):
        torch.testing.assert_close(after(photo, torch.eye(4)[i + 1]), before(photo, torch.eye(3)[i]), rtol=0, atol=1e-6)
    assert (after(photo) - before(photo, torch.full((3,), 1 / 3))).abs().max() > 0.01


def test_a_run_starts_from_the_average_of_several(tmp_path, styles_of, photos):
    files = []
    for names, steps in (("abc", 1), ("abc", 3), ("ab", 1)):
        folder = tmp_path / str(len(files))
        module = styles_of(*names, metadata=Metadata(credits={"a": f"Painter {len(files)}"}))
        trainer_of(folder, max_steps=steps, callbacks=[LastCheckpoint()]).fit(module, data_of(photos))
        files.append(str(folder / "checkpoints/last.ckpt"))
    one, other, two_styles = files
    average = styles_of("new", init_from=[one, other], freeze_shared=True)
    assert average.network.styles == ["new", "a", "b", "c"]
    assert json.loads(average.metadata["credits"]) == {"a": "Painter 0"}
    first, second = (load_network(file)[0].state_dict() for file in (one, other))
    assert not torch.equal(first["tail.weight"], second["tail.weight"])
    for name, mean in average.network.state_dict().items():
        expected = (first[name] + second[name]) / 2
        torch.testing.assert_close(mean[:, 1:] if name.endswith(".table") else mean, expected)
    with pytest.raises(ValueError, match=r"has the styles a, b; to be averaged with .* must have a, b, c"):
        styles_of("new", init_from=[one, two_styles])


def test_a_larger_network_begins_as_the_smaller_one(tmp_path, styles_of, photos):
    small = {"widths": [4, 6, 8], "block_width": 4, "dilations": [2, 1]}
    large = {"widths": [6, 6, 11], "block_width": 7, "dilations": [2, 3, 1]}
    files = []
    for arguments, seed in ((small, 1), (small, 2), (large, 3)):
        folder = tmp_path / str(seed)
        data = data_of(photos, seed=seed)
        trainer_of(folder, max_steps=2, callbacks=[LastCheckpoint()]).fit(
            styles_of(network=MultiStyleNet(**arguments)), data
        )
        files.append(str(folder / "checkpoints/last.ckpt"))
    photo, style = torch.rand(2, 3, 40, 50), torch.eye(3)[[2, 0]]
    for start, expected in ((files[0], load_network(files[0])[0]), (files[:2], average_of(files[:2]))):
        larger = styles_of(network=MultiStyleNet(**large), init_from=start).network
        assert larger.init_args == {"styles": ["a", "b", "c"], **large}
        torch.testing.assert_close(larger(photo, style), expected(photo, style), rtol=0, atol=1e-5)
    grown = styles_of("new", network=MultiStyleNet(**large), init_from=files[0])
    trainer_of(tmp_path / "grown", max_steps=3, enable_checkpointing=False).fit(grown, data_of(photos))
    assert grown.network.styles == ["new", "a", "b", "c"]
    for given, message in (
        ({"init_from": files[2]}, r"^network\.init_args\.widths must be at least \[6, 6, 11\].*, got \[4, 6, 8\]$"),
        (
            {"init_from": [files[0], files[2]]},
            rf"^init_from: {files[2]} .* of another size than {files[0]};",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            styles_of(network=MultiStyleNet(**small), **given)
    with pytest.raises(ValueError, match=r"^network\.init_args\.widths must be \[4, 6, 8\] with freeze_shared, as in"):
        styles_of("new", network=MultiStyleNet(**large), init_from=files[0], freeze_shared=True)


def average_of(files):
    networks = [load_network(file)[0] for file in files]
    states = [network.state_dict() for network in networks]
    networks[0].load_state_dict({key: sum(state[key] for state in states) / len(states) for key in states[0]})
    return networks[0]


def test_painter_and_title_are_those_of_the_run(styles_of):
    said = styles_of("a", "b", metadata=Metadata("A tree", "I", {"b": "B"})).metadata
    assert json.loads(said["credits"]) == {"a": "I, A tree", "b": "B"}
    assert (said["style"], said.get("painter")) == ("a, b", None)
    with pytest.raises(ValueError, match=r"credits: there is no 'bb'; did you mean b\?"):
        styles_of("a", "b", metadata=Metadata(credits={"bb": "B"}))


@pytest.mark.usefixtures("tiny_yardstick")
def test_styles_that_validation_leaves_out_are_named(tmp_path, styles_of, photos):
    trainer = trainer_of(tmp_path, max_steps=1, limit_val_batches=1, enable_checkpointing=False, num_sanity_val_steps=0)
    with pytest.warns(UserWarning, match=r"validation .* only 1 photos .*leaves out b, c"):
        trainer.fit(styles_of(), data_of(photos))


def test_one_style_at_random_strength_is_drawn_as_asked():
    network = MultiStyleNet(["other", "a", "b", "c"], [2, 2, 2], 2, [1])
    sampler = StyleSampler(network, ["b", "a", "c"])
    draws = [sampler.sample(5, seed=(0, i)) for i in range(400)]
    assert all(set(draw.paintings[:3].tolist()) == {0, 1, 2} for draw in draws)
    for draw in draws[:20]:
        rows = torch.tensor([2, 1, 3])[draw.paintings]  # where b, a and c are among the network's styles
        torch.testing.assert_close(draw.controls["style"], torch.eye(4)[rows])
        assert draw.strengths.equal(draw.controls["strength"])
    strengths = torch.cat([draw.controls["strength"] for draw in draws])
    assert (strengths == 1).float().mean().item() == pytest.approx(0.5, abs=0.05)
    assert strengths[strengths < 1].mean().item() == pytest.approx(0.5, abs=0.05)
    assert torch.stack([draw.controls["noise_from"] for draw in draws]).unique(dim=0).shape == (400, 2)
    again = sampler.sample(5, seed=(0, 7)).controls
    assert all(again[name].equal(control) for name, control in draws[7].controls.items())


@pytest.mark.parametrize(("other", "same"), [(0, True), (1, False)])
def test_the_seed_of_the_data_decides_the_draws(tmp_path, styles_of, photos, other, same):
    drawn = []
    for seed in (0, other):
        module = styles_of()
        module.try_network(trains=True)  # which is done once, and would be recorded
        module.network.register_forward_pre_hook(
            lambda _, inputs, controls: drawn.append(torch.cat([x.flatten() for x in controls.values()])),
            with_kwargs=True,
        )
        trainer_of(tmp_path, max_steps=2, enable_checkpointing=False).fit(module, data_of(photos, seed=seed))
    assert [a.equal(b) for a, b in zip(drawn[:2], drawn[2:])] == [same, same]


def test_styles_are_drawn_as_often_as_asked():
    network = MultiStyleNet(["a", "b", "c"], [2, 2, 2], 2, [1])
    sampler, chances = StyleSampler(network, ["a", "b", "c"], partial_strength=0), np.array([0.25, 0.5, 0.25])
    ones = torch.cat([sampler.sample(1, seed=(0, i), chances=chances).paintings for i in range(2000)])
    assert (ones.bincount() / 2000).tolist() == pytest.approx([0.25, 0.5, 0.25], abs=0.03)
    pairs = torch.stack([sampler.sample(2, seed=(1, i), chances=chances).paintings for i in range(2000)])
    assert (pairs[:, 0] != pairs[:, 1]).all()
    # without b: a then c, or c then a, at 1/4 * 1/3 each
    assert (pairs == 1).any(1).float().mean().item() == pytest.approx(1 - 1 / 6, abs=0.03)


@pytest.fixture
def styles_config(tmp_path, config, picture):
    """The tiny run with two styles."""
    content = yaml.safe_load(Path(config).read_text())
    model = content["model"]
    del model["style"]
    model["styles"] = {name: str(tmp_path / f"{name}.png") for name in ("ink", "glass")}
    for seed, path in enumerate(model["styles"].values()):
        picture(150, 140, seed=70 + seed).save(path)
    small = {"widths": [4, 6, 8], "block_width": 4, "dilations": [1]}
    model["network"] = {"class_path": "nst_lightning.networks.MultiStyleNet", "init_args": small}
    Path(config).write_text(yaml.safe_dump(content, sort_keys=False))
    return config


def test_many_styles_through_the_commands(tmp_path, styles_config, photos, picture, capsys, caplog):
    with caplog.at_level("INFO"):
        assert main(["fit", "--config", styles_config, "--model.metadata.credits", "{ink: I, glass: G}"]) == 0
    assert "--style glass" in caplog.text  # how to use it
    run = tmp_path / "runs/version_0"
    stylizer = Stylizer(run / "style.onnx")
    assert stylizer.styles == ["ink", "glass"]
    assert stylizer.metadata["style"] == "ink, glass"
    with Image.open(run / "sheets/step-000004.png") as sheet:
        assert sheet.height > 3 * 64  # the photos, and a row for each style
    header = (run / "metrics.csv").read_text(encoding="utf-8").splitlines()[0].split(",")
    assert {"val/ink/style_median", "val/glass/style_median", "val/style_median"} <= set(header)

    saved, last = ["--config", str(run / "config.yaml")], ["--ckpt_path", str(run / "checkpoints/last.ckpt")]
    assert main(["test", *saved, *last]) == 0
    assert "test/glass/photo_style_median" in capsys.readouterr().out
    network, _ = load_network(run / "checkpoints/last.ckpt")
    photo = picture(70, 50)
    expected = network(image_to_tensor(photo), torch.tensor([0.0, 1.0]))[0].detach()
    found = image_to_tensor(stylizer(photo, style="glass"))[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=0.51 / 255)
    out = tmp_path / "out"  # one of its styles is enough of a run to use it
    one = ["--model.styles", str(tmp_path / "glass.png")]  # named by its file
    assert main(["predict", *saved, *last, *one, "--data.predict", str(photos), "--writer.output", str(out)]) == 0
    source = photos / "photo0.jpg"
    with Image.open(out / "photo0.jpg.png") as picture, Image.open(source) as photo:
        expected = stylizer(photo, style="glass", strokes="native")
        difference = np.abs(np.asarray(picture, int) - np.asarray(expected, int))
    assert difference.max() <= 1


def test_a_run_goes_on_when_what_it_began_from_is_gone(tmp_path, styles_config, picture, caplog):
    fit = ["fit", "--config", styles_config, "--export.filename", "", "--trainer.limit_val_batches", "0"]
    assert main(fit) == 0
    start, painting = tmp_path / "runs/version_0/checkpoints/last.ckpt", tmp_path / "Reeds, 1890: at dawn.png"
    picture(150, 140, seed=80).save(painting)
    of_new = ["--model.styles", str(painting), "--model.freeze_shared", "true", "--model.init_from", str(start)]
    assert main([*fit, *of_new]) == 0
    half, whole = (tmp_path / f"runs/version_1/checkpoints/{name}.ckpt" for name in ("step-000002", "last"))
    start.unlink()
    assert main([*fit, *of_new]) == 2
    with caplog.at_level("INFO"):
        assert main([*fit, *of_new, "--ckpt_path", str(half)]) == 0
    assert "has Reeds_ 1890_ at dawn already: training continues from it" in caplog.text
    (network, metadata), (expected, of_whole) = map(
        load_network, (tmp_path / "runs/version_2/checkpoints/last.ckpt", whole)
    )
    assert network.styles == expected.styles == ["Reeds_ 1890_ at dawn", "ink", "glass"]
    assert all(network.state_dict()[key].equal(value) for key, value in expected.state_dict().items())
    assert metadata == of_whole


def test_a_part_of_the_strength_has_its_square_of_the_style_weight(styles_of):
    module = styles_of("a", "b", content_target=None)
    batch = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    whole = module.sampler.fixed(1, 1)
    full, half = (
        module.losses(batch, batch.flip(0).flip(2), whole._replace(strengths=torch.tensor([strength])))
        for strength in (1, 0.5)
    )
    torch.testing.assert_close(half["style"], 0.25 * full["style"])
    torch.testing.assert_close(half["content"], full["content"])


def test_a_checkpoint_says_which_style_is_which(tmp_path, styles_of, photos):
    first = styles_of("a", "b", metadata=Metadata(credits={"a": "A painter"}))
    trainer_of(tmp_path, max_steps=8, callbacks=[LastCheckpoint()]).fit(first, data_of(photos))
    last = tmp_path / "checkpoints/last.ckpt"
    photo = torch.rand(1, 3, 64, 64)
    for names in (("b", "a"), ("b",)):
        again = styles_of(*names)
        trainer_of(tmp_path, max_steps=8, enable_checkpointing=False).fit(again, data_of(photos), ckpt_path=last)
        assert again.network.styles == ["a", "b"]
        assert again.metadata["style"] == "a, b"
        assert json.loads(again.metadata["credits"]) == {"a": "A painter"}
        assert set(json.loads(again.metadata["style_weights"])) == {"a", "b"}
        torch.testing.assert_close(again(photo, 0), first(photo, 1))
    with pytest.raises(ValueError, match="ckpt_path: the checkpoint has no style 'c'; it has a, b"):
        trainer_of(tmp_path, max_steps=8).fit(styles_of("a", "c"), data_of(photos), ckpt_path=last)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"style": "a.png"}, "style: give either style or styles, one painting or several"),
        ({"partial_strength": 2}, "partial_strength must be from 0 to 1, got 2"),
        ({"content_target": 0.05}, "content_target must be from 0.1 to 0.9, got 0.05"),
        ({"content_target": 1.0}, "content_target must be from 0.1 to 0.9, got 1.0"),
        ({"freeze_shared": True}, "freeze_shared needs a MultiStyleNet, and init_from"),
        ({"styles": ["x/a.png", "y/a.jpg"]}, "styles: .* would give two styles the same name; give a mapping"),
        ({"network": JohnsonNet(4, 1, 3)}, "styles: JohnsonNet has one style; give its painting as style"),
        ({"network": MultiStyleNet(["d"])}, "must be styles of the run, but it has no painting for d"),
    ],
)
def test_bad_options_of_many_styles(styles_of, options, message):
    with pytest.raises(ValueError, match=message):
        styles_of(**options)
