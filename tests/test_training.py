import json
import math
import os
import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from nst_lightning.cli import main
from nst_lightning.inference import Stylizer
from nst_lightning.networks import JohnsonNet, MultiStyleNet, load_network
from nst_lightning.perception import CompactEncoder
from nst_lightning.training import ExportOnnx, LastCheckpoint, PhotoDataModule, PictureRate, SampleSheet, StyleTransfer
from nst_lightning.training.stability import disturbed, unsteadiness
from nst_lightning.training.styles import Styles


def module_of(compact_weights, painting, **options):
    torch.manual_seed(0)
    network = JohnsonNet(4, 1, 3)
    options = {"size": 64, "style_layers": {"relu1_1": 1.0, "relu2_1": 1.0}, "warmup_steps": 2, **options}
    return StyleTransfer(network, CompactEncoder(compact_weights), painting, **options)


def trainer_of(folder, **options):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "limit_val_batches": 0}
    return L.Trainer(accelerator="cpu", default_root_dir=folder, **{**quiet, **options})


def data_of(photos, **options):
    return PhotoDataModule(str(photos), **{"size": 64, "batch_size": 2, "workers": 0, **options})


def weights_of(module):
    return torch.cat([parameter.detach().flatten() for parameter in module.network.parameters()])


def test_training_lowers_the_loss(tmp_path, compact_weights, painting, photos):
    module, data = module_of(compact_weights, painting, learning_rate=5e-3), data_of(photos)
    batch = torch.stack([data.val_dataloader().dataset[0].pictures]).float() / 255
    before = module.loss(module(batch), batch)["loss"].item()
    trainer_of(tmp_path, max_steps=40, enable_checkpointing=False).fit(module, data)
    assert module.loss(module(batch), batch)["loss"].item() < 0.8 * before


@pytest.mark.parametrize(
    ("options", "stop"),
    [
        ({"max_steps": 7}, 3),
        ({"max_steps": 7}, 6),
        ({"max_epochs": 3}, 4),
        ({"max_epochs": 3, "limit_train_batches": 2}, 3),
        ({"max_steps": 7, "limit_train_batches": 3}, 5),
        ({"max_steps": 4, "accumulate_grad_batches": 2}, 2),
        ({"max_steps": 7, "limit_val_batches": 1, "val_check_interval": 2, "check_val_every_n_epoch": None}, 3),
    ],
    ids=["early", "late", "by epochs", "limited epochs", "limited steps", "accumulating", "validating"],
)
def test_resume_is_exact(tmp_path, compact_weights, painting, photos, options, stop):
    size = {"size": 128} if "limit_val_batches" in options else {}
    whole = module_of(compact_weights, painting, **size)
    save = LastCheckpoint(every_n_steps=1, keep_all=True)
    first = trainer_of(tmp_path, **options, callbacks=[save])
    first.fit(whole, data_of(photos, **size))
    resumed = module_of(compact_weights, painting, **size)
    again = trainer_of(tmp_path, **options, enable_checkpointing=False)
    again.fit(resumed, data_of(photos, workers=1, **size), ckpt_path=tmp_path / f"checkpoints/step-{stop:06d}.ckpt")
    assert again.global_step == first.global_step > stop
    assert weights_of(whole).equal(weights_of(resumed))


def test_the_last_checkpoint_is_the_end_of_the_run(tmp_path, compact_weights, painting, photos):
    module = module_of(compact_weights, painting)
    trainer_of(tmp_path, max_steps=5, callbacks=[LastCheckpoint(every_n_steps=2)]).fit(module, data_of(photos))
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["last.ckpt"]
    network, _ = load_network(tmp_path / "checkpoints/last.ckpt")
    photo = torch.rand(1, 3, 40, 40)
    torch.testing.assert_close(network(photo), module(photo), rtol=0, atol=0)


