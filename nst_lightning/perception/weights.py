"""Weights files of the encoders: where they come from, and the checks before they are used."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError

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
_CACHED = {"imagenet": "vgg19-dcbb9e9d.pth", "caffe": "vgg19-d01eb7cb.pth"}
_WAYS_OUT = "use torchvision's VGG-19, which may end early, or CompactEncoder, which comes with the package"
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
        argument = "VGG-19 weights" if path == weights else f"VGG-19 weights ({VGG19_FILE_VARIABLE})"
        tensors, metadata = read_tensors(expand_path(path), argument=argument)
    else:
        tensors, metadata = _download(weights), {}
    origin = Path(path).name if path else weights
    named = _named(tensors, str(path or weights))
    mean, std = (_numbers(metadata.get(key)) for key in ("mean", "std"))
    if weights == "caffe" and mean is None:
        named["conv1_1.weight"] = named["conv1_1.weight"].flip(1)  # the authors' own network takes BGR in [0, 255]
        return VGGWeights(named, _CAFFE_MEAN, _CAFFE_STD, origin)
    return VGGWeights(named, mean or _IMAGENET_MEAN, std or _IMAGENET_STD, origin)


def _download(weights: str) -> dict[str, Tensor]:
    """Tensors of a preset, downloaded with a progress bar, checked by hash and cached by torch."""
    options = {"progress": True, "check_hash": True, "weights_only": True}
    try:
        if weights == "imagenet":
            from torchvision.models import VGG19_Weights

            return VGG19_Weights.IMAGENET1K_V1.get_state_dict(**options)
        return load_state_dict_from_url(_CAFFE_URL, map_location="cpu", **options)
    except (OSError, RuntimeError, EOFError, UnpicklingError) as error:  # no connection, a wrong hash, a damaged file
        cached = Path(torch.hub.get_dir()) / "checkpoints" / _CACHED[weights]
        delete = f"delete {cached}, which is damaged, " if cached.exists() else ""
        raise ValueError(
            f"VGG-19 weights {weights!r} could not be downloaded or read ({_first_line(error)}). Ways out: {delete}set "
            f"{VGG19_FILE_VARIABLE} to a local file, give a file as `weights`, or use CompactEncoder, which comes with "
            "the package"
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


def _named(tensors: dict[str, Tensor], path: str) -> dict[str, Tensor]:
    """Convolutions under the field's names, from torchvision's `features.N`; a file may end early, but has no gap."""
    found = [re.fullmatch(r"features\.(\d+)\.(?:weight|bias)", key) for key in tensors]
    last = max((int(match[1]) for match in found if match), default=0)
    named, index, channels = {}, 0, 3
    for name in CONVOLUTIONS:
        if index > last:
            break
        block, i = int(name[4]), int(name[6:])
        width = VGG19_CHANNELS[block - 1]
        for part, expected in (("weight", (width, channels, 3, 3)), ("bias", (width,))):
            key = f"features.{index}.{part}"
            if key not in tensors:
                raise ValueError(f"VGG-19 weights: {path} has no {key}; {_WAYS_OUT}")
            if tuple(tensors[key].shape) != expected:
                shape = tuple(tensors[key].shape)
                raise ValueError(f"VGG-19 weights: {path}: {key} has shape {shape}, not {expected}; {_WAYS_OUT}")
            named[f"{name}.{part}"] = tensors[key]
        channels = width
        index += 2 if i < VGG_BLOCKS[block - 1] else 3  # a ReLU follows each convolution, a pooling each block
    return named


def _numbers(text: str | None) -> Statistics | None:
    return tuple(float(part) for part in text.split(",")) if text else None


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__
