from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.nn import functional as F
from torchvision.models import vgg

from nst_lightning.encoders import VGG16, VGG19, CompactEncoder, CompressedVGG, EncoderChain, build_encoder
from nst_lightning.encoders import compact as compact_module
from nst_lightning.encoders import compressed as compressed_module
from nst_lightning.encoders import vgg as vgg_module
from nst_lightning.encoders import weights as weights_module
from nst_lightning.encoders.base import ALL_LAYERS, L2_GAIN, pool
from nst_lightning.encoders.compact import BUNDLED_FILE
from nst_lightning.images import image_to_array, read_rgb, resize_short_side
from nst_lightning.metrics import ChannelCorrelation

MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


@pytest.fixture(scope="module")
def features():
    """Torchvision's own VGG-19, random weights: the independent reference."""
    torch.manual_seed(0)
    return vgg.make_layers(vgg.cfgs["E"]).eval()


@pytest.fixture(scope="module")
def whole_file(features, tmp_path_factory):
    path = tmp_path_factory.mktemp("vgg") / "vgg19.pth"
    torch.save({f"features.{key}": value for key, value in features.state_dict().items()}, path)
    return str(path)


@pytest.fixture(scope="module")
def early_file(features, tmp_path_factory):
    """Ends at relu2_1, with a normalization of its own."""
    path = tmp_path_factory.mktemp("vgg") / "early.safetensors"
    state = {f"features.{key}": value for key, value in features.state_dict().items() if int(key.split(".")[0]) <= 5}
    save_file(state, path, metadata={"mean": "0.5,0.4,0.3", "std": "0.2,0.2,0.2"})
    return str(path)


def test_layer_names():
    assert len(ALL_LAYERS) == 32
    assert ALL_LAYERS[:3] == ("conv1_1", "relu1_1", "conv1_2")
    assert ALL_LAYERS[-1] == "relu5_4"


def test_a_chain_takes_deeper_layers_from_the_next_encoder(whole_file, compact_weights):
    first, second, x = VGG19(whole_file, deepest="relu1_1"), CompactEncoder(compact_weights), torch.rand(1, 3, 32, 32)
    assert first.layers == ("conv1_1", "relu1_1")
    found = EncoderChain([first, second])(x, ["relu1_1", "relu2_1"])
    torch.testing.assert_close(found["relu1_1"], VGG19(whole_file)(x, ["relu1_1"])["relu1_1"])
    torch.testing.assert_close(found["relu2_1"], second(x, ["relu2_1"])["relu2_1"])
    with pytest.raises(
        ValueError, match=r"VGG19 \(vgg19.pth\) to relu1_1 has no layer relu2_1; it goes as far as relu1_1"
    ):
        first(x, ["relu2_1"])
    with pytest.raises(ValueError, match="unknown layer 'relu6_1'"):
        VGG19(whole_file, deepest="relu6_1")


def test_every_layer_is_torchvisions(features, whole_file):
    check_layers(VGG19(whole_file), features)


@pytest.fixture(scope="module")
def features16():
    """Torchvision's own VGG-16, random weights."""
    torch.manual_seed(1)
    return vgg.make_layers(vgg.cfgs["D"]).eval()


@pytest.fixture(scope="module")
def file16(features16, tmp_path_factory):
    path = tmp_path_factory.mktemp("vgg") / "vgg16.safetensors"
    save_file({f"features.{key}": value for key, value in features16.state_dict().items()}, path)
    return str(path)


def test_every_layer_of_vgg16_is_torchvisions(features16, file16, monkeypatch):
    encoder = VGG16(file16)
    assert len(encoder.layers) == 26
    check_layers(encoder, features16)
    monkeypatch.setenv("NST_VGG16_WEIGHTS", file16)
    assert VGG16(deepest="relu3_3").layers == encoder.layers[:14]
    with pytest.raises(ValueError, match=r"VGG16 \(vgg16\.safetensors\) has no layer relu3_4; it offers conv1_1, "):
        encoder.require(["relu3_4"])