def test_mixed_precision_validates_at_any_size(tmp_path, compact_weights, painting, photos):
    module, data = module_of(compact_weights, painting, size=128), data_of(photos, size=128)
    trainer_of(tmp_path, max_steps=2, precision="bf16-mixed", limit_val_batches=1).fit(module, data)
    assert weights_of(module).isfinite().all()
    with pytest.raises(ValueError, match=r"trainer\.precision: 'bf16-true' is not allowed"):
        trainer_of(tmp_path, max_steps=2, precision="bf16-true").fit(module, data)


def test_a_corrupt_held_out_photo_is_not_on_the_sheet(tmp_path, compact_weights, painting, photos):
    shutil.copytree(photos, tmp_path / "val")
    (tmp_path / "val/a-broken.jpg").write_text("no")
    Image.new("RGB", (20, 90)).save(tmp_path / "val/a-tiny.png")
    sheet = SampleSheet(1, count=3, size=64)
    trainer = trainer_of(tmp_path, max_steps=1, callbacks=[sheet], enable_checkpointing=False)
    trainer.fit(module_of(compact_weights, painting), data_of(photos, val=f"{tmp_path}/val"))
    assert len(sheet._photos) == 3


def test_overfitting_a_few_batches(tmp_path, compact_weights, painting, photos):
    trainer = trainer_of(tmp_path, max_steps=3, overfit_batches=1, enable_checkpointing=False)
    trainer.fit(module_of(compact_weights, painting), data_of(photos))
    assert trainer.global_step == 3


def test_checkpoints_leave_the_encoder_out_and_hold_no_code(tmp_path, compact_weights, painting, photos):
    module = module_of(compact_weights, painting, title="A painting")
    trainer = trainer_of(tmp_path, max_steps=1)
    trainer.fit(module, data_of(photos))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    content = torch.load(tmp_path / "a.ckpt", weights_only=True)
    assert all(key.startswith("network.") for key in content["state_dict"])
    network, metadata = load_network(tmp_path / "a.ckpt")
    photo = torch.rand(1, 3, 40, 40)
    torch.testing.assert_close(network(photo), module(photo), rtol=0, atol=0)
    assert metadata["style"] == "A painting"
    assert "compact.safetensors" in metadata["encoder"]


def test_resume_refuses_another_network(tmp_path, compact_weights, painting, photos):
    trainer = trainer_of(tmp_path, max_steps=1)
    trainer.fit(module_of(compact_weights, painting), data_of(photos))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    other = module_of(compact_weights, painting)
    other.network = JohnsonNet(6, 1, 3)
    with pytest.raises(
        ValueError, match=r"ckpt_path: .*another network .*\(16, 16, 3, 3\) there and \(24, 24, 3, 3\) here"
    ):
        trainer_of(tmp_path, max_steps=2).fit(other, data_of(photos), ckpt_path=tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match=r"init_from: .*another network"):
        StyleTransfer(
            JohnsonNet(6, 1, 3), CompactEncoder(compact_weights), painting, size=128, init_from=str(tmp_path / "a.ckpt")
        )
    warm = module_of(compact_weights, painting, init_from=str(tmp_path / "a.ckpt"))
    assert weights_of(warm).equal(torch.cat([p.flatten() for p in load_network(tmp_path / "a.ckpt")[0].parameters()]))


class Spoiled(StyleTransfer):
    """Non-finite losses at chosen steps."""

    bad = ()

    def training_step(self, photos, batch_idx):
        loss = super().training_step(photos, batch_idx)
        return loss * math.nan if self.global_step in self.bad else loss


def test_a_non_finite_step_is_skipped(tmp_path, compact_weights, painting, photos):
    module = module_of(compact_weights, painting)
    module.__class__, module.bad = Spoiled, (2,)
    history = []

    class Watch(L.Callback):
        def on_train_batch_end(self, trainer, pl_module, *_):
            history.append(weights_of(pl_module))

    trainer_of(tmp_path, max_steps=4, enable_checkpointing=False, callbacks=[Watch()]).fit(module, data_of(photos))
    moved = [not a.equal(b) for a, b in pairwise(history)]
    assert moved == [True, False, True]
    assert history[-1].isfinite().all()


