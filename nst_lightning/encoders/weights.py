"""Weights files of the encoders: where they come from, and the checks before they are used."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.hub import load_state_dict_from_url

from nst_lightning.errors import UserError
from nst_lightning.images import expand_path

VGG19_FILE_VARIABLE = "NST_VGG19_WEIGHTS"
"""Environment variable: a local file that replaces the downloads of `imagenet` and `caffe`."""

VGG19_BLOCKS = (2, 2, 4, 4, 4)
VGG19_CHANNELS = (64, 128, 256, 512, 512)
CONVOLUTIONS = tuple(f"conv{block}_{i}" for block, n in enumerate(VGG19_BLOCKS, 1) for i in range(1, n + 1))
"""The 16 convolutions of VGG-19, from shallow to deep."""

Statistics = tuple[float, float, float]


@dataclass(frozen=True)
class VGGWeights:
    """Convolutions of a VGG and the normalization of their input.

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


PRESETS = ("imagenet", "caffe")
_CACHED = {"imagenet": "vgg19-dcbb9e9d.pth", "caffe": "vgg19-d01eb7cb.pth"}
_WAYS_OUT = "use torchvision's VGG-19, which may end early, or CompactEncoder, which comes with the package"
BUNDLED = "bundled"
"""The weights of `CompactEncoder` that come with the package."""
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
        UserError: no such file, not a weights file, wrong shapes, or the download failed.
    """
    if weights == BUNDLED:
        raise UserError(f"VGG-19 weights: {BUNDLED!r} are CompactEncoder's; give {', '.join(PRESETS)} or a file")
    path = os.environ.get(VGG19_FILE_VARIABLE) if weights in PRESETS else weights
    if path:
        argument = "VGG-19 weights" if path == weights else f"VGG-19 weights ({VGG19_FILE_VARIABLE})"
        tensors, metadata = read_tensors(expand_path(path), argument=argument, ways_out=_WAYS_OUT)
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
        raise UserError(
            f"VGG-19 weights {weights!r} could not be downloaded or read ({_first_line(error)}). Ways out: {delete}set "
            f"{VGG19_FILE_VARIABLE} to a local file, give a file as `weights`, or use CompactEncoder, which comes with "
            "the package"
        ) from None


def read_tensors(path: Path, *, argument: str, ways_out: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a .safetensors or .pth file, never unpickling code.

    Raises:
        UserError: the file is missing or isn't such a file; `argument` says what it was wanted for, and `ways_out`
            what can be done.
    """
    if not path.is_file():
        raise UserError(f"{argument}: no such file: {path}; {ways_out}")
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118 - no dict
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
        raise UserError(
            f"{argument}: {path} is damaged or no weights file ({_first_line(error)}); {ways_out}"
        ) from None
    except Exception:  # pickle.UnpicklingError, whose text is about torch's options
        raise UserError(f"{argument}: {path} is damaged or no file of plain tensors; {ways_out}") from None
    if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise UserError(f"{argument}: {path} is no dictionary of tensors; {ways_out}")
    return tensors, {}


def checked_tensor(
    tensors: Mapping[str, Tensor],
    key: str,
    shape: tuple[int | str, ...],
    *,
    path: Path | str,
    argument: str,
    ways_out: str,
) -> Tensor:
    """One of a file's tensors, of a shape in which a string stands for any number.

    Raises:
        UserError: it is missing, of another shape, not finite, or a weight of nothing but zeros, as a download leaves
            it that made room for the file and broke off.
    """
    if key not in tensors:
        raise UserError(f"{argument}: {path} has no {key}; {ways_out}")
    tensor = tensors[key]
    if len(shape) != tensor.ndim or any(isinstance(n, int) and n != m for n, m in zip(shape, tensor.shape)):
        expected = f"({', '.join(map(str, shape))}{',' * (len(shape) == 1)})"
        raise UserError(f"{argument}: {path}: {key} has shape {tuple(tensor.shape)}, not {expected}; {ways_out}")
    if not tensor.isfinite().all() or (key.endswith("weight") and not tensor.any()):
        raise UserError(f"{argument}: {path}: {key} is damaged, not finite or all zero; {ways_out}")
    return tensor


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
            named[f"{name}.{part}"] = checked_tensor(
                tensors,
                f"features.{index}.{part}",
                expected,
                path=path,
                argument="VGG-19 weights",
                ways_out=_WAYS_OUT,
            )
        channels = width
        index += 2 if i < VGG19_BLOCKS[block - 1] else 3  # a ReLU follows each convolution, a pooling each block
    return named


def _numbers(text: str | None) -> Statistics | None:
    return tuple(float(part) for part in text.split(",")) if text else None


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__
