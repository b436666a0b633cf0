"""Runs beside Lightning's own callbacks."""

import shutil

import lightning as L
import onnxruntime
import pytest
import torch
from lightning.pytorch import callbacks
from lightning.pytorch.callbacks.spike import SpikeDetection
from training_runs import data_of, module_of, trainer_of, weights_of

from nst_lightning.cli import main
from nst_lightning.distillation import Distillation, NarrowStudent
from nst_lightning.encoders import CompactEncoder
from nst_lightning.errors import UserError
from nst_lightning.networks import MultiStyleNet, load_network
from nst_lightning.training import ExportOnnx, LastCheckpoint
from nst_lightning.training.resume import newest_checkpoint

DECAY = 0.5


class Watch(L.Callback):
    """Keeps the weights after each step."""

    def __init__(self):
        self.weights = []

    def on_train_batch_end(self, trainer, pl_module, *_):
        self.weights.append(weights_of(pl_module).clone())


def average_of(weights, decay=DECAY):
    """The exponential moving average, by its definition; without a decay the plain average."""
    if decay is None:
        return torch.stack(weights).mean(0)
    average = weights[0]
    for each in weights[1:]:
        average = decay * average + (1 - decay) * each
    return average


def saved(path, part="state_dict"):
    """The network's weights in a checkpoint."""
    state = torch.load(path, weights_only=True)[part]
    assert all(key.startswith("network.") for key in state)
    return torch.cat([value.flatten() for value in state.values()])


def close(one, other):
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("decay", [DECAY, None])
@pytest.mark.parametrize("length", [{"max_steps": 5}, {"max_epochs": 3, "limit_train_batches": 2}])
def test_averaged_weights_are_saved_resumed_and_exported(tmp_path, compact_weights, painting, photos, decay, length):
    def average():
        return callbacks.EMAWeightAveraging(decay=decay) if decay else callbacks.WeightAveraging()

    watch, save = Watch(), LastCheckpoint(every_n_steps=2, keep_all=True)
    whole = module_of(compact_weights, painting)
    chosen = [average(), watch, save, ExportOnnx("a.onnx" if decay and "max_steps" in length else "")]
    trainer_of(tmp_path, **length, callbacks=chosen).fit(whole, data_of(photos))
    expected = average_of(watch.weights, decay)
    close(weights_of(whole), expected)
    last = tmp_path / "checkpoints/last.ckpt"
    close(saved(last), expected)
    close(saved(last, "current_model_state"), watch.weights[-1])  # with which training would go on
    close(saved(tmp_path / "checkpoints/step-000002.ckpt"), average_of(watch.weights[:2], decay))
    if (tmp_path / "a.onnx").exists():
        photo = torch.rand(1, 3, 40, 48)
        (painted,) = onnxruntime.InferenceSession(tmp_path / "a.onnx").run(None, {"photo": photo.numpy()})
        torch.testing.assert_close(torch.from_numpy(painted), load_network(last)[0](photo).detach(), rtol=0, atol=1e-3)
    resumed = module_of(compact_weights, painting)
    trainer_of(tmp_path, **length, callbacks=[average()], enable_checkpointing=False).fit(
        resumed, data_of(photos), ckpt_path=tmp_path / "checkpoints/step-000002.ckpt"
    )
    assert weights_of(resumed).equal(weights_of(whole))


def test_a_checkpoint_of_weights_alone_has_the_averages(tmp_path, compact_weights, painting, photos):
    watch = Watch()
    alone = callbacks.ModelCheckpoint(tmp_path, "{step}", save_weights_only=True, every_n_train_steps=3)
    chosen = [callbacks.EMAWeightAveraging(decay=DECAY), watch, alone]
    trainer_of(tmp_path, max_steps=3, callbacks=chosen).fit(module_of(compact_weights, painting), data_of(photos))
    content = torch.load(tmp_path / "step=3.ckpt", weights_only=True)
    assert "current_model_state" not in content
    close(saved(tmp_path / "step=3.ckpt"), average_of(watch.weights))


@pytest.mark.usefixtures("tiny_yardstick")
def test_averages_are_right_in_a_checkpoint_that_is_saved_amid_validation(tmp_path, compact_weights, painting, photos):
    class Save(L.Callback):
        def on_validation_batch_end(self, trainer, *_):
            if not trainer.sanity_checking:
                trainer.save_checkpoint(tmp_path / "amid.ckpt", weights_only=False)
                trainer.save_checkpoint(tmp_path / "alone.ckpt", weights_only=True)

    watch, size = Watch(), {"short_side": 128}
    options = {"max_steps": 3, "val_check_interval": 3, "check_val_every_n_epoch": None, "limit_val_batches": 1}
    chosen = [callbacks.EMAWeightAveraging(decay=DECAY), watch, Save()]
    trainer = trainer_of(tmp_path, **options, callbacks=chosen, enable_checkpointing=False)
    trainer.fit(module_of(compact_weights, painting, **size), data_of(photos, **size))
    for name in ("amid", "alone"):
        close(saved(tmp_path / f"{name}.ckpt"), average_of(watch.weights))
    close(saved(tmp_path / "amid.ckpt", "current_model_state"), watch.weights[-1])


