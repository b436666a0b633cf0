import shutil
from pathlib import Path

import pytest
import torch
import training_runs
from safetensors import safe_open
from safetensors.torch import load_file
from training_runs import trainer_of, weights_of

from nst_lightning.cli import main
from nst_lightning.distillation import BottleneckStudent, Distillation, NarrowStudent
from nst_lightning.distillation.least_squares import fit_bottlenecks
from nst_lightning.distillation.made_pictures import OptimizedPictures
from nst_lightning.distillation.paintings import PaintingCrops
from nst_lightning.distillation.variations import add_noise, change_colors, flatten_tones, random_textures, vary
from nst_lightning.encoders import VGG16, VGG19, CompactEncoder, CompressedVGG, image_to_tensor
from nst_lightning.encoders.compact import NarrowVGG
from nst_lightning.encoders.compressed import CHANNELS, BottleneckVGG
from nst_lightning.encoders.weights import save_half
from nst_lightning.errors import WorkError
from nst_lightning.losses import gram_loss, gram_matrix
from nst_lightning.metrics import ChannelCorrelation, channel_correlation
from nst_lightning.training import LastCheckpoint

ROOT = Path(__file__).parent.parent
WIDTHS = [4, 4, 6]


def module_of(compact_weights, **options):
    torch.manual_seed(0)
    narrow = {name: options.pop(name) for name in ("widths", "init_from", "frozen") if name in options}
    student = NarrowStudent(**{"widths": WIDTHS, **narrow})
    return Distillation(CompactEncoder(compact_weights), student, **{"warmup_steps": 2, **options})


def data_of(photos):
    return training_runs.data_of(photos, short_side=48, batch_size=4)


def agreement(module, pictures):
    """Mean correlation of the channels that do answer to pictures, per layer."""
    network, targets = module.export(), module.teacher(pictures, module.layers)
    features, found = network(pictures, module.layers), []
    for layer, target in targets.items():
        alive = target.mean((0, 2, 3)) > 0.2
        found.append(channel_correlation(features[layer], target)[:, alive].nanmean())
    return torch.stack(found)


def test_learns_to_see_as_the_teacher_does(tmp_path, compact_weights, photos):
    module = module_of(compact_weights, widths=[12, 12], learning_rate=2e-2)
    for _, norm in module.network.values():
        norm.momentum = 0.2  # a short run
    pictures = torch.from_numpy(next(iter(data_of(photos).train_dataloader())).pictures).float() / 255
    before = agreement(module, pictures)
    trainer_of(tmp_path, max_steps=200, enable_checkpointing=False).fit(module, data_of(photos))
    after = agreement(module, pictures)
    assert all(part.training for part in module.network.modules())
    assert (after > 0.7).all()
    assert after[1] > before[1] + 0.3


def test_an_interrupted_distillation_resumes_exactly(tmp_path, compact_weights, photos):
    paintings = {"paintings": str(photos), "painting_share": 0.5, "layer_weights": {"relu1_1": 2}}
    whole = module_of(compact_weights, **paintings)
    save = LastCheckpoint(every_n_steps=1, keep_all=True)
    trainer_of(tmp_path, max_steps=5, callbacks=[save]).fit(whole, data_of(photos))
    resumed = module_of(compact_weights, **paintings)
    torch.nn.init.zeros_(resumed.network["conv1_1"][0].weight)
    again = trainer_of(tmp_path, max_steps=5, enable_checkpointing=False)
    again.fit(resumed, data_of(photos), ckpt_path=tmp_path / "checkpoints/step-000002.ckpt")
    assert weights_of(whole).equal(weights_of(resumed))
    other = shutil.copy(compact_weights, tmp_path / "other.safetensors")
    with pytest.warns(
        UserWarning, match=r"with the teacher .*compact\.safetensors.*; training continues with .*other\.safetensors"
    ):
        trainer_of(tmp_path, max_steps=3, enable_checkpointing=False).fit(
            module_of(str(other), **paintings), data_of(photos), ckpt_path=tmp_path / "checkpoints/step-000002.ckpt"
        )
    content = torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)
    assert not any(key.startswith("teacher") for key in content["state_dict"])


