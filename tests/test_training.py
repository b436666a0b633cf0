import copy
import itertools
import math
import shutil
from itertools import pairwise

import lightning as L
import pytest
import torch
from narrow_vgg16 import NarrowVGG16
from PIL import Image
from training_runs import data_of, module_of, objective_of, trainer_of, weights_of

from nst_lightning.encoders import CompactEncoder, image_to_tensor
from nst_lightning.errors import WorkError
from nst_lightning.images import read_rgb
from nst_lightning.metrics import EvaluatorGroup
from nst_lightning.networks import JohnsonNet, load_network
from nst_lightning.training import (
    ExportOnnx,
    LastCheckpoint,
    Metadata,
    PictureRate,
    SampleSheet,
    StyleTransfer,
    build_style_transfer,
)
from nst_lightning.training.crop import crop_at_random
from nst_lightning.training.stability import disturb, unsteadiness


def test_training_lowers_the_loss(tmp_path, compact_weights, painting, photos):
    module, data = module_of(compact_weights, painting, optimizer={"learning_rate": 5e-3}), data_of(photos)
    batch = torch.from_numpy(data.val_dataloader().dataset[0].pictures)[None].float() / 255
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
@pytest.mark.usefixtures("tiny_yardstick")
def test_resume_is_exact(tmp_path, compact_weights, painting, photos, options, stop):
    size = {"short_side": 128} if "limit_val_batches" in options else {}
    whole = module_of(compact_weights, painting, **size)
    save = LastCheckpoint(every_n_steps=1, keep_all=True)
    first = trainer_of(tmp_path, **options, callbacks=[save])
    first.fit(whole, data_of(photos, **size))
    resumed = module_of(compact_weights, painting, **size)
    again = trainer_of(tmp_path, **options, enable_checkpointing=False)
    again.fit(resumed, data_of(photos, workers=1, **size), ckpt_path=tmp_path / f"checkpoints/step-{stop:06d}.ckpt")
    assert again.global_step == first.global_step > stop
    assert weights_of(whole).equal(weights_of(resumed))


def test_steps_compare_styles_along_changing_directions_and_resume_exactly(tmp_path, compact_weights, painting, photos):
    def trained(checkpoint=None, **options):
        module, draws = module_of(compact_weights, painting, objective={"style_loss": "sliced"}), []
        module.loss.register_forward_pre_hook(lambda _, args, given: draws.append(given["draw"]), with_kwargs=True)
        trainer = trainer_of(tmp_path, max_steps=7, limit_train_batches=3, **options)
        trainer.fit(module, data_of(photos), ckpt_path=checkpoint)
        return module, draws

    whole, draws = trained(callbacks=[LastCheckpoint(every_n_steps=1, keep_all=True)])
    resumed, rest = trained(tmp_path / "checkpoints/step-000002.ckpt", enable_checkpointing=False)
    assert draws == [0, 1, 2, 1, 2, 3, 2]  # the numbers of epoch and batch together, which are the same on every rank
    assert rest == draws[2:]
    assert weights_of(whole).equal(weights_of(resumed))


def test_the_last_checkpoint_is_the_end_of_the_run(tmp_path, compact_weights, painting, photos):
    module = module_of(compact_weights, painting)
    trainer_of(tmp_path, max_steps=5, callbacks=[LastCheckpoint(every_n_steps=2)]).fit(module, data_of(photos))
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["last.ckpt"]
    network, _ = load_network(tmp_path / "checkpoints/last.ckpt")
    photo = torch.rand(1, 3, 40, 40)
    torch.testing.assert_close(network(photo), module(photo), rtol=0, atol=0)


@pytest.mark.usefixtures("tiny_yardstick")
def test_mixed_precision_validates_at_any_size(tmp_path, compact_weights, painting, photos):
    module, data = module_of(compact_weights, painting, short_side=128), data_of(photos, short_side=128)
    trainer_of(tmp_path, max_steps=2, precision="bf16-mixed", limit_val_batches=1).fit(module, data)
    assert weights_of(module).isfinite().all()
    with pytest.raises(ValueError, match=r"trainer\.precision must be .*, got 'bf16-true'"):
        trainer_of(tmp_path, max_steps=2, precision="bf16-true").fit(module, data)


