"""Weights files of the encoders: where they come from, and the checks before they are used."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.hub import load_state_dict_from_url

from nst_lightning.images import expand_path

VGG19_FILE_VARIABLE = "NST_VGG19_WEIGHTS"
"""Environment variable: a local file that replaces the downloads of `imagenet` and `caffe`."""

VGG_BLOCKS = (2, 2, 4, 4, 4)
VGG19_CHANNELS = (64, 128, 256, 512, 512)
CONVOLUTIONS = tuple(f"conv{block}_{i}" for block, n in enumerate(VGG_BLOCKS, 1) for i in range(1, n + 1))
"""The 16 convolutions of VGG-19, from shallow to deep."""

Statistics = tuple[float, float, float]


@dataclass(frozen=True)
class VGGWeights:
    """Convolutions of a VGG and the normalisation of their input.

    Args:
        tensors: `conv1_1.weight`, `conv1_1.bias`, ... on RGB input, without gaps from `conv1_1` on.
        mean: subtracted from RGB in [0, 1].
        std: divided by afterwards.
        origin: preset or file name, for messages and metadata.
    """

    tensors: dict[str, Tensor]
    mean: Statistics
    std: Statistics
    origin: str


_PRESETS = ("imagenet", "caffe")
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CAFFE_URL = "https://web.eecs.umich.edu/~justincj/models/vgg19-d01eb7cb.pth"
_CAFFE_MEAN, _CAFFE_STD = (0.48502, 0.45796, 0.40760), (1 / 255, 1 / 255, 1 / 255)


def load_vgg19(weights: str) -> VGGWeights:
    """Load the convolutions of VGG-19.

    Args:
        weights: `imagenet` (torchvision's), `caffe` (Simonyan & Zisserman's own), or a .safetensors or .pth file with
            torchvision's names, which may end early. A safetensors file may carry `mean` and `std` in its metadata;
            other files are taken to expect torchvision's. `NST_VGG19_WEIGHTS` names a file to use for the downloads.

    Raises:
        ValueError: no such file, not a weights file, wrong shapes, or the download failed.
    """
    path = os.environ.get(VGG19_FILE_VARIABLE) if weights in _PRESETS else weights
    if path:
        tensors, metadata = read_tensors(expand_path(path), argument="VGG-19 weights")
    else:
        tensors, metadata = _download(weights), {}
    origin = Path(path).name if path else weights
    named = _named(tensors, origin)
    mean, std = (_numbers(metadata.get(key)) for key in ("mean", "std"))
    if weights == "caffe" and mean is None:
        named["conv1_1.weight"] = named["conv1_1.weight"].flip(1)  # the authors' own network takes BGR in [0, 255]
        return VGGWeights(named, _CAFFE_MEAN, _CAFFE_STD, origin)
    return VGGWeights(named, mean or _IMAGENET_MEAN, std or _IMAGENET_STD, origin)


def _download(weights: str) -> dict[str, Tensor]:
    """Tensors of a preset, downloaded with a progress bar, checked by hash and cached by torch."""
    try:
        if weights == "imagenet":
            from torchvision.models import VGG19_Weights

            return VGG19_Weights.IMAGENET1K_V1.get_state_dict(progress=True, check_hash=True)
        return load_state_dict_from_url(_CAFFE_URL, map_location="cpu", progress=True, check_hash=True)
    except (OSError, RuntimeError) as error:  # URLError is an OSError; a wrong hash is a RuntimeError
        raise ValueError(
            f"VGG-19 weights {weights!r} could not be downloaded ({error}). Ways out: set {VGG19_FILE_VARIABLE} to a "
            "local file, give a file as `weights`, or use CompactEncoder, which comes with the package"
        ) from None


def read_tensors(path: Path, *, argument: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a .safetensors or .pth file, never unpickling code.

    Raises:
        ValueError: the file is missing or isn't such a file; `argument` says what it was wanted for.
    """
    if not path.is_file():
        raise ValueError(f"{argument}: no such file: {path}")
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118 - no dict
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
        raise ValueError(f"{argument}: {path} is damaged or no weights file ({_first_line(error)})") from None
    except Exception as error:  # pickle.UnpicklingError, raised for anything that isn't a file of plain tensors
        raise ValueError(f"{argument}: {path} is no file of plain tensors ({_first_line(error)})") from None
    if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise ValueError(f"{argument}: {path} is no dictionary of tensors")
    return tensors, {}


def _named(tensors: dict[str, Tensor], origin: str) -> dict[str, Tensor]:
    """Convolutions under the field's names, from torchvision's `features.N`; everything else is left out."""
    named, index, channels = {}, 0, 3
    for name in CONVOLUTIONS:
        block, i = int(name[4]), int(name[6:])
        weight, bias = (tensors.get(f"features.{index}.{part}") for part in ("weight", "bias"))
        if weight is None or bias is None:
            break
        expected = (VGG19_CHANNELS[block - 1], channels, 3, 3)
        if tuple(weight.shape) != expected:
            raise ValueError(f"{origin}: features.{index}.weight has shape {tuple(weight.shape)}, not {expected}")
        named[f"{name}.weight"], named[f"{name}.bias"] = weight, bias
        channels = expected[0]
        index += 2 if i < VGG_BLOCKS[block - 1] else 3  # a ReLU follows each convolution, a pooling each block
    if not named:
        raise ValueError(f"{origin}: no VGG-19 in this file; its first convolution, features.0.weight, is missing")
    return named


def _numbers(text: str | None) -> Statistics | None:
    return tuple(float(part) for part in text.split(",")) if text else None


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__