def test_vgg16_has_no_caffe_preset_and_its_file_may_end_early(tmp_path, features16):
    with pytest.raises(ValueError, match="VGG-16 weights: 'caffe' are weights of VGG19; give imagenet or a file"):
        VGG16("caffe")
    state = {f"features.{key}": value for key, value in features16.state_dict().items() if int(key.split(".")[0]) <= 14}
    save_file(state, tmp_path / "early.safetensors")
    assert VGG16(str(tmp_path / "early.safetensors")).layers[-1] == "relu3_3"


def check_layers(encoder, features):
    """A 3x3 convolution and a ReLU each; the picture's size is odd."""
    x = torch.rand(2, 3, 37, 48)
    found = encoder(x, encoder.layers)
    expected, y = [], (x - MEAN) / STD
    for layer in features:
        y = layer(y.clone())  # torchvision's ReLUs work in place
        if not isinstance(layer, torch.nn.MaxPool2d):
            expected.append(y.clone())
    assert list(found) == list(encoder.layers)
    for name, reference in zip(encoder.layers, expected, strict=True):
        torch.testing.assert_close(found[name], reference, rtol=1e-4, atol=1e-5, msg=name)


def test_padding_and_pooling_of_the_first_block(features, whole_file):
    x = torch.rand(1, 3, 16, 16)
    normalized = (x - MEAN) / STD
    padded = F.conv2d(F.pad(normalized, (1, 1, 1, 1), mode="replicate"), features[0].weight, features[0].bias)
    torch.testing.assert_close(VGG19(whole_file, padding="replicate")(x, ["conv1_1"])["conv1_1"], padded)
    before = features[:4](normalized.clone())
    for pooling, pooled in (
        ("average", before.unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5))),
        ("l2", L2_GAIN * before.unfold(2, 2, 2).unfold(3, 2, 2).square().mean((4, 5)).sqrt()),
    ):
        expected = features[5](pooled)
        torch.testing.assert_close(
            VGG19(whole_file, pooling=pooling)(x, ["conv2_1"])["conv2_1"], expected, rtol=1e-3, atol=1e-3
        )


def test_l2_pooling_has_a_gradient_where_features_are_zero(whole_file):
    x = torch.zeros(1, 3, 16, 16, requires_grad=True)
    VGG19(whole_file, pooling="l2")(x, ["relu3_1"])["relu3_1"].sum().backward()
    assert x.grad.isfinite().all()


def test_runs_no_deeper_than_needed(whole_file):
    encoder = VGG19(whole_file)
    encoder.convolutions["conv2_1"].register_forward_hook(lambda *_: pytest.fail("ran too deep"))
    encoder(torch.rand(1, 3, 32, 32), ["relu1_1", "conv1_2"])


def test_early_file_and_its_normalization(features, early_file):
    encoder = VGG19(early_file)
    assert encoder.layers[-1] == "relu2_1"
    x = torch.rand(1, 3, 16, 16)
    expected = features[:2]((x - torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)) / 0.2)
    torch.testing.assert_close(encoder(x, ["relu1_1"])["relu1_1"], expected)
    with pytest.raises(ValueError, match=r"early\.safetensors\) has no layer relu4_1; it goes as far as relu2_1"):
        encoder(x, ["relu4_1"])


def test_unknown_layer_lists_the_valid_ones(early_file):
    with pytest.raises(ValueError, match=r"unknown layer 'relu6_1'; allowed: conv1_1, relu1_1.*relu5_4"):
        VGG19(early_file).require(["relu6_1"])


def test_too_small_a_picture_says_the_numbers(whole_file, compact_weights):
    with pytest.raises(ValueError, match="20x10 is too small for relu5_1: at least 16x16"):
        VGG19(whole_file)(torch.rand(1, 3, 10, 20), ["relu5_1"])
    compact = CompactEncoder(compact_weights)
    with pytest.raises(ValueError, match="at least 32x32"):
        compact(torch.rand(1, 3, 31, 40), ["relu5_1"])
    assert compact(torch.rand(1, 3, 32, 40), ["relu5_1"])["relu5_1"].shape == (1, 8, 2, 2)


