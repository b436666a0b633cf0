"""Networks of one's own: the trial before training, and their checkpoints."""

import sys

import onnxruntime
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from training_runs import data_of, module_of, trainer_of

from nst_lightning.cli import main
from nst_lightning.distillation import Distillation, NarrowStudent
from nst_lightning.encoders import CompactEncoder
from nst_lightning.errors import UserError
from nst_lightning.networks import JohnsonNet, load_network, network_record
from nst_lightning.training import ExportOnnx, LastCheckpoint, StyleTransfer
from nst_lightning.training.trial import try_export

SOURCE = '''
import torch
from torch import nn
from torch.nn import functional as F


class MyUNet(nn.Module):
    """Its size must be a multiple of 8; it pads, and cuts the padding off."""

    def __init__(self, width: int = 4, gain: float = 1.0):
        super().__init__()
        self.gain = gain
        self.down, self.up = nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, photos):
        height, width = photos.shape[-2:]
        x = F.pad(photos, (0, -width % 8, 0, -height % 8), mode="reflect")
        x = F.interpolate(F.avg_pool2d(F.relu(self.down(x)), 8), scale_factor=8.0)
        return (self.gain * self.up(x)).sigmoid()[..., :height, :width]


class Other(MyUNet):
    pass


class Outer(nn.Module):
    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner, self.last = inner, nn.Conv2d(3, 3, 1)

    def forward(self, photos):
        return self.last(self.inner(photos)).sigmoid()
'''


class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, photos):
        return self.conv(photos).sigmoid()


class Uncut(Base):
    def forward(self, photos):
        height, width = photos.shape[-2:]
        return super().forward(F.pad(photos, (0, -width % 8, 0, -height % 8)))


class Unpadded(Base):
    def forward(self, photos):
        return F.interpolate(F.avg_pool2d(super().forward(photos), 8), scale_factor=8.0) * photos


class Tanh(Base):
    def forward(self, photos):
        return 2 * super().forward(photos) - 1


class Double(Base):
    def forward(self, photos):
        return super().forward(photos).double()


class Pair(Base):
    def forward(self, photos):
        return super().forward(photos), photos


class Gray(Base):
    def forward(self, photos):
        return super().forward(photos).mean(1, keepdim=True)


class Undefined(Base):
    def forward(self, photos):
        return super().forward(photos) / 0 * 0


class Detached(Base):
    def forward(self, photos):
        return super().forward(photos).detach()


class Dropping(Base):
    """Uses random numbers and has running averages."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, photos):
        return F.dropout(self.norm(self.conv(photos)), training=self.training).sigmoid()


class Data(Base):
    """Can't be exported, as it looks at its values."""

    def forward(self, photos):
        return super().forward(photos if photos.mean().item() > 0 else 1 - photos)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Uncut, r"Uncut returns 88x64 for a photo of 85x64 \(validation\); .*pad inside it, and cut"),
        (Unpadded, r"Unpadded can't paint a photo of 85x64 \(validation\): The size of tensor a \(80\).*pad inside"),
        (
            Tanh,
            r"Tanh returns values from -.* to .* for a photo of 64x64 \(training\); pictures have values from 0 to 1",
        ),
        (Double, r"Double returns torch.float64 for a photo of 64x64 .*; it must return torch.float32"),
        (Pair, r"Pair returns a tuple for a photo of 64x64 .*; it must return one tensor"),
        (Gray, r"Gray returns a tensor of shape \(1, 1, 64, 64\) .*; it must return \(1, 3, 64, 64\)"),
        (Undefined, "Undefined returns values that are not finite"),
        (Detached, "Detached returns pictures that no gradient reaches its parameters from"),
    ],
)
def test_a_network_that_does_not_paint_any_size_is_named_before_training(
    tmp_path, compact_weights, painting, photos, network, message
):
    trainer = trainer_of(tmp_path, max_steps=2, limit_val_batches=1, callbacks=[LastCheckpoint()])
    with pytest.raises(UserError, match=f"^network: {message}"):
        trainer.fit(module_of(compact_weights, painting, network()), data_of(photos))
    assert not list(tmp_path.iterdir())
    assert trainer.global_step == 0