def test_a_distillation_that_diverges_keeps_its_last_good_checkpoint(tmp_path, compact_weights, photos):
    module = module_of(compact_weights)
    save = LastCheckpoint(every_n_steps=1)
    trainer_of(tmp_path, max_steps=2, callbacks=[save]).fit(module, data_of(photos))
    last = tmp_path / "checkpoints/last.ckpt"
    module = module_of(compact_weights)
    module.gram_weight = float("inf")
    with pytest.raises(WorkError, match=r"gradients of step 2 are not finite; resume from the run's last\.ckpt"):
        trainer_of(tmp_path, max_steps=4, callbacks=[save]).fit(module, data_of(photos), ckpt_path=last)
    state = torch.load(last, weights_only=True)
    assert state["global_step"] == 2
    assert all(value.isfinite().all() for value in state["state_dict"].values())


def test_weights_that_half_precision_cannot_hold_are_not_written(tmp_path):
    network = NarrowVGG([4], [8])
    torch.nn.init.constant_(network["embed1_1"].bias, 1e6)
    with pytest.raises(ValueError, match=r"not written; embed1_1\.bias is not finite in half precision"):
        save_half(network.state_dict(), tmp_path / "a.safetensors", {})
    assert not list(tmp_path.iterdir())


def test_writes_what_the_compact_encoder_reads(tmp_path, compact_weights, photos):
    module = module_of(compact_weights)
    trainer_of(tmp_path, max_steps=3, enable_checkpointing=False).fit(module, data_of(photos))
    path = tmp_path / "compact_encoder.safetensors"
    assert {value.dtype for value in load_file(path).values()} == {torch.float16}
    with safe_open(path, framework="pt") as file:
        assert "compact.safetensors" in file.metadata()["teacher"]
        assert file.metadata()["steps"] == "3"
    picture = torch.rand(1, 3, 40, 48)
    found = CompactEncoder(str(path))(picture, module.layers)
    scaled = module.eval().network(picture, module.layers)
    for layer, features in found.items():  # the file has neither norms nor scales: they are folded in
        expected = scaled[layer] * module.get_buffer(f"scale_{layer}")
        torch.testing.assert_close(features, expected, rtol=0.02, atol=0.02 * expected.max().item())


def test_goes_on_from_a_file_and_keeps_the_first_layers(tmp_path, compact_weights, photos):
    module = module_of(compact_weights)
    trainer_of(tmp_path, max_steps=3, enable_checkpointing=False).fit(module, data_of(photos))
    first = tmp_path / "first.safetensors"
    (tmp_path / "compact_encoder.safetensors").rename(first)
    further = module_of(compact_weights, init_from=str(first), frozen=2)
    assert further.layers == ("relu3_1",)
    trainer_of(tmp_path, max_steps=3, enable_checkpointing=False).fit(further, data_of(photos))
    before, after = load_file(first), load_file(tmp_path / "compact_encoder.safetensors")
    assert before.keys() == after.keys()
    changed = {key.split(".")[0] for key in before if not before[key].equal(after[key])}
    assert changed == {"conv2_2", "conv3_1", "embed3_1"}
    with pytest.raises(ValueError, match=r"frozen must be less than the number of blocks, got 3"):
        module_of(compact_weights, init_from=str(first), frozen=3)