def test_several_non_finite_steps_in_a_row_stop_the_run(tmp_path, compact_weights, painting, photos):
    module = module_of(compact_weights, painting, max_bad_steps=3)
    module.__class__, module.bad = Spoiled, (1, 3, 4, 5)
    trainer = trainer_of(tmp_path, max_steps=9, enable_checkpointing=False)
    with pytest.raises(FloatingPointError, match=r"not finite for 3 steps in a row.*lower model\.learning_rate"):
        trainer.fit(module, data_of(photos))
    assert trainer.global_step == 5


def test_learning_rate_rises_and_falls(tmp_path, compact_weights, painting, photos):
    module = module_of(compact_weights, painting, learning_rate=1e-3, warmup_steps=2)
    rates = []

    class Watch(L.Callback):
        def on_train_batch_start(self, trainer, *_):
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    trainer_of(tmp_path, max_steps=8, enable_checkpointing=False, callbacks=[Watch()]).fit(module, data_of(photos))
    falling = [5e-4 * (1 + math.cos(math.pi * i / 6)) for i in range(6)]
    assert rates == pytest.approx([5e-4, 1e-3, *falling])


def test_works_in_somebody_elses_trainer(tmp_path, compact_weights, painting, photos):
    """Their own data: batches of photos are all that the module asks for."""
    theirs = torch.utils.data.DataLoader(torch.rand(4, 3, 64, 64), batch_size=2)
    callbacks = [SampleSheet(2, str(photos), count=2, size=64), ExportOnnx("mine.onnx"), PictureRate()]
    trainer = trainer_of(tmp_path, max_steps=3, callbacks=callbacks, enable_checkpointing=False)
    trainer.fit(module_of(compact_weights, painting), theirs)
    assert [path.name for path in sorted((tmp_path / "sheets").iterdir())] == ["step-000002.png", "step-000003.png"]
    assert (tmp_path / "mine.onnx").is_file()


def test_sheet_needs_photos_without_our_data(tmp_path, compact_weights, painting):
    theirs = torch.utils.data.DataLoader(torch.rand(4, 3, 64, 64), batch_size=2)
    trainer = trainer_of(tmp_path, max_steps=1, callbacks=[SampleSheet()], enable_checkpointing=False)
    with pytest.raises(ValueError, match=r"sheet\.photos"):
        trainer.fit(module_of(compact_weights, painting), theirs)


@pytest.fixture
def styles_of(tmp_path, compact_weights, picture):
    """Makes runs of several styles, whose paintings are drawn."""

    def make(*names, network=None, **options):
        torch.manual_seed(0)
        files = {}
        for seed, name in enumerate(names or "abc"):
            files[name] = str(tmp_path / f"{name}.png")
            picture(90, 80, seed=50 + seed).save(files[name])
        options = {"size": 64, "style_layers": {"relu1_1": 1.0, "relu2_1": 1.0}, "warmup_steps": 2, **options}
        network = network or MultiStyleNet(widths=[4, 6, 8], block_width=4, dilations=[1])
        return StyleTransfer(network, CompactEncoder(compact_weights), styles=files, **options)

    return make


def test_each_style_comes_nearer_to_its_own_painting(tmp_path, styles_of, photos):
    module, data = styles_of(learning_rate=1e-2), data_of(photos, batch_size=3)
    photo = torch.stack([data.val_dataloader().dataset[0].pictures]).float() / 255
    trainer_of(tmp_path, max_steps=60, enable_checkpointing=False).fit(module, data)
    losses = torch.tensor(
        [
            [module.loss(module(photo, style), photo, styles=torch.tensor([of]))["style"] for of in range(3)]
            for style in range(3)
        ]
    )
    assert losses.argmin(0).tolist() == [0, 1, 2]  # of all pictures, its own is the nearest to each painting