def test_encoders_are_frozen(compact_weights):
    encoder = CompactEncoder(compact_weights).train()
    assert not encoder.training
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_compact_encoder_is_its_formula(compact_weights):
    tensors = load_file(compact_weights)
    x = torch.rand(1, 3, 40, 48)

    def convolve(y, name):
        padded = F.pad(y, (1, 1, 1, 1), mode="reflect")
        return F.relu(F.conv2d(padded, tensors[f"{name}.weight"], tensors[f"{name}.bias"]))

    def embed(y, name):
        return F.relu(F.conv2d(y, tensors[f"{name}.weight"], tensors[f"{name}.bias"]))

    one = convolve(x, "conv1_1")
    two = convolve(F.max_pool2d(convolve(one, "conv1_2"), 2), "conv2_1")
    found = CompactEncoder(compact_weights)(x, ["relu1_1", "relu2_1"])
    torch.testing.assert_close(found["relu1_1"], embed(one, "embed1_1"))
    torch.testing.assert_close(found["relu2_1"], embed(two, "embed2_1"))


def test_compressed_vgg_continues_vgg19_with_bottlenecks(compressed_weights):
    tensors, x = load_file(compressed_weights), torch.rand(2, 3, 37, 48)
    exact = VGG19("bundled")(x, [*ALL_LAYERS[:10]])

    def convolve(y, name):
        reduced = F.conv2d(y, tensors[f"{name}.reduce.weight"])
        narrow = F.conv2d(F.pad(reduced, (1, 1, 1, 1)), tensors[f"{name}.conv.weight"])
        return F.relu(F.conv2d(narrow, tensors[f"{name}.expand.weight"], tensors[f"{name}.expand.bias"]))

    three = convolve(convolve(exact["relu3_1"], "conv3_2"), "conv3_3")
    four = convolve(F.max_pool2d(three, 2), "conv4_1")
    five = convolve(F.max_pool2d(convolve(convolve(four, "conv4_2"), "conv4_3"), 2), "conv5_1")
    encoder = CompressedVGG(compressed_weights)
    assert encoder.layers == (*ALL_LAYERS[:10], "relu4_1", "relu5_1")
    assert encoder.description == "CompressedVGG (compressed.safetensors)"
    found = encoder(x, encoder.layers)
    for layer, expected in (exact | {"relu4_1": four, "relu5_1": five}).items():
        torch.testing.assert_close(found[layer], expected, rtol=1e-4, atol=1e-5, msg=layer)
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    assert encoder.minimum_size("relu5_1") == 16
    with pytest.raises(ValueError, match=r"compressed\.safetensors\) has no layer relu4_2; it offers .*relu5_1"):
        encoder.require(["relu4_2"])


def test_compressed_vgg_runs_no_deeper_than_needed_and_pools_alike(compressed_weights):
    encoder, x = CompressedVGG(compressed_weights, pooling="l2"), torch.rand(1, 3, 32, 32)
    expected = VGG19("bundled", pooling="l2")(x, ["relu3_1"])["relu3_1"]
    deeper = encoder(x, ["relu4_1"])["relu4_1"]
    assert not deeper.equal(CompressedVGG(compressed_weights)(x, ["relu4_1"])["relu4_1"])
    encoder.network.deep["conv3_2"].register_forward_hook(lambda *_: pytest.fail("ran too deep"))
    torch.testing.assert_close(encoder(x, ["relu3_1"])["relu3_1"], expected)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("conv4_3.conv.weight", None, r"has no conv4_3\.conv\.weight; use a file that `distill` wrote"),
        ("conv5_1.expand.bias", None, r"has no conv5_1\.expand\.bias"),
        ("conv3_2.conv.weight", torch.ones(4, 3, 5, 5), r"has shape \(4, 3, 5, 5\), not \(any, any, 3, 3\)"),
        ("conv4_1.reduce.weight", torch.ones(3, 512, 1, 1), r"has shape \(3, 512, 1, 1\), not \(3, 256, 1, 1\)"),
        ("conv4_1.expand.weight", torch.zeros(512, 4, 1, 1), r"is damaged: not finite, or all zero"),
    ],
)
def test_compressed_weights_of_something_else(tmp_path, compressed_weights, key, value, message):
    tensors = load_file(compressed_weights) | {key: value}
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=rf"CompressedVGG weights: .*a\.safetensors.* {message}"):
        CompressedVGG(str(tmp_path / "a.safetensors"))