def test_the_command_trains_and_names_the_file(tmp_path, monkeypatch, capsys, compact_weights, photos):
    monkeypatch.chdir(tmp_path)
    small = ["--data.short_side", "48", "--data.batch_size", "2", "--data.workers", "0"]
    small += ["--model.student", "NarrowStudent", "--model.student.widths", "[4, 4]"]
    encoder = [
        "--model.teacher",
        "nst_lightning.encoders.CompactEncoder",
        "--model.teacher.init_args.weights",
        compact_weights,
    ]
    length = ["--trainer.max_steps", "2", "--trainer.accelerator", "cpu", "--trainer.val_check_interval", "2"]
    length += ["--trainer.check_val_every_n_epoch", "null", "--trainer.limit_val_batches", "1"]
    assert main(["distill", "--data.train", str(photos), *small, *encoder, *length]) == 0
    folder = tmp_path / "runs/version_0"
    assert CompactEncoder(str(folder / "compact_encoder.safetensors")).layers == ("relu1_1", "relu2_1")
    assert (folder / "checkpoints/last.ckpt").is_file()
    assert "val/correlation_relu2_1" in (folder / "metrics.csv").read_text()
    again = ["--config", str(folder / "config.yaml"), "--ckpt_path", str(folder / "checkpoints/last.ckpt")]
    assert main(["distill", *again, "--trainer.max_steps", "3"]) == 0
    capsys.readouterr()
    assert main(["distill", *again, "--trainer.max_steps", "3", "--model.student.widths", "[4, 6]"]) == 2
    assert "conv2_1.0.bias is (4,) there and (6,) here" in capsys.readouterr().err
    assert main(["distill", *again[:2], "--ckpt_path", str(ROOT / "checkpoints/johnson_base.ckpt")]) == 2
    assert "a checkpoint, but not of a compact encoder" in capsys.readouterr().err


LOW = {name: [6, 8] for name in CHANNELS}


def deep_module_of(vgg16_weights, photos, **options):
    torch.manual_seed(0)
    student = BottleneckStudent(LOW, init_from=options.pop("init_from", None), start_batches=3)
    made = {"paintings": str(photos), "painting_share": 0.5, "optimized_share": 0.5, "stylized_with": "johnson_base"}
    return Distillation(VGG16(vgg16_weights), student, **{"warmup_steps": 1, "learning_rate": 1e-3, **made, **options})


def test_bottlenecks_start_from_least_squares_and_are_trained_further(tmp_path, vgg16_weights, photos):
    module = deep_module_of(vgg16_weights, photos)
    trainer_of(tmp_path, max_steps=2, enable_checkpointing=False).fit(module, data_of(photos))
    path = tmp_path / "vgg16_deep_layers.safetensors"
    encoder, picture = CompressedVGG(str(path)), torch.rand(1, 3, 48, 64)
    found, trained = encoder(picture, ["relu3_1", "relu5_1"]), module.network(picture, ["relu5_1"])
    torch.testing.assert_close(found["relu5_1"], trained["relu5_1"], rtol=0.02, atol=0.02)
    torch.testing.assert_close(found["relu3_1"], VGG19("bundled")(picture, ["relu3_1"])["relu3_1"])
    further = deep_module_of(vgg16_weights, photos, init_from=str(path))
    torch.testing.assert_close(further.network(picture, ["relu5_1"])["relu5_1"], found["relu5_1"])
    assert further.measured


def test_a_deep_distillation_resumes_exactly(tmp_path, vgg16_weights, photos):
    whole = deep_module_of(vgg16_weights, photos)
    save = LastCheckpoint(every_n_steps=1, keep_all=True)
    trainer_of(tmp_path, max_steps=4, callbacks=[save]).fit(whole, data_of(photos))
    resumed, again = (
        deep_module_of(vgg16_weights, photos),
        trainer_of(tmp_path, max_steps=4, enable_checkpointing=False),
    )
    again.fit(resumed, data_of(photos), ckpt_path=tmp_path / "checkpoints/step-000002.ckpt")
    assert weights_of(whole).equal(weights_of(resumed))
    assert {name: len(value) for name, value in whole.optimized.state.items()}["picture"] == 8
    assert whole.optimized.state["picture"].equal(resumed.optimized.state["picture"])