def test_many_styles_resume_exactly(tmp_path, styles_of, photos):
    whole, resumed = styles_of(), styles_of()
    save = LastCheckpoint(every_n_steps=1, keep_all=True)
    trainer_of(tmp_path, max_steps=6, accumulate_grad_batches=2, callbacks=[save]).fit(whole, data_of(photos))
    again = trainer_of(tmp_path, max_steps=6, accumulate_grad_batches=2, enable_checkpointing=False)
    again.fit(resumed, data_of(photos), ckpt_path=tmp_path / "checkpoints/step-000004.ckpt")
    assert weights_of(whole).equal(weights_of(resumed))


def test_a_new_style_leaves_the_others_as_they_were(tmp_path, styles_of, photos):
    first = styles_of(credits={"a": "A painter"})
    trainer_of(tmp_path, max_steps=2, callbacks=[LastCheckpoint()]).fit(first, data_of(photos))
    last = str(tmp_path / "checkpoints/last.ckpt")
    again = styles_of("new", init_from=last, only_new_styles=True, credits={"new": "I"}, learning_rate=0.1)
    trainer_of(tmp_path / "again", max_steps=4, enable_checkpointing=False).fit(again, data_of(photos))
    assert again.network.styles == ["new", "a", "b", "c"]
    assert json.loads(again.metadata["credits"]) == {"a": "A painter", "new": "I"}
    photo, (before, after) = torch.rand(1, 3, 64, 64), (module.network for module in (first, again))
    for i in range(3):
        torch.testing.assert_close(after(photo, torch.eye(4)[i + 1]), before(photo, torch.eye(3)[i]), rtol=0, atol=1e-6)
    assert (after(photo) - before(photo, torch.full((3,), 1 / 3))).abs().max() > 0.01


def test_a_disturbed_photo_is_the_photo_moved_and_noisy():
    photos = torch.rand(2, 3, 80, 96)
    again, (down, right) = disturbed(photos, seed=(0, 3))
    moved = photos.roll((down, right), (2, 3))
    assert (again - moved).std().item() == pytest.approx(0.02, rel=0.1)
    assert disturbed(photos, seed=(0, 3))[0].equal(again)
    shifts = {disturbed(photos, seed=(0, step))[1] for step in range(200)}
    assert {shift for pair in shifts for shift in pair} == set(range(-4, 5))
    assert unsteadiness(photos, moved, (down, right)).item() == 0  # painting nothing is steady
    assert unsteadiness(photos, photos, (1, 0)).item() == pytest.approx(1 / 6, rel=0.1)  # of independent numbers


def test_stability_makes_pictures_steadier(tmp_path, compact_weights, painting, photos):
    def trained(weight):
        module, data = module_of(compact_weights, painting, stability_weight=weight), data_of(photos)
        trainer_of(tmp_path, max_steps=25, enable_checkpointing=False).fit(module, data)
        photo = torch.stack([data.val_dataloader().dataset[0].pictures]).float() / 255
        again, shift = disturbed(photo, seed=(7,))
        return unsteadiness(module(photo), module(again), shift).item()

    assert trained(100.0) < 0.7 * trained(0.0)


def test_one_style_at_random_strength_is_drawn_as_asked():
    network, files = MultiStyleNet(["other", "a", "b", "c"], [2, 2, 2], 2, [1]), {"b": "", "a": "", "c": ""}
    styles = Styles(network, files, {"a": 0.5})
    draws = [styles.draw(5, partial=0.5, seed=(0, i)) for i in range(400)]
    assert all(set(draw.paintings[:3].tolist()) == {0, 1, 2} for draw in draws)
    for draw in draws[:20]:
        rows = torch.tensor([2, 1, 3])[draw.paintings]  # where b, a and c are among the network's styles
        torch.testing.assert_close(draw.controls["style"], torch.eye(4)[rows])
        torch.testing.assert_close(
            draw.shares, draw.controls["strength"] ** 2 * torch.where(draw.paintings == 1, 0.5, 1)
        )
    strengths = torch.cat([draw.controls["strength"] for draw in draws])
    assert (strengths == 1).float().mean().item() == pytest.approx(0.5, abs=0.05)
    assert strengths[strengths < 1].mean().item() == pytest.approx(0.5, abs=0.05)
    assert styles.draw(5, partial=0.5, seed=(0, 7)).controls["strength"].equal(draws[7].controls["strength"])


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
        assert main(["fit", "--config", styles_config]) == 0
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
    assert main(["export", str(run / "checkpoints/last.ckpt"), "--output", str(tmp_path / "again.onnx")]) == 0
    photo = picture(70, 50)
    again = Stylizer(tmp_path / "again.onnx")(photo, style="glass")
    assert list(again.getdata()) == list(stylizer(photo, style="glass").getdata())
    out = tmp_path / "out"  # one of its styles is enough of a run to use it
    one = ["--model.styles", json.dumps({"glass": str(tmp_path / "glass.png")})]
    assert main(["predict", *saved, *last, *one, "--data.predict", str(photos), "--writer.output", str(out)]) == 0
    source = photos / "photo0.jpg"
    with Image.open(out / "photo0.jpg.png") as picture, Image.open(source) as photo:
        difference = np.abs(np.asarray(picture, int) - np.asarray(stylizer(photo, style="glass"), int))
    assert difference.max() <= 1