def test_averages_of_a_network_that_adopts_styles_resume(tmp_path, compact_weights, painting, photos):
    def network(*styles):
        return MultiStyleNet(list(styles), [4, 6, 8], 4, [1])

    def average():
        return callbacks.EMAWeightAveraging(decay=DECAY)

    save = LastCheckpoint(every_n_steps=1, keep_all=True)
    whole = module_of(compact_weights, None, network(), styles={"ink": painting, "wood": painting})
    trainer_of(tmp_path, max_steps=3, callbacks=[average(), save]).fit(whole, data_of(photos))
    resumed = module_of(compact_weights, None, network(), styles={"wood": painting, "ink": painting})
    trainer = trainer_of(tmp_path, max_steps=3, callbacks=[average()], enable_checkpointing=False)
    trainer.fit(resumed, data_of(photos), ckpt_path=tmp_path / "checkpoints/step-000002.ckpt")
    assert resumed.network.styles == ["ink", "wood"]
    assert weights_of(resumed).isfinite().all()
    one, other = whole.network.per_style_parameters(), resumed.network.per_style_parameters()
    assert all(a.shape == b.shape for a, b in zip(one, other))


@pytest.mark.parametrize("average", [callbacks.WeightAveraging, callbacks.EMAWeightAveraging])
def test_a_distillation_is_averaged_and_resumed(tmp_path, compact_weights, photos, average):
    def module():
        torch.manual_seed(0)
        return Distillation(CompactEncoder(compact_weights), NarrowStudent([4, 4]), warmup_steps=2)

    whole, resumed = module(), module()
    save = LastCheckpoint(every_n_steps=1, keep_all=True)
    trainer_of(tmp_path, max_steps=3, callbacks=[average(), save]).fit(whole, data_of(photos))
    trainer = trainer_of(tmp_path, max_steps=3, callbacks=[average()], enable_checkpointing=False)
    trainer.fit(resumed, data_of(photos), ckpt_path=tmp_path / "checkpoints/step-000002.ckpt")
    assert weights_of(resumed).equal(weights_of(whole))


@pytest.mark.parametrize(
    ("callback", "message"),
    [
        (
            lambda: callbacks.StochasticWeightAveraging(1e-3),
            "StochasticWeightAveraging averages at the start of epochs",
        ),
        (lambda: callbacks.LearningRateFinder(), "LearningRateFinder changes an attribute that the optimizer doesn't"),
        (lambda: callbacks.BackboneFinetuning(), "BackboneFinetuning needs a module with a `backbone`"),
        (lambda: callbacks.ModelPruning("l1_unstructured"), "ModelPruning prunes the encoder"),
        (lambda: SpikeDetection(), "SpikeDetection fails when a checkpoint is saved"),
        (lambda: callbacks.GradientAccumulationScheduler({0: 2}), "needs epochs, .* trainer.accumulate_grad_batches"),
        (
            lambda: callbacks.ModelCheckpoint(save_last=True),
            "ModelCheckpoint with save_last would write over last.ckpt",
        ),
    ],
)
def test_callbacks_that_cannot_work_are_refused(tmp_path, compact_weights, painting, photos, callback, message):
    trainer = trainer_of(tmp_path, max_steps=2, callbacks=[callback(), LastCheckpoint()])
    with pytest.raises(UserError, match=f"trainer.callbacks: .*{message}"):
        trainer.fit(module_of(compact_weights, painting), data_of(photos))
    assert not list(tmp_path.iterdir())


def test_a_batch_size_is_found_at_the_first_start_only(tmp_path, compact_weights, painting, photos):
    def finder():
        return callbacks.BatchSizeFinder(steps_per_trial=1, max_trials=2)

    save, data = LastCheckpoint(every_n_steps=1, keep_all=True), data_of(photos)
    trainer = trainer_of(tmp_path, max_steps=3, callbacks=[finder(), save])
    trainer.fit(module_of(compact_weights, painting), data)
    assert trainer.global_step == 3
    assert data.batch_size == 4
    again = trainer_of(tmp_path, max_steps=3, callbacks=[finder()], enable_checkpointing=False)
    with pytest.raises(UserError, match=r"BatchSizeFinder would count the steps .*; set data\.batch_size"):
        again.fit(
            module_of(compact_weights, painting), data_of(photos), ckpt_path=tmp_path / "checkpoints/step-000002.ckpt"
        )