def test_without_validation_and_export_only_the_crops_matter(tmp_path, compact_weights, painting, photos):
    module = module_of(compact_weights, painting, Uncut())
    trainer_of(tmp_path, max_steps=1, enable_checkpointing=False).fit(module, data_of(photos))
    with pytest.raises(UserError, match=r"Uncut returns 80x80 for a photo of 76x76 \(training\)"):
        trainer_of(tmp_path, max_steps=1, enable_checkpointing=False).fit(
            module_of(compact_weights, painting, Uncut()), data_of(photos, surroundings=12)
        )


def test_the_trial_changes_neither_the_network_nor_the_random_numbers(compact_weights, painting):
    network, exported = Dropping(), JohnsonNet(2, 0, 1)
    module = module_of(compact_weights, painting, network)
    state, random = {key: value.clone() for key, value in network.state_dict().items()}, torch.get_rng_state()
    module.try_network(trains=True)
    try_export(exported)
    assert torch.get_rng_state().equal(random)
    assert all(state[key].equal(value) for key, value in network.state_dict().items())
    assert network.training


def test_a_network_that_cannot_be_exported_is_named_before_training(tmp_path, compact_weights, painting, photos, capfd):
    def fit(filename):
        trainer = trainer_of(tmp_path, max_steps=1, callbacks=[ExportOnnx(filename)], enable_checkpointing=False)
        trainer.fit(module_of(compact_weights, painting, Data()), data_of(photos))
        return trainer

    capfd.readouterr()
    with pytest.raises(UserError, match=r"^network: Data can't be exported: .*data-dependent.*; without an ONNX file"):
        fit("a.onnx")
    assert "def forward" not in capfd.readouterr().err
    assert not list(tmp_path.iterdir())
    assert fit("").global_step == 1