def test_a_share_of_the_style_weight_for_one_style(tmp_path, styles_of, photos):
    module = styles_of("a", "b", style_shares={"b": 0.25}, style_weight=2.0, content_weight=1.0, tv_weight=0.0)
    assert "style 2.0, b 0.5," in module.metadata["weights"]
    batch = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    even = styles_of("a", "b")
    for style, share in ((0, 1), (1, 0.25)):
        draw = module._styles.one(style, 2)
        found = module._losses(batch, batch.flip(0), draw)
        expected = even._losses(batch, batch.flip(0), even._styles.one(style, 2))
        torch.testing.assert_close(found["style"], share * expected["style"])
        torch.testing.assert_close(found["content"], expected["content"])


def test_a_checkpoint_says_which_style_is_which(tmp_path, styles_of, photos):
    first = styles_of("a", "b")
    trainer_of(tmp_path, max_steps=8, callbacks=[LastCheckpoint()]).fit(first, data_of(photos))
    last = tmp_path / "checkpoints/last.ckpt"
    photo = torch.rand(1, 3, 64, 64)
    for names in (("b", "a"), ("b",)):
        again = styles_of(*names)
        trainer_of(tmp_path, max_steps=8, enable_checkpointing=False).fit(again, data_of(photos), ckpt_path=last)
        assert again.network.styles == ["a", "b"]
        torch.testing.assert_close(again(photo, 0), first(photo, 1))
    with pytest.raises(ValueError, match="ckpt_path: the checkpoint has no style 'c'; it has a, b"):
        trainer_of(tmp_path, max_steps=8).fit(styles_of("a", "c"), data_of(photos), ckpt_path=last)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"style": "a.png"}, "model.style: give either a painting, or several with their names as model.styles"),
        ({"partial_strength": 2}, "model.partial_strength: 2 is not allowed; it must be 0 to 1"),
        ({"style_shares": {"c": 1}}, "model.style_shares: c: 1 is not allowed; give 0 or more for some of .*, a, b"),
        ({"style_shares": {"a": -1}}, "model.style_shares: a: -1 is not allowed"),
        ({"only_new_styles": True}, "model.only_new_styles: needs a MultiStyleNet, and model.init_from"),
        ({"network": JohnsonNet(4, 1, 3)}, "model.styles: JohnsonNet has one style; give it as model.style"),
        ({"network": MultiStyleNet(["d"])}, "the run has no painting for d"),
    ],
)
def test_bad_options_of_many_styles(styles_of, options, message):
    with pytest.raises(ValueError, match=message):
        styles_of(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"style_scale": 0}, "model.style_scale: 0 is not allowed"),
        ({"learning_rate": -1}, "model.learning_rate: -1"),
        ({"style_weight": -3.0}, "style_weight: -3.0"),
        ({"style_layers": {"relu7_1": 1.0}}, "unknown layer 'relu7_1'"),
    ],
)
def test_bad_options(compact_weights, painting, options, message):
    with pytest.raises(ValueError, match=message):
        module_of(compact_weights, painting, **options)