def test_a_corrupt_held_out_photo_is_not_on_the_sheet(tmp_path, compact_weights, painting, photos):
    shutil.copytree(photos, tmp_path / "val")
    (tmp_path / "val/a-broken.jpg").write_text("no")
    Image.new("RGB", (20, 90)).save(tmp_path / "val/a-tiny.png")
    sheet = SampleSheet(1, count=3, short_side=64)
    trainer = trainer_of(tmp_path, max_steps=1, callbacks=[sheet], enable_checkpointing=False)
    trainer.fit(module_of(compact_weights, painting), data_of(photos, val=f"{tmp_path}/val"))
    assert len(sheet.shown) == 3


def test_overfitting_a_few_batches(tmp_path, compact_weights, painting, photos):
    trainer = trainer_of(tmp_path, max_steps=3, overfit_batches=1, enable_checkpointing=False)
    trainer.fit(module_of(compact_weights, painting), data_of(photos))
    assert trainer.global_step == 3


def test_checkpoints_leave_the_encoder_out_and_hold_no_code(tmp_path, compact_weights, painting, photos):
    module = module_of(compact_weights, painting, metadata=Metadata(title="A painting"))
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


def test_validation_measures_at_two_sizes_and_by_a_judge(tmp_path, compact_weights, painting, photos, tiny_yardstick):
    judge = NarrowVGG16()
    module, data = module_of(compact_weights, painting, short_side=272, judge=judge), data_of(photos, short_side=272)
    trainer = trainer_of(tmp_path, max_steps=1, limit_val_batches=2, limit_test_batches=1, num_sanity_val_steps=0)
    trainer.fit(module, data)
    style = image_to_tensor(read_rgb(painting))
    group = EvaluatorGroup(tiny_yardstick, style, short_sides=(256, 272), judge=judge)
    for batch in itertools.islice(data.val_dataloader(), 2):
        photo = torch.from_numpy(batch.pictures) / 255
        group.update(module(photo), photo)
    logged = dict(trainer.callback_metrics)
    for short_side, suffix in ((256, "median"), (272, "272px_median")):
        for name, value in group.compute()[short_side].items():
            torch.testing.assert_close(logged.pop(f"val/{name}_{suffix}"), value)
    assert not [name for name in logged if name.endswith("_median")]
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    content = torch.load(tmp_path / "a.ckpt", weights_only=True)
    assert all(key.startswith("network.") for key in content["state_dict"])
    (tested,) = trainer.test(module, data, verbose=False)
    assert {"test/judge_style_272px_median", "test/photo_judge_style_272px_median"} <= set(tested)


def test_only_the_judge_needs_all_layers(compact_weights, painting):
    """Figures don't depend on the encoder of the losses."""
    encoder, judge = CompactEncoder(compact_weights), NarrowVGG16()
    encoder.layers = encoder.layers[:3]
    objective, network = objective_of(content_layers={"relu2_1": 1.0}), JohnsonNet(4, 1, 3)
    module = build_style_transfer(network, encoder, painting, judge=judge, objective=objective)
    assert module.figures.yardstick.description == "VGG19 (bundled) + CompactEncoder (bundled)"
    judge.layers = judge.layers[:3]
    with pytest.raises(ValueError, match=r"^judge: a narrow VGG-16 has no layer relu1_2"):
        build_style_transfer(network, encoder, painting, judge=judge, objective=objective)


def test_resume_refuses_another_network(tmp_path, compact_weights, painting, photos):
    trainer = trainer_of(tmp_path, max_steps=1)
    trainer.fit(module_of(compact_weights, painting), data_of(photos))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    other = module_of(compact_weights, painting)
    other.network = JohnsonNet(6, 1, 3)
    with pytest.raises(
        ValueError, match=r"ckpt_path: .*different network.*\(16, 16, 3, 3\) there and \(24, 24, 3, 3\) here"
    ):
        trainer_of(tmp_path, max_steps=2).fit(other, data_of(photos), ckpt_path=tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match=r"init_from: styles holds a MultiStyleNet, but network is a JohnsonNet"):
        module_of(compact_weights, painting, init_from="styles")
    warm = module_of(compact_weights, painting, init_from=str(tmp_path / "a.ckpt"))
    assert weights_of(warm).equal(torch.cat([p.flatten() for p in load_network(tmp_path / "a.ckpt")[0].parameters()]))