def test_compressed_vgg_has_no_downloads():
    with pytest.raises(ValueError, match="CompressedVGG weights: 'imagenet' are weights of VGG19; give 'bundled' or a"):
        CompressedVGG("imagenet")


def test_chain_takes_each_layer_from_the_first_that_offers_it(early_file, compact_weights):
    exact, compact = VGG19(early_file), CompactEncoder(compact_weights)
    chain = EncoderChain([exact, compact])
    x = torch.rand(1, 3, 32, 32)
    found = chain(x, ["relu5_1", "relu1_1"])
    assert list(found) == ["relu5_1", "relu1_1"]
    torch.testing.assert_close(found["relu1_1"], exact(x, ["relu1_1"])["relu1_1"])
    torch.testing.assert_close(found["relu5_1"], compact(x, ["relu5_1"])["relu5_1"])
    assert (chain.minimum_size("relu1_1"), chain.minimum_size("relu5_1")) == (1, 32)
    with pytest.raises(ValueError, match="at least one"):
        EncoderChain([])


@pytest.mark.parametrize("preset", ["imagenet", "caffe"])
def test_no_download_names_the_ways_out(monkeypatch, tmp_path, preset):
    monkeypatch.delenv("NST_VGG19_WEIGHTS", raising=False)

    def offline(*_, **__):
        raise OSError("network unreachable")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)  # below torchvision and torch alike
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(ValueError, match=r"network unreachable.*NST_VGG19_WEIGHTS.*default encoder"):
        VGG19(preset)


def test_caffe_weights_act_on_bgr_and_255(monkeypatch, features, whole_file):
    monkeypatch.delenv("NST_VGG19_WEIGHTS", raising=False)
    state = {f"features.{key}": value for key, value in features.state_dict().items()}
    monkeypatch.setattr(weights_module, "load_state_dict_from_url", lambda *_, **__: dict(state))
    x = torch.rand(1, 3, 8, 8)
    mean = torch.tensor([123.680, 116.779, 103.939]).view(3, 1, 1)
    expected = features[0]((255 * x - mean).flip(1))
    torch.testing.assert_close(VGG19("caffe")(x, ["conv1_1"])["conv1_1"], expected, rtol=1e-4, atol=1e-2)
    monkeypatch.setenv("NST_VGG19_WEIGHTS", whole_file)  # a local copy means the same
    torch.testing.assert_close(VGG19("caffe")(x, ["conv1_1"])["conv1_1"], expected, rtol=1e-4, atol=1e-2)


def test_environment_variable_replaces_the_download(monkeypatch, early_file):
    monkeypatch.setenv("NST_VGG19_WEIGHTS", early_file)
    assert VGG19("imagenet").layers[-1] == "relu2_1"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file: .*weights.*; use torchvision's"),
        (b"garbage", "is damaged or not a .*; use torchvision's"),
        ({"features.0.weight": torch.zeros(64, 3, 5, 5), "features.0.bias": torch.zeros(64)}, r"\(64, 3, 3, 3\)"),
        (
            {"features.0.weight": torch.ones(64, 3, 3, 3), "features.0.bias": torch.zeros(3)},
            r"features\.0\.bias has shape",
        ),
        ({"features.0.weight": torch.ones(64, 3, 3, 3)}, r"has no features\.0\.bias; use torchvision's"),
        (
            {"features.0.weight": torch.zeros(64, 3, 3, 3)},
            r"features\.0\.weight is damaged: not finite, or all zero; use",
        ),
        ({"other": torch.zeros(1)}, r"weights\.\w+ has no features\.0\.weight; use torchvision's"),
    ],
)
@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_bad_weights_files(tmp_path, content, message, ending):
    path = tmp_path / f"weights.{ending}"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        (save_file if ending == "safetensors" else torch.save)(content, path)
    with pytest.raises(ValueError, match=message):
        VGG19(str(path))