def test_gradients_are_accumulated_as_before_where_a_run_resumes_amid_an_epoch(
    tmp_path, compact_weights, painting, photos
):
    def options():
        scheduler = callbacks.GradientAccumulationScheduler({0: 2, 1: 1})
        return {"max_epochs": 2, "limit_train_batches": 3, "callbacks": [scheduler]}

    whole, resumed = module_of(compact_weights, painting), module_of(compact_weights, painting)
    first = options()
    first["callbacks"].append(LastCheckpoint(every_n_steps=1, keep_all=True))
    trainer_of(tmp_path, **first).fit(whole, data_of(photos, batch_size=1))
    again = trainer_of(tmp_path, **options(), enable_checkpointing=False)
    again.fit(resumed, data_of(photos, batch_size=1), ckpt_path=tmp_path / "checkpoints/step-000001.ckpt")
    assert again.global_step == 5
    assert weights_of(resumed).equal(weights_of(whole))


def test_last_is_the_newest_checkpoint_in_ones_own_trainer(tmp_path, compact_weights, painting, photos):
    def fit(folder, steps, *more, path="last", **options):
        chosen = [LastCheckpoint(every_n_steps=1), *more]
        trainer = trainer_of(folder, max_steps=steps, callbacks=chosen, **options)
        trainer.fit(module_of(compact_weights, painting), data_of(photos), ckpt_path=path)
        return trainer

    with pytest.raises(UserError, match=r"ckpt_path: there is no last checkpoint, neither .*last\.ckpt nor"):
        fit(tmp_path, 3)
    fit(tmp_path, 2, path=None)
    seen = Watch()
    trainer = fit(tmp_path, 3, seen)
    assert trainer.global_step == 3
    assert len(seen.weights) == 1
    assert trainer.validate(module_of(compact_weights, painting), data_of(photos), ckpt_path="last") == []
    logged = {"logger": True}
    fit(tmp_path / "logged", 2, path=None, **logged)
    seen = Watch()
    fit(tmp_path / "logged", 3, seen, **logged)
    assert len(seen.weights) == 1


def test_what_a_failed_run_left_is_not_taken_up_unasked(tmp_path, compact_weights, painting, photos):
    class Fail(L.Callback):
        def on_train_batch_end(self, trainer, *_):
            if trainer.global_step == 2:
                raise RuntimeError("a failure")

    def fit(*more, path=None):
        chosen = [callbacks.OnExceptionCheckpoint(tmp_path / "failed"), LastCheckpoint(), *more]
        trainer = trainer_of(tmp_path, max_steps=3, callbacks=chosen)
        trainer.fit(module_of(compact_weights, painting), data_of(photos), ckpt_path=path)
        return trainer

    with pytest.raises(RuntimeError, match="a failure"):
        fit(Fail())
    left = shutil.copy(tmp_path / "failed/on_exception.ckpt", tmp_path / "copy.ckpt")
    with pytest.raises(UserError, match=r"ckpt_path: .*on_exception\.ckpt is left of a run that failed; name it"):
        fit()
    shutil.copy(left, tmp_path / "failed/on_exception.ckpt")
    seen = Watch()
    assert fit(seen, path=left).global_step == 3
    assert len(seen.weights) == 1


def test_the_newest_run_is_the_one_with_the_highest_number(tmp_path):
    for number in (2, 10, 9, 11):
        (tmp_path / f"version_{number}/checkpoints").mkdir(parents=True)
        if number != 11:
            (tmp_path / f"version_{number}/checkpoints/last.ckpt").touch()
    assert newest_checkpoint(tmp_path, "last.ckpt") == tmp_path / "version_10/checkpoints/last.ckpt"
    assert newest_checkpoint(tmp_path, "best.ckpt") is None


def test_the_command_resumes_the_last_run_beside_an_average(tmp_path, config, capsys, caplog):
    average = ["--trainer.callbacks", "EMAWeightAveraging", "--trainer.callbacks.decay", "0.5", "--export.filename", ""]
    assert main(["fit", "--config", config, "--ckpt_path", "last"]) == 2
    assert f"--ckpt_path last: no run in {tmp_path}/runs has checkpoints/last.ckpt" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
    assert main(["fit", "--config", config, *average]) == 0
    caplog.set_level("INFO")
    assert main(["fit", "--config", config, *average, "--ckpt_path", "last", "--trainer.max_steps", "5"]) == 0
    assert f"--ckpt_path last is {tmp_path}/runs/version_0/checkpoints/last.ckpt" in caplog.text
    last = tmp_path / "runs/version_1/checkpoints/last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == 5
    assert not saved(last).equal(saved(last, "current_model_state"))
    assert main(["validate", "--config", config, "--ckpt_path", "best"]) == 0
    for name in ("hpc", "registry:a"):
        assert main(["fit", "--config", config, "--ckpt_path", name]) == 2
        assert f"--ckpt_path must be a file, last or best, got {name}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--best.save_last", "true"], "ModelCheckpoint with save_last would write over last.ckpt"),
        (["--trainer.callbacks", "LearningRateFinder"], "trainer.callbacks: LearningRateFinder changes"),
    ],
)
def test_a_refused_callback_leaves_no_run(tmp_path, config, capsys, arguments, message):
    assert main(["fit", "--config", config, *arguments]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "runs").exists()