def test_least_squares_find_a_teacher_that_has_bottlenecks_itself():
    """With all channels before the 3x3 convolution, exactly; with fewer, which are those of most energy, nearly."""
    torch.manual_seed(0)
    ranks = dict.fromkeys(CHANNELS, (6, 8)) | {"conv3_2": (256, 8), "conv3_3": (256, 8)}
    teacher, network = BottleneckVGG(ranks), BottleneckVGG(ranks)
    fit_bottlenecks(network, teacher, [torch.rand(2, 3, 128, 128) for _ in range(2)], lambda tensor: tensor, unseen=())
    picture = torch.rand(1, 3, 64, 64)
    for layer, largest in {"relu3_2": 0.01, "relu3_3": 0.01, "relu4_1": 0.5, "relu5_1": 0.5}.items():
        expected, found = (each(picture, [layer])[layer] for each in (teacher, network))
        assert (found - expected).norm() < largest * expected.norm(), layer


def test_bottlenecks_of_unseen_convolutions_keep_features(compressed_weights):
    """With all channels exactly, and without a look at the teacher's."""
    torch.manual_seed(0)
    network = BottleneckVGG(dict.fromkeys(CHANNELS, (6, 8)) | {"conv3_3": (256, 256)})
    teacher = CompressedVGG(compressed_weights)
    teacher.layers = tuple(f"conv{name}" for name in ("3_2", "4_1", "4_2", "4_3", "5_1"))  # it refuses others
    pictures = torch.rand(2, 3, 128, 128)
    fit_bottlenecks(network, teacher, [pictures], lambda tensor: tensor, unseen=["conv3_3"])
    found = network(pictures, ["relu3_2", "relu3_3"])
    assert torch.allclose(found["relu3_3"], found["relu3_2"], rtol=0, atol=1e-3 * found["relu3_2"].max().item())


def test_optimized_pictures_satisfy_the_network_better_and_are_replaced(compressed_weights, picture):
    encoder, layers = CompressedVGG(compressed_weights), [f"relu{block}_1" for block in range(1, 6)]
    photos = torch.cat([image_to_tensor(picture(32, 32, seed)) for seed in range(4)])
    optimized, generator = OptimizedPictures(PaintingCrops(None, share=0), share=0.5), torch.Generator().manual_seed(0)
    for _ in range(60):
        mixed = optimized.mix_in(photos, photos, encoder.network, generator)
        assert mixed[:2].equal(photos[:2])
    state = optimized.state
    assert len(state["age"]) == 8
    assert (state["age"] > 0).all()
    assert (state["age"] <= state["life"]).all()
    painting, of_photo, made = [
        [gram_matrix(features) for features in encoder(state[name], layers).values()]
        for name in ("painting", "photo", "picture")
    ]
    before, after = (
        sum(gram_loss(gram, target).mean() for gram, target in zip(found, painting)) for found in (of_photo, made)
    )
    assert after < 0.7 * before
    state["age"].fill_(100)
    optimized.mix_in(photos, photos, encoder.network, generator)
    assert (state["age"] == 100).sum() < 8


@pytest.mark.parametrize(
    ("ranks", "message"),
    [
        ({**LOW, "conv4_1": [6]}, r"ranks must be two numbers >= 1 for each of conv3_2, .*, got {'conv4_1': \[6\]}"),
        ({**LOW, "conv4_1": [257, 6]}, r"at most their numbers of channels, got {'conv4_1': \[257, 6\]}"),
        ({**LOW, "conv1_1": [6, 6]}, r"got {'conv1_1': \[6, 6\]}"),
        ({"conv3_2": [6, 6]}, r"got {'conv3_3': \[\]}"),
    ],
)
def test_bad_ranks(ranks, message):
    with pytest.raises(ValueError, match=message):
        BottleneckStudent(ranks)