@pytest.fixture
def config(tmp_path, compact_weights, painting, photos):
    """A tiny run as YAML file; metrics need all layers at a quarter of the size, hence 128 pixels."""
    content = {
        "trainer": {
            "max_steps": 4,
            "accelerator": "cpu",
            "default_root_dir": str(tmp_path / "runs"),
            "val_check_interval": 2,
            "check_val_every_n_epoch": None,
            "log_every_n_steps": 1,
        },
        "data": {"train": str(photos), "val": str(photos), "size": 128, "batch_size": 1, "workers": 0},
        "model": {
            "style": painting,
            "network": {
                "class_path": "nst_lightning.networks.JohnsonNet",
                "init_args": {"width": 4, "blocks": 1, "kernel_size": 3},
            },
            "encoder": {
                "class_path": "nst_lightning.perception.CompactEncoder",
                "init_args": {"weights": compact_weights},
            },
        },
        "checkpoint": {"every_n_steps": 2, "keep_all": True},
        "sheet": {"every_n_steps": 2, "count": 2, "size": 64},
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(content))
    return str(path)


@pytest.fixture(autouse=True)
def own_arguments(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["nst-lightning"])


def test_fit_leaves_everything_and_the_other_commands_take_it_up(tmp_path, config, photos, capsys):
    assert main(["fit", "--config", config]) == 0
    run = tmp_path / "runs/version_0"
    names = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert {
        "config.yaml",
        "metrics.csv",
        "style.onnx",
        "checkpoints/last.ckpt",
        "checkpoints/best.ckpt",
        "checkpoints/step-000004.ckpt",
        "sheets/step-000002.png",
        "sheets/step-000004.png",
    } <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    header = (run / "metrics.csv").read_text(encoding="utf-8").splitlines()[0].split(",")
    for name in (
        "train/loss",
        "pictures_per_second",
        "val/loss",
        "val/content_median",
        "val/style_median",
        "val/grit_median",
    ):
        assert name in header
    stylizer = Stylizer(run / "style.onnx")
    assert stylizer.metadata["steps"] == "4"
    assert float(stylizer.metadata["largest_difference"]) < 1e-3

    saved, last = ["--config", str(run / "config.yaml")], ["--ckpt_path", str(run / "checkpoints/last.ckpt")]
    before = {path: path.read_bytes() for path in (run.parent, run) for path in path.glob("*.yaml")}
    capsys.readouterr()
    assert main(["validate", *saved, *last]) == 0
    assert "val/style_median" in capsys.readouterr().out
    assert main(["test", *saved, *last]) == 0
    assert "test/photo_style_median" in capsys.readouterr().out
    out = tmp_path / "out"
    (tmp_path / "new").mkdir()
    (tmp_path / "new/broken.jpg").write_text("no picture")
    shutil.copytree(photos, tmp_path / "new/photos")
    with pytest.warns(UserWarning, match=r"broken\.jpg: not a picture"):
        assert main(["predict", *saved, *last, "--data.predict", f"{tmp_path}/new", "--writer.output", str(out)]) == 0
    assert len(list(out.rglob("*.png"))) == 8
    with Image.open(out / "photos/more/photo1.jpg.png") as picture, Image.open(photos / "more/photo1.jpg") as photo:
        assert picture.size == photo.size

    assert before == {path: path.read_bytes() for path in (run.parent, run) for path in path.glob("*.yaml")}

    assert main(["export", str(run / "checkpoints/best.ckpt"), "--output", str(tmp_path / "best.onnx")]) == 0
    assert "largest difference" in capsys.readouterr().out
    assert main(["fit", *saved, *last, "--trainer.max_steps", "6"]) == 0
    assert torch.load(tmp_path / "runs/version_1/checkpoints/last.ckpt", weights_only=True)["global_step"] == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model.style", "nowhere.jpg"], "nowhere.jpg: no such file"),
        (["--data.train", "nowhere", "--data.val", "null"], "nowhere: no such folder"),
        (["--model.style_layers", "{relu9_1: 1}"], "unknown layer 'relu9_1'; allowed: conv1_1"),
        (["--model.style_weight", "-1"], "style_weight: -1.0 is not allowed"),
        (["--model.network.init_args.upsampling", "cubic"], "['nearest', 'bilinear']. Got value: cubic"),
        (["--model.network.init_args.blocks", "-1"], "blocks: -1 is not allowed"),
        (["--model.size", "128"], "model.size"),
        (["--model.stile", "a.jpg"], "unrecognized arguments: --model.stile"),
        (["--model.encoder.init_args.weights", "nowhere.pth"], "no such file"),
        (["--model.init_from", "nowhere.ckpt"], "no such checkpoint"),
        (["--ckpt_path", "nowhere.ckpt"], "nowhere.ckpt: no such checkpoint"),
        (["--trainer.accelerator", "tpu"], "torch_xla"),
        (["--sheet.count", "0"], "sheet.count: 0 is not allowed"),
        (["--checkpoint.every_n_steps", "0"], "checkpoint.every_n_steps: 0 is not allowed"),
        (["--trainer.default_root_dir", "/proc/nowhere"], "/proc/nowhere"),
        (["--trainer.max_steps", "-1", "--trainer.max_epochs", "-1"], "trainer.max_steps: the learning rate falls"),
    ],
)
def test_bad_requests_are_one_clear_line(tmp_path, config, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main(["fit", "--config", config, *arguments]) in (1, 2)
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("nst-lightning: fit: ")
    assert message in last


@pytest.mark.parametrize("command", ["fit", "validate"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"garbage", "damaged, or no checkpoint"),
        ({"state_dict": {}}, "not of a transfer network"),
        ([torch.nn.Linear(1, 1)], "damaged, or no checkpoint"),
        ({"transfer_network": {}, "state_dict": {}}, "was not written by Lightning"),
    ],
)
def test_foreign_checkpoints_are_one_clear_line(tmp_path, config, capsys, command, content, message):
    path = tmp_path / "foreign.ckpt"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    assert main([command, "--config", config, "--ckpt_path", str(path)]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"nst-lightning: {command}: ")
    assert re.search(message, last)
    assert "foreign.ckpt" in last