def test_arguments_that_no_checkpoint_can_hold_are_said_before_the_first_step(tmp_path, config, monkeypatch, capsys):
    (tmp_path / "my_networks.py").write_text(SOURCE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    mine = ["--model.network", "my_networks.Outer", "--model.network.inner", "torch.nn.Identity"]
    assert main(["fit", "--config", config, *mine, "--trainer.max_steps", "1", "--export.filename", ""]) == 0
    message = "nst-lightning: model.network: an argument of Outer is no plain value, so that `export` can't rebuild"
    assert message in capsys.readouterr().err


def test_a_network_of_ones_own_is_trained_exported_and_exported_later(
    tmp_path, config, monkeypatch, capsys, compact_weights, painting
):
    (tmp_path / "my_networks.py").write_text(SOURCE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", str(tmp_path))])
    mine = ["--model.network", "my_networks.MyUNet", "--model.network.init_args.width", "5"]
    mine += ["--model.network.init_args.gain", "2"]
    assert main(["fit", "--config", config, *mine]) == 0
    last = tmp_path / "runs/version_0/checkpoints/last.ckpt"
    record = torch.load(last, weights_only=True)["transfer_network"]
    assert record["class_path"] == "my_networks.MyUNet"
    assert record["init_args"] == {"width": 5, "gain": 2.0}
    cls = sys.modules.pop("my_networks").MyUNet

    output = str(tmp_path / "later.onnx")
    for names, message in (
        ([], f"network must be my_networks.MyUNet, the class of the network in {last}, which is not one of this"),
        (["my_networks.Other"], f"the class of the network in {last}, got my_networks.Other"),
        (["my_networks.Nothing"], "network: my_networks.Nothing can't be imported (AttributeError: "),
        (
            ["nowhere.MyUNet"],
            "network: nowhere.MyUNet can't be imported (ModuleNotFoundError: No module named 'nowhere'",
        ),
        (["json.dumps"], "network must be a class, a torch.nn.Module such as my_module.UNet, got json.dumps"),
    ):
        option = ["--network", *names] if names else []
        assert main(["export", str(last), "--output", output, *option]) == 2
        assert message in capsys.readouterr().err
        assert ("my_networks" in sys.modules) == any("my_" in name for name in names)
        sys.modules.pop("my_networks", None)
    assert main(["export", str(last), "--output", output, "--network", "my_networks.MyUNet"]) == 0
    photo = torch.rand(1, 3, 45, 67).numpy()
    made = [
        onnxruntime.InferenceSession(path).run(None, {"photo": photo})[0]
        for path in (output, tmp_path / "runs/version_0/style.onnx")
    ]
    assert (made[0] == made[1]).all()

    for call in (["stylize", painting], ["styles"]):
        assert main([*call, "--model", str(last)]) == 2
        assert f"model: {last} is a checkpoint; the command `export` makes an ONNX file" in capsys.readouterr().err

    network, metadata = load_network(last, network=cls)
    assert metadata["steps"] == "4"
    assert load_network(last, network=cls(5, 2.0))[0].state_dict().keys() == network.state_dict().keys()
    with pytest.raises(UserError, match=r"network must be my_networks\.MyUNet, .* got nst_lightning\.networks"):
        load_network(last, network=JohnsonNet)
    started = module_of(compact_weights, painting, cls(5), init_from=str(last)).network.state_dict()
    assert all(value.equal(started[key]) for key, value in network.state_dict().items())
    with pytest.raises(UserError, match=r"init_from: network must be my_networks\.MyUNet"):
        module_of(compact_weights, painting, init_from=str(last))
    for command in ("validate", "test"):
        assert main([command, "--config", config, *mine, "--ckpt_path", "last"]) == 0
    capsys.readouterr()
    other = [*mine, "--model.network.init_args.gain", "3"]
    assert main(["validate", "--config", config, *other, "--ckpt_path", "last"]) == 2
    assert "a different network: gain is 2.0 there and 3.0 here" in capsys.readouterr().err


def test_a_network_that_fails_the_trial_leaves_no_run(tmp_path, config, monkeypatch, capsys):
    (tmp_path / "uncut.py").write_text(SOURCE.replace("[..., :height, :width]", ""), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["fit", "--config", config, "--model.network", "uncut.MyUNet"]) == 2
    message = "nst-lightning: fit: model.network: MyUNet returns 176x128 for a photo of 171x128 (validation)"
    assert capsys.readouterr().err.splitlines()[-1].startswith(message)
    assert not (tmp_path / "runs").exists()


class Keeps(Base):
    def __init__(self, value):
        super().__init__()
        self.init_args = {"value": value}


class Silent(Base):
    def __init__(self, value=1):
        super().__init__()


@pytest.mark.parametrize(
    ("network", "init_args"),
    [
        (Base(), {}),
        (Silent(), None),
        (Keeps([1, {"a": (2.5, None, "b", True)}]), {"value": [1, {"a": (2.5, None, "b", True)}]}),
        (Keeps(nn.ReLU), None),
        (Keeps({1: 2}), None),
        (JohnsonNet(2, 0, 1), JohnsonNet(2, 0, 1).init_args),
    ],
)
def test_a_record_has_the_arguments_if_they_are_known_and_plain(tmp_path, network, init_args):
    record = network_record(network, {})
    assert record["init_args"] == init_args
    state = {f"network.{key}": value for key, value in network.state_dict().items()}
    torch.save({"transfer_network": record, "state_dict": state}, tmp_path / "a.ckpt")
    given = None if isinstance(network, JohnsonNet) else type(network)
    if init_args is None:
        with pytest.raises(
            UserError, match=r"network: .*a\.ckpt doesn't know its constructor's arguments, .*build the"
        ):
            load_network(tmp_path / "a.ckpt", given)
        given = network
    assert type(load_network(tmp_path / "a.ckpt", given)[0]) is type(network)


def test_a_network_of_the_same_name_is_not_taken_for_one_of_this_package(tmp_path):
    own = type("JohnsonNet", (Base,), {"__module__": "elsewhere"})()
    torch.save({"transfer_network": network_record(own, {}), "state_dict": {}}, tmp_path / "a.ckpt")
    with pytest.raises(UserError, match=r"network must be elsewhere\.JohnsonNet, the class of the network"):
        load_network(tmp_path / "a.ckpt")


def test_checkpoints_without_a_class_path_are_still_read(tmp_path):
    network = JohnsonNet(2, 0, 1)
    record = network_record(network, {})
    del record["class_path"]
    state = {f"network.{key}": value for key, value in network.state_dict().items()}
    torch.save({"transfer_network": record, "state_dict": state}, tmp_path / "a.ckpt")
    assert isinstance(load_network(tmp_path / "a.ckpt")[0], JohnsonNet)


def test_loading_a_module_in_python_says_what_is_missing(tmp_path, compact_weights, painting, photos):
    module = module_of(compact_weights, painting)
    trainer_of(tmp_path, max_steps=1, callbacks=[LastCheckpoint()]).fit(module, data_of(photos))
    path = tmp_path / "checkpoints/last.ckpt"
    with pytest.raises(UserError, match=r"StyleTransfer\.load_from_checkpoint needs network, loss, .*load_network"):
        StyleTransfer.load_from_checkpoint(path)
    parts = {name: getattr(module_of(compact_weights, painting), name) for name in ("loss", "sampler", "record")}
    loaded = StyleTransfer.load_from_checkpoint(path, network=JohnsonNet(4, 1, 3), paintings=module.paintings, **parts)
    state = module.network.state_dict()
    assert all(state[key].equal(value) for key, value in loaded.network.state_dict().items())
    teacher, small = CompactEncoder(compact_weights), {"student": NarrowStudent([4]), "warmup_steps": 1}
    distilled = Distillation(teacher, **small)
    trainer_of(tmp_path, max_steps=1, callbacks=[LastCheckpoint()]).fit(distilled, data_of(photos))
    with pytest.raises(UserError, match=r"Distillation\.load_from_checkpoint needs teacher, .*CompactEncoder"):
        Distillation.load_from_checkpoint(path)
    again = Distillation.load_from_checkpoint(path, teacher=teacher, **small)
    assert again.network["conv1_1"][0].weight.equal(distilled.network["conv1_1"][0].weight)


@pytest.mark.parametrize(
    ("batch", "found"),
    [
        (torch.rand(2, 3, 64, 64).double(), r"torch\.float64 of shape"),
        ((255 * torch.rand(2, 3, 64, 64)).byte(), r"torch\.uint8 of shape"),
        (255 * torch.rand(2, 3, 64, 64), "values from .* to 25"),
        (torch.rand(2, 1, 64, 64), r"of shape \(2, 1, 64, 64\)"),
        (torch.full((2, 3, 64, 64), torch.nan), "values from nan to nan"),
        ([torch.rand(2, 3, 64, 64), torch.zeros(2)], "a list"),
    ],
)
def test_batches_that_are_not_photos_are_described(tmp_path, compact_weights, painting, batch, found):
    theirs = torch.utils.data.DataLoader([batch], batch_size=None)
    trainer = trainer_of(tmp_path, max_steps=1, enable_checkpointing=False)
    for module in (
        module_of(compact_weights, painting),
        Distillation(CompactEncoder(compact_weights), NarrowStudent([4])),
    ):
        with pytest.raises(UserError, match=f"batches must be float32 tensors of shape .*, got .*{found}"):
            trainer.fit(module, theirs)


class Ceiling(CompactEncoder):
    """A teacher that rounds sizes up."""

    def forward(self, pictures, layers):
        return super().forward(F.pad(pictures, (0, pictures.shape[3] % 2, 0, 0)), layers)


def test_a_teacher_of_ones_own_is_tried_before_training(tmp_path, compact_weights, photos):
    module = Distillation(Ceiling(compact_weights), NarrowStudent([4, 4]))
    with pytest.raises(UserError, match=r"^teacher: Ceiling must return finite float32 .* at relu1_1 for a picture of"):
        trainer_of(tmp_path, max_steps=1, callbacks=[LastCheckpoint()]).fit(module, data_of(photos))
    assert not list(tmp_path.iterdir())