def test_a_gap_in_the_file_is_no_early_end(tmp_path, early_file):
    tensors = {key: value for key, value in load_file(early_file).items() if not key.startswith("features.2.")}
    save_file(tensors, tmp_path / "gap.safetensors")
    with pytest.raises(ValueError, match=r"gap\.safetensors has no features\.2\.weight"):
        VGG19(str(tmp_path / "gap.safetensors"))


@pytest.mark.parametrize("content", [b"", b"garbage"])
@pytest.mark.parametrize(("weights", "name"), [("imagenet", "vgg19-dcbb9e9d.pth"), ("caffe", "vgg19-d01eb7cb.pth")])
def test_a_damaged_download_is_named(tmp_path, monkeypatch, content, weights, name):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.delenv("NST_VGG19_WEIGHTS", raising=False)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"could not be downloaded or read .*delete .*{name}, which is damaged"):
        VGG19(weights)


def test_compact_weights_of_something_else(tmp_path, early_file, compact_weights):
    with pytest.raises(ValueError, match=r"early\.safetensors has no conv1_1\.weight"):
        CompactEncoder(early_file)
    for missing in ("conv5_1.weight", "conv3_2.weight", "embed1_1.bias", "conv1_1.bias"):
        save_file({k: v for k, v in load_file(compact_weights).items() if k != missing}, tmp_path / "a.safetensors")
        with pytest.raises(ValueError, match=rf"a\.safetensors has no {missing}"):
            CompactEncoder(str(tmp_path / "a.safetensors"))
    for key, shape in (
        ("conv1_1.weight", ()),
        ("conv2_1.weight", (4, 5, 3, 3)),
        ("embed3_1.bias", (2,)),
        ("conv1_2.weight", (4, 4, 1, 1)),
    ):
        save_file({**load_file(compact_weights), key: torch.ones(shape)}, tmp_path / "b.safetensors")
        with pytest.raises(ValueError, match=rf"b\.safetensors: {key} has shape .*, not .*; use a file that `distill`"):
            CompactEncoder(str(tmp_path / "b.safetensors"))