def test_evaluating_needs_a_checkpoint(config, capsys):
    assert main(["predict", "--config", config]) == 2
    assert "--ckpt_path: missing" in capsys.readouterr().err


def test_a_misspelt_key_in_a_config_is_named(tmp_path, config, capsys):
    spelt = Path(config).read_text(encoding="utf-8").replace("batch_size", "batchsize")
    (tmp_path / "wrong.yaml").write_text(spelt)
    assert main(["fit", "--config", str(tmp_path / "wrong.yaml")]) == 2
    assert "batchsize" in capsys.readouterr().err.splitlines()[-1]


def test_two_processes_train_equal_weights_and_export_once(tmp_path, config):
    """In processes of their own, as Lightning launches them."""
    script = tmp_path / "watch.py"
    script.write_text(
        "import sys, torch, lightning as L\n"
        "import nst_lightning.training.cli as cli\n"
        "class Watch(L.Callback):\n"
        "    def on_fit_end(self, trainer, module):\n"
        "        torch.save(module.network.state_dict(), f'{sys.argv[0]}.{trainer.global_rank}.pt')\n"
        "cli.PictureRate = Watch\n"
        "cli.main('fit', sys.argv[2:])\n"
    )
    arguments = ["fit", "--config", config, "--trainer.devices", "2", "--trainer.strategy", "ddp"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [sys.executable, script, *arguments], capture_output=True, text=True, timeout=300, env=environment, check=False
    )
    assert result.returncode == 0, result.stderr[-3000:]
    first, second = (torch.load(Path(f"{script}.{rank}.pt"), weights_only=True) for rank in (0, 1))
    assert all(first[key].equal(second[key]) for key in first)
    assert len(list((tmp_path / "runs").rglob("style.onnx"))) == 1
    assert (result.stdout + result.stderr).count("ONNX file:") == 1
