import functools
import os
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import yaml
from filelock import FileLock
from PIL import Image
from safetensors.torch import save_file

from nst_lightning import cli
from nst_lightning.encoders import CompactEncoder
from nst_lightning.encoders.compressed import CHANNELS, BottleneckVGG
from nst_lightning.encoders.weights import VGG16_BLOCKS, VGG19_BLOCKS, VGG_CHANNELS
from nst_lightning.export import export_onnx
from nst_lightning.networks import JohnsonNet, MultiStyleNet

torch.set_num_threads(1)  # the tensors here are tiny


@pytest.fixture(autouse=True)
def own_imports(monkeypatch):
    """Let each test import the networks of its own folder, and no others of the same name."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    sys.modules.pop("my_networks", None)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the real weights and photographs; where CI requires it, missing is failing."""
    folder = Path(os.environ.get("NST_SHARED", "../shared"))
    if not (folder / "weights").is_dir():
        if os.environ.get("NST_REQUIRE_WEIGHTS"):
            pytest.fail(f"{folder.absolute()} has no weights")
        pytest.skip("needs the real weights: set NST_SHARED")
    return folder


def draw(width: int, height: int, seed: int = 0) -> Image.Image:
    """A picture with smooth areas, edges and noise, different for every seed."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(width, height)
    waves = [np.sin(8 * (a * x + b * y) + c) for a, b, c in random.normal(size=(3, 3))]
    pixels = np.stack(waves, -1) * 90 + 128
    left, top = random.integers(0, width // 2), random.integers(0, height // 2)
    pixels[top : top + height // 3, left : left + width // 3] = random.integers(0, 256, 3)
    return Image.fromarray((pixels + random.normal(0, 6, pixels.shape)).clip(0, 255).astype(np.uint8))


@pytest.fixture
def no_heif(monkeypatch):
    """As if pillow-heif were not installed."""
    Image.init()
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setattr(Image, "OPEN", {kind: opened for kind, opened in Image.OPEN.items() if kind != "HEIF"})
    monkeypatch.setattr(Image, "ID", [kind for kind in Image.ID if kind != "HEIF"])


@pytest.fixture
def options_of(monkeypatch):
    """The options that a command line calls its function with. Nothing is done."""
    load_function, calls = cli.load_function, []

    def stubbed(target):
        @functools.wraps(load_function(target))
        def stub(**options):
            calls.append(options)

        return stub

    def options_of(arguments):
        with monkeypatch.context() as patched:
            patched.setattr(cli, "load_function", stubbed)
            assert cli.main(arguments) == 0
        return calls.pop()

    return options_of


@pytest.fixture
def picture():
    return draw


@pytest.fixture(scope="session")
def compact_weights(tmp_path_factory) -> str:
    """A file in the compact encoder's format: very narrow, random weights."""
    generator = torch.Generator().manual_seed(0)
    narrow, wide = (4, 4, 6, 6, 6), (6, 6, 8, 8, 8)
    tensors, channels = {}, 3
    for block, (count, width) in enumerate(zip(VGG19_BLOCKS, narrow), 1):
        for i in range(1, (count if block < 5 else 1) + 1):
            tensors[f"conv{block}_{i}.weight"] = (
                torch.randn(width, channels, 3, 3, generator=generator) * (2 / (9 * channels)) ** 0.5
            )
            tensors[f"conv{block}_{i}.bias"] = 0.1 * torch.rand(width, generator=generator)
            channels = width
        tensors[f"embed{block}_1.weight"] = torch.randn(wide[block - 1], width, 1, 1, generator=generator)
        tensors[f"embed{block}_1.bias"] = 0.1 * torch.rand(wide[block - 1], generator=generator)
    path = tmp_path_factory.mktemp("weights") / "compact.safetensors"
    save_file(tensors, path)
    return str(path)


@pytest.fixture(scope="session")
def compressed_weights(tmp_path_factory) -> str:
    """A file in the format of `CompressedVGG`: very low ranks, random weights."""
    torch.manual_seed(0)
    network = BottleneckVGG({name: (3, 4) for name in CHANNELS})
    for name, parameter in network.deep.named_parameters():
        torch.nn.init.normal_(parameter, std=0.1 if name.endswith("bias") else (2 / parameter[0].numel()) ** 0.5)
    path = tmp_path_factory.mktemp("weights") / "compressed.safetensors"
    save_file({name: parameter.detach().contiguous() for name, parameter in network.deep.named_parameters()}, path)
    return str(path)