def test_a_half_copied_compact_file(tmp_path, compact_weights):
    whole = Path(compact_weights).read_bytes()
    (tmp_path / "half.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"CompactEncoder weights: .*half\.safetensors is damaged.*; use a file that"):
        CompactEncoder(str(tmp_path / "half.safetensors"))
    for damage in (0, float("nan")):
        save_file(
            {**load_file(compact_weights), "conv2_1.weight": torch.full((4, 4, 3, 3), damage)},
            tmp_path / "z.safetensors",
        )
        with pytest.raises(ValueError, match=r"z\.safetensors: conv2_1\.weight is damaged: not finite, or all zero"):
            CompactEncoder(str(tmp_path / "z.safetensors"))


@pytest.mark.parametrize("content", [b"version https://git-lfs", {"conv1_1.weight": torch.zeros(1)}, None])
def test_a_damaged_bundled_file_is_to_be_installed_again(tmp_path, monkeypatch, content):
    path = tmp_path / "bundled.safetensors"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content:
        save_file(content, path)
    for module in (compact_module, compressed_module):
        monkeypatch.setattr(module, "BUNDLED_FILE", path)
    encoders = {CompactEncoder: "CompactEncoder", CompressedVGG: "CompressedVGG"}
    for encoder, name in encoders.items():
        with pytest.raises(ValueError, match=rf"^{name} weights: .*; this file comes with the package: reinstall the"):
            encoder()
    monkeypatch.setattr(vgg_module, "VGG19_FILES", replace(weights_module.VGG19_FILES, bundled=path))
    monkeypatch.setenv("NST_VGG19_WEIGHTS", "of the presets alone")
    with pytest.raises(ValueError, match=r"^VGG-19 weights: .*; this file comes with the package: reinstall the"):
        VGG19("bundled")


def test_the_bundled_encoder_is_small_and_complete():
    encoder = CompactEncoder()
    assert encoder.description == "CompactEncoder (bundled)"
    features = encoder(torch.rand(1, 3, 32, 32), encoder.layers)
    assert [found.shape[1] for found in features.values()] == [64, 128, 256, 512, 512]
    assert BUNDLED_FILE.stat().st_size < 2.5e6
    assert {value.dtype for value in load_file(BUNDLED_FILE).values()} == {torch.float16}


def test_vgg19s_bundled_layers_end_where_the_default_layers_do():
    encoder = VGG19("bundled")
    assert encoder.layers == ALL_LAYERS[:10]
    with pytest.raises(ValueError, match=r"^VGG19 \(bundled\) has no layer relu4_1; it goes as far as relu3_1"):
        encoder.require(["relu4_1"])
    with pytest.raises(ValueError, match="VGG-16 weights: 'bundled' are weights of VGG19; give imagenet or a file"):
        VGG16("bundled")


def test_the_bundled_deep_layers_are_small_and_complete():
    default = build_encoder()
    assert default.description == "CompressedVGG (bundled)"
    features = default(torch.rand(1, 3, 32, 32), ["relu4_1", "relu5_1"])
    assert [found.shape[1] for found in features.values()] == [512, 512]
    assert compressed_module.BUNDLED_FILE.stat().st_size < 4e6
    assert {value.dtype for value in load_file(compressed_module.BUNDLED_FILE).values()} == {torch.float16}


def test_a_file_takes_the_place_of_bundled_layers(early_file, compact_weights):
    for arguments, description in (
        (("bundled", None), "CompressedVGG (bundled)"),
        (("bundled", compact_weights), "VGG19 (bundled) + CompactEncoder (compact.safetensors)"),
        ((early_file, "bundled"), "VGG19 (early.safetensors) + CompactEncoder (bundled)"),
        ((early_file, None), "VGG19 (early.safetensors)"),
        ((None, "bundled"), "CompactEncoder (bundled)"),
    ):
        assert build_encoder(*arguments).description == description
    with pytest.raises(ValueError, match="vgg19 or compact must be given, got null for both"):
        build_encoder(None, None)


def test_vgg19s_bundled_file_credits_its_authors():
    """As their license demands: names, source, license, and what was changed."""
    with safe_open(weights_module.VGG19_FILES.bundled, framework="pt") as file:
        metadata = file.metadata()
    card = weights_module.VGG19_FILES.bundled.with_suffix(".md").read_text(encoding="utf-8")
    for text in (" ".join(metadata.values()), card):
        for expected in (
            "Simonyan",
            "Zisserman",
            "CC BY 4.0",
            "creativecommons.org",
            "robots.ox.ac.uk",
            "half precision",
        ):
            assert expected in text


def test_the_bundled_deep_layers_say_whose_features_they_were_fitted_to():
    with safe_open(compressed_module.BUNDLED_FILE, framework="pt") as file:
        assert file.metadata()["teacher"].startswith("VGG16 (")
    card = compressed_module.BUNDLED_FILE.with_suffix(".md").read_text(encoding="utf-8")
    for expected in ("Simonyan", "Zisserman", "CC BY 4.0", "creativecommons.org", "robots.ox.ac.uk"):
        assert expected in card


@pytest.mark.weights
def test_the_bundled_deep_layers_see_as_vgg16_does(shared):
    """On held-out photos; the compact encoder's are not comparable, since its teacher was VGG-19."""
    exact, default = VGG16(str(shared / "weights/vgg16_conv1_1-conv5_1.safetensors")), build_encoder()
    found = {layer: ChannelCorrelation() for layer in ("relu4_1", "relu5_1")}
    for path in sorted((shared / "photos/val").iterdir())[::4]:
        photo = torch.from_numpy(image_to_array(resize_short_side(read_rgb(path), 256)))[None]
        targets = exact(photo, list(found))
        for layer, features in default(photo, list(found)).items():
            found[layer].update(features, targets[layer])
    for layer, least in (("relu4_1", 0.8), ("relu5_1", 0.6)):
        assert found[layer].compute() > least, layer


@pytest.mark.weights
def test_vgg19s_bundled_layers_are_exact(shared):
    """To half precision."""
    exact, bundled = VGG19(str(shared / "weights/vgg19_conv1_1-conv3_4.safetensors")), VGG19("bundled")
    photo = torch.from_numpy(image_to_array(read_rgb(sorted((shared / "photos/val").iterdir())[0])))[None]
    expected, found = (encoder(photo, bundled.layers) for encoder in (exact, bundled))
    for layer, features in expected.items():
        assert (found[layer] - features).norm() < 1e-3 * features.norm(), layer


@pytest.mark.weights
def test_the_bundled_encoder_sees_as_vgg19_does(shared):
    """On the held-out photos, as its card says."""
    exact, bundled = VGG19(str(shared / "weights/vgg19_conv1_1-conv3_4.safetensors")), CompactEncoder()
    published = CompactEncoder(str(shared / "weights/vgg19_16x_distilled.safetensors"))
    expected = {"relu1_1": 0.98, "relu2_1": 0.88, "relu3_1": 0.83}
    ours, theirs = ({layer: ChannelCorrelation() for layer in expected} for _ in range(2))
    for path in sorted((shared / "photos/val").iterdir()):
        photo = torch.from_numpy(image_to_array(resize_short_side(read_rgb(path), 256)))[None]
        targets = exact(photo, list(expected))
        for metrics, encoder in ((ours, bundled), (theirs, published)):
            for layer, features in encoder(photo, list(expected)).items():
                metrics[layer].update(features, targets[layer])
    for layer, least in expected.items():
        assert ours[layer].compute() >= max(least, theirs[layer].compute())


@pytest.mark.weights
def test_the_real_vgg16_tells_layers_apart_as_vgg19_does(shared):
    """Deep features of the two know a photo's copy from another photo."""
    encoder = VGG16(str(shared / "weights/vgg16_conv1_1-conv5_1.safetensors"))
    assert encoder.layers[-1] == "relu5_1"
    first, second = (
        torch.from_numpy(image_to_array(resize_short_side(read_rgb(path), 128)))[None, ..., :128, :128]
        for path in sorted((shared / "photos/val").iterdir())[:2]
    )
    for layer in ("relu1_1", "relu5_1"):
        a, b, c = (encoder(x, [layer])[layer] for x in (first, 0.9 * first + 0.05, second))
        assert (a - b).square().mean() < 0.3 * (a - c).square().mean()


@pytest.mark.weights
def test_real_files(shared):
    exact = VGG19(str(shared / "weights/vgg19_conv1_1-conv3_4.safetensors"))
    compact = CompactEncoder(str(shared / "weights/vgg19_16x_distilled.safetensors"))
    assert exact.layers[-1] == "relu3_4"
    assert compact.layers == ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
    with pytest.raises(ValueError, match="as far as relu3_4"):
        exact.require(["relu4_1"])
    photo = torch.from_numpy(image_to_array(read_rgb(sorted((shared / "photos/val").iterdir())[0])))[None]
    layers = ["relu1_1", "relu2_1", "relu3_1"]
    for layer, least in zip(layers, (0.95, 0.8, 0.75)):  # the two know each other: shared/README gives 0.98, 0.86, 0.81
        a, b = (encoder(photo, [layer])[layer][0].flatten(1) for encoder in (exact, compact))
        correlations = [torch.corrcoef(torch.stack(pair))[0, 1] for pair in zip(a, b)]
        assert torch.stack(correlations).nanmedian() > least


@pytest.mark.weights
def test_l2_pooling_keeps_the_magnitude_of_max_pooling(shared):
    exact = VGG19(str(shared / "weights/vgg19_conv1_1-conv3_4.safetensors"))
    ratios = []
    for path in sorted((shared / "photos/val").iterdir())[:6]:
        features = exact(torch.from_numpy(image_to_array(read_rgb(path)))[None], ["relu1_2", "relu2_2", "relu3_4"])
        for x in features.values():
            ratios.append(pool(x, "l2").mean() / pool(x, "max").mean())
    assert torch.stack(ratios).mean() == pytest.approx(1, abs=0.05)
    assert max(ratios) < 1.3