def test_a_network_from_elsewhere_resumes(tmp_path, compact_weights, painting, photos):
    """One that says nothing of its arguments: any module that makes pictures of photos."""
    whole, resumed = (
        module_of(
            compact_weights, painting, torch.nn.Sequential(torch.nn.Conv2d(3, 3, 3, padding=1), torch.nn.Sigmoid())
        )
        for _ in range(2)
    )
    save = LastCheckpoint(every_n_steps=1, keep_all=True)
    trainer_of(tmp_path, max_steps=3, callbacks=[save]).fit(whole, data_of(photos))
    checkpoint = tmp_path / "checkpoints/step-000002.ckpt"
    again = trainer_of(tmp_path, max_steps=3, enable_checkpointing=False)
    again.fit(resumed, data_of(photos), ckpt_path=checkpoint)
    assert weights_of(whole).equal(weights_of(resumed))
    with pytest.raises(ValueError, match=r"network must be torch\..*Sequential, the class of .*step-000002\.ckpt"):
        load_network(checkpoint)
    loaded, _ = load_network(checkpoint, network=copy.deepcopy(whole.network))
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    assert all(state[f"network.{key}"].equal(value) for key, value in loaded.state_dict().items())


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
    module = module_of(compact_weights, painting, optimizer={"max_bad_steps": 3})
    module.__class__, module.bad = Spoiled, (1, 3, 4, 5)
    trainer = trainer_of(tmp_path, max_steps=9, enable_checkpointing=False)
    with pytest.raises(WorkError, match=r"not finite for 3 steps in a row, up to step 5; lower the learning rate"):
        trainer.fit(module, data_of(photos))
    assert trainer.global_step == 5


def test_learning_rate_rises_and_falls(tmp_path, compact_weights, painting, photos):
    module = module_of(compact_weights, painting, optimizer={"learning_rate": 1e-3})
    rates = []

    class Watch(L.Callback):
        def on_train_batch_start(self, trainer, *_):
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    trainer_of(tmp_path, max_steps=8, enable_checkpointing=False, callbacks=[Watch()]).fit(module, data_of(photos))
    falling = [5e-4 * (1 + math.cos(math.pi * i / 6)) for i in range(6)]
    assert rates == pytest.approx([5e-4, 1e-3, *falling])


def test_works_in_somebody_elses_trainer(tmp_path, compact_weights, painting, photos):
    """With their own data and network: batches of photos, and pictures of them, are all that is asked for."""
    theirs = torch.utils.data.DataLoader(torch.rand(4, 3, 64, 64), batch_size=2)
    callbacks = [SampleSheet(2, str(photos), count=2, short_side=64), ExportOnnx("mine.onnx"), PictureRate()]
    trainer = trainer_of(tmp_path, max_steps=3, callbacks=callbacks, enable_checkpointing=False)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 3, padding=1), torch.nn.Sigmoid())
    trainer.fit(module_of(compact_weights, painting, network), theirs)
    assert [path.name for path in sorted((tmp_path / "sheets").iterdir())] == ["step-000002.png", "step-000003.png"]
    assert (tmp_path / "mine.onnx").is_file()


def test_sheet_needs_photos_without_our_data(tmp_path, compact_weights, painting):
    theirs = torch.utils.data.DataLoader(torch.rand(4, 3, 64, 64), batch_size=2)
    trainer = trainer_of(tmp_path, max_steps=1, callbacks=[SampleSheet()], enable_checkpointing=False)
    with pytest.raises(ValueError, match="photos: a folder of photos is needed without a PhotoDataModule"):
        trainer.fit(module_of(compact_weights, painting), theirs)


def test_a_disturbed_photo_is_the_photo_moved_and_noisy():
    photos = torch.rand(2, 3, 80, 96)
    again, (down, right) = disturb(photos, seed=(0, 3))
    moved = photos.roll((down, right), (2, 3))
    assert (again - moved).std().item() == pytest.approx(0.02, rel=0.1)
    assert disturb(photos, seed=(0, 3))[0].equal(again)
    shifts = {disturb(photos, seed=(0, step))[1] for step in range(200)}
    assert {shift for pair in shifts for shift in pair} == set(range(-4, 5))
    assert unsteadiness(photos, moved, (down, right)).item() == 0  # painting nothing is steady
    assert unsteadiness(photos, photos, (1, 0)).item() == pytest.approx(1 / 6, rel=0.1)  # of independent numbers