def test_bottlenecks_need_all_convolutions_of_the_teacher(compact_weights):
    with pytest.raises(ValueError, match=r"CompactEncoder .* has no layer relu3_2; it offers"):
        Distillation(CompactEncoder(compact_weights), BottleneckStudent(LOW))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widths": []}, r"widths must be one to five numbers >= 1, got \[\]"),
        ({"widths": [4] * 6}, "one to five"),
        ({"frozen": 3}, r"frozen must be 0 without init_from, got 3"),
        ({"init_from": "bundled"}, "has features of .* channels; the teacher has"),
        ({"seed": -1}, "seed must be >= 0, got -1"),
        ({"init_from": "nowhere.safetensors"}, "nowhere.safetensors"),
        ({"painting_share": 1.5}, r"painting_share must be from 0 to 1, got 1\.5"),
        ({"stylized_share": -1}, r"stylized_share must be from 0 to 1, got -1"),
        ({"stylized_with": "nowhere"}, r"stylized_with: nowhere: no such checkpoint; the package comes with .*styles"),
        ({"layer_weights": {"relu9_1": 1}}, r"layer_weights must be numbers > 0 for some of relu1_1"),
        ({"layer_weights": {"relu1_1": 0}}, r"layer_weights must be numbers > 0"),
        ({"gram_weight": -1}, "gram_weight must be >= 0, got -1"),
        ({"learning_rate": 0}, "learning_rate must be > 0, got 0"),
        ({"paintings": "nowhere"}, "nowhere: no such folder"),
    ],
)
def test_bad_options(compact_weights, options, message):
    with pytest.raises(ValueError, match=message):
        module_of(compact_weights, **options)


def test_a_teacher_that_ends_early(compact_weights, tmp_path):
    save_half(NarrowVGG([4, 4], [6, 6]).state_dict(), tmp_path / "early.safetensors", {})
    with pytest.raises(ValueError, match=r"early\.safetensors\) has no layer relu3_1"):
        Distillation(CompactEncoder(str(tmp_path / "early.safetensors")), NarrowStudent(WIDTHS))


def test_correlation_is_numpys():
    import numpy as np

    features, targets = torch.rand(2, 3, 5, 7), torch.rand(2, 3, 5, 7)
    features[0, 1] = 0.5
    targets[1, 2] = 0.25
    found = channel_correlation(features, targets)
    for n in range(2):
        for c in range(3):
            if (n, c) not in ((0, 1), (1, 2)):
                expected = np.corrcoef(features[n, c].flatten(), targets[n, c].flatten())[0, 1]
                assert found[n, c] == pytest.approx(expected, abs=1e-6)
    assert found[0, 1] == 0
    assert found[1, 2].isnan()
    metric = ChannelCorrelation()
    metric.update(features, targets)
    assert metric.compute() == pytest.approx(np.mean([np.nanmedian(found[0]), np.nanmin(found[1])]), abs=1e-6)


@pytest.mark.parametrize("change", [change_colors, flatten_tones, add_noise, vary])
def test_variations_are_pictures_and_repeatable(change):
    pictures = torch.rand(16, 3, 40, 40)
    one, two, other = (change(pictures, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert one.shape == pictures.shape
    assert one.min() >= 0
    assert one.max() <= 1
    assert one.equal(two)
    assert not one.equal(other)
    assert not one.equal(pictures)


def test_textures_differ_in_grain():
    textures = random_textures(torch.Size((32, 3, 64, 64)), torch.Generator().manual_seed(0))
    assert textures.min() >= 0
    assert textures.max() <= 1
    grain = (textures[..., 1:] - textures[..., :-1]).abs().mean((1, 2, 3))
    assert grain.max() > 5 * grain.min()


def test_flat_areas_have_few_tones():
    flat = flatten_tones(torch.rand(6, 3, 32, 32), torch.Generator().manual_seed(0))
    assert all(len(channel.unique()) <= 7 for picture in flat for channel in picture)