@pytest.fixture(scope="session")
def vgg16_weights(tmp_path_factory) -> str:
    """A file of VGG-16 to relu5_1, with random weights."""
    generator, channels, state, index = torch.Generator().manual_seed(0), 3, {}, 0
    for block, (count, width) in enumerate(zip(VGG16_BLOCKS, VGG_CHANNELS), 1):
        for i in range(1, (count if block < 5 else 1) + 1):
            scale = (2 / (9 * channels)) ** 0.5
            state[f"features.{index}.weight"] = scale * torch.randn(width, channels, 3, 3, generator=generator)
            state[f"features.{index}.bias"] = 0.1 * torch.rand(width, generator=generator)
            channels, index = width, index + (2 if i < count else 3)
    path = tmp_path_factory.mktemp("vgg16") / "vgg16.safetensors"
    save_file(state, path)
    return str(path)


@pytest.fixture
def encoder(compact_weights) -> CompactEncoder:
    """The compact encoder with those weights."""
    return CompactEncoder(compact_weights)


@pytest.fixture
def tiny_yardstick(monkeypatch, compact_weights) -> CompactEncoder:
    """The encoder that validation measures with, which is a small one here; not the one of the losses."""
    encoder = CompactEncoder(compact_weights, pooling="l2")
    monkeypatch.setattr("nst_lightning.training.figures.build_yardstick", lambda: encoder)
    return encoder


@pytest.fixture(scope="session")
def network() -> JohnsonNet:
    """A small network of one style."""
    torch.manual_seed(0)
    return JohnsonNet(4, 1, 3).eval()


@pytest.fixture(scope="session")
def model(network, tmp_path_factory) -> str:
    """The same as ONNX file."""
    return exported(network, tmp_path_factory, "style.onnx", {"style": "test"})


def exported(network, tmp_path_factory, name: str, metadata: dict[str, str]) -> str:
    """A network's ONNX file, which takes seconds to write: the processes that run tests share it."""
    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    path = folder / "models" / name
    path.parent.mkdir(exist_ok=True)
    with FileLock(f"{path}.lock"):
        if not path.exists():
            export_onnx(network, path, metadata=metadata)
    return str(path)


@pytest.fixture(scope="session")
def many() -> MultiStyleNet:
    """A small network of several styles, whose parameters all differ."""
    torch.manual_seed(0)
    network = MultiStyleNet(["ink", "glass", "wood"], [4, 6, 8], 5, [1, 3]).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return network


@pytest.fixture(scope="session")
def many_model(many, tmp_path_factory) -> str:
    """The same as ONNX file."""
    return exported(many, tmp_path_factory, "styles.onnx", {})


def with_metadata(model: str, path: Path, metadata: dict[str, str]) -> str:
    """A copy of an ONNX file whose metadata say something else."""
    content = onnx.load(model)
    known = {entry.key: entry.value for entry in content.metadata_props}
    onnx.helper.set_model_props(content, known | metadata)
    onnx.save(content, path)
    return str(path)


@pytest.fixture(scope="session")
def photos(tmp_path_factory) -> Path:
    """A folder of eight photos, some in a sub-folder."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "more").mkdir()
    for i in range(8):
        draw(150 + 7 * i, 140, seed=i).save(folder / ("more" if i % 2 else ".") / f"photo{i}.jpg", quality=92)
    return folder


@pytest.fixture(scope="session")
def painting(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("painting") / "painting.png"
    draw(180, 150, seed=99).save(path)
    return str(path)


@pytest.fixture
def config(tmp_path, monkeypatch, compact_weights, painting, photos, tiny_yardstick) -> str:
    """A tiny run as YAML file; metrics need all layers at a quarter of the size, hence 128 pixels."""
    monkeypatch.setattr(sys, "argv", ["nst-lightning"])  # which processes that Lightning starts would repeat
    content = {
        "trainer": {
            "max_steps": 4,
            "accelerator": "cpu",
            "default_root_dir": str(tmp_path / "runs"),
            "val_check_interval": 2,
            "check_val_every_n_epoch": None,
            "log_every_n_steps": 1,
        },
        "data": {"train": str(photos), "val": str(photos), "short_side": 128, "batch_size": 1, "workers": 0},
        "model": {
            "style": painting,
            "network": {
                "class_path": "nst_lightning.networks.JohnsonNet",
                "init_args": {"width": 4, "blocks": 1, "kernel_size": 3},
            },
            "encoder": {
                "class_path": "nst_lightning.encoders.CompactEncoder",
                "init_args": {"weights": compact_weights},
            },
        },
        "checkpoint": {"every_n_steps": 2, "keep_all": True},
        "sheet": {"every_n_steps": 2, "count": 2, "short_side": 64},
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(content))
    return str(path)