def test_nothing_is_saved_amid_a_step(tmp_path, compact_weights, painting, photos):
    saved = []

    class Save(LastCheckpoint):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            before = self._saved_at
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
            saved.extend([(batch_idx + 1, self._saved_at)] if self._saved_at != before else [])

    module, data = module_of(compact_weights, painting), data_of(photos, batch_size=1)
    for checkpoint in (None, str(tmp_path / "checkpoints/step-000002.ckpt")):
        callbacks = [Save(every_n_steps=2, keep_all=True), SampleSheet(2, count=1, short_side=64)]
        trainer = trainer_of(tmp_path, max_steps=3, accumulate_grad_batches=2, callbacks=callbacks)
        trainer.fit(module, data, ckpt_path=checkpoint)
    assert saved == [(4, 2)]
    assert {path.name for path in (tmp_path / "sheets").iterdir()} == {"step-000002.png", "step-000003.png"}


def test_a_sheet_has_its_photos_once(tmp_path, compact_weights, painting, photos):
    sheet = SampleSheet(1, count=2, short_side=64)
    for _ in range(2):
        trainer = trainer_of(tmp_path, max_steps=1, callbacks=[sheet], enable_checkpointing=False)
        trainer.fit(module_of(compact_weights, painting), data_of(photos, val=str(photos)))
    assert len(sheet.shown) == 2


@pytest.mark.parametrize(
    ("largest", "smallest", "rows", "columns"),
    [(256, 8, 8, 4), (256, 62, 8, 2), (256, 64, 8, 0), (256, 300, 0, 0), (224, 8, 32, 4), (48, 62, 194, 2)],
)
def test_losses_see_pictures_and_photos_cut_at_the_same_place_anywhere(largest, smallest, rows, columns):
    place = torch.stack(torch.meshgrid(torch.arange(256), torch.arange(64), indexing="ij")).expand(2, 2, 256, 64)
    corners = set()
    for step in range(2000):
        one, other = crop_at_random(place, -place, largest=largest, smallest=smallest, seed=(0, step, 0, 2))
        assert one.shape == (2, 2, 256 - rows, 64 - columns)
        assert torch.equal(one, -other)
        corners.add(tuple(one[0, :, 0, 0].tolist()))
    assert {row for row, _ in corners} == set(range(rows + 1))
    assert {column for _, column in corners} == set(range(columns + 1))


def test_half_of_the_batches_have_surroundings_that_losses_do_not_see(tmp_path, compact_weights, painting, photos):
    module, data = module_of(compact_weights, painting), data_of(photos, surroundings=32)
    painted, seen = [], []
    module.try_network(trains=True)  # which is done once, and would be recorded
    module.network.register_forward_pre_hook(lambda _, inputs: painted.append(tuple(inputs[0].shape)))
    module.loss.register_forward_pre_hook(lambda _, inputs: seen.append({tuple(x.shape) for x in inputs}))
    trainer_of(tmp_path, max_steps=4, enable_checkpointing=False).fit(module, data)
    assert painted == [(2, 3, 96, 96), (2, 3, 64, 64)] * 2
    assert seen == [{(2, 3, 64, 64)}, {(2, 3, 60, 60)}] * 2


def test_stability_makes_pictures_steadier(tmp_path, compact_weights, painting, photos):
    def trained(weight):
        module, data = module_of(compact_weights, painting, stability_weight=weight), data_of(photos)
        trainer_of(tmp_path, max_steps=25, enable_checkpointing=False).fit(module, data)
        photo = torch.from_numpy(data.val_dataloader().dataset[0].pictures)[None].float() / 255
        again, shift = disturb(photo, seed=(7,))
        return unsteadiness(module(photo), module(again), shift).item()

    assert trained(100.0) < 0.7 * trained(0.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"painting_scale": 0}, "painting_scale must be > 0, got 0"),
        ({"short_side": 31}, "short_side must be >= 32, got 31"),
        ({"stability_weight": -1}, "stability_weight must be >= 0, got -1"),
        ({"optimizer": {"name": "sgd"}}, "name must be adam or muon, got 'sgd'"),
        ({"optimizer": {"learning_rate": -1}}, "learning_rate must be > 0, got -1"),
        ({"optimizer": {"warmup_steps": -1}}, "warmup_steps must be >= 0, got -1"),
        ({"optimizer": {"max_bad_steps": 0}}, "max_bad_steps must be >= 1, got 0"),
        ({"objective": {"style_weight": -3.0}}, "style_weight must be >= 0, got -3.0"),
        ({"objective": {"style_layers": {"relu7_1": 1.0}}}, "unknown layer 'relu7_1'"),
    ],
)
def test_bad_options(compact_weights, painting, options, message):
    with pytest.raises(ValueError, match=message):
        module_of(compact_weights, painting, **options)
