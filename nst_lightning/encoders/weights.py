"""Weights files of the encoders: finding, downloading, reading and checking them."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.hub import load_state_dict_from_url

from nst_lightning.errors import UserError, naming
from nst_lightning.images import atomic_path, expand_path

VGG19_BLOCKS, VGG16_BLOCKS = (2, 2, 4, 4, 4), (2, 2, 3, 3, 3)
"""Convolutions in each block."""
VGG_CHANNELS = (64, 128, 256, 512, 512)
"""Channels of the features in each block."""


def convolution_names(blocks: Sequence[int]) -> tuple[str, ...]:
    """Names of a VGG's convolutions, conv1_1, conv1_2, ..., from shallow to deep, given their number in each block."""
    return tuple(f"conv{block}_{i}" for block, count in enumerate(blocks, 1) for i in range(1, count + 1))


Statistics = tuple[float, float, float]
DEFAULT = "the default encoder, which comes with the package"


@dataclass(frozen=True)
class VGGWeights:
    """Convolutions of a VGG and the normalization of their input.

    Args:
        tensors: `conv1_1.weight`, `conv1_1.bias`, ... for RGB input, from `conv1_1` on without gaps.
        mean: the mean to subtract from RGB in [0, 1].
        std: the standard deviation to divide by after that.
        origin: name of the preset or file, for messages and metadata.
    """

    tensors: dict[str, Tensor]
    mean: Statistics
    std: Statistics
    origin: str


@dataclass(frozen=True)
class Architecture:
    """The architecture of a VGG, and its weights files.

    Args:
        name: name of the architecture, such as `VGG-19`.
        blocks: number of convolutions in each block.
        downloads: name of the file that torch caches, for each preset.
        bundled: file with the first layers that comes with the package, if there is one.
    """

    name: str
    blocks: tuple[int, ...]
    downloads: dict[str, str]
    bundled: Path | None = None

    @property
    def variable(self) -> str:
        """The environment variable that names a local file to use in place of a download."""
        return f"NST_{self.name.replace('-', '')}_WEIGHTS"

    @property
    def advice(self) -> str:
        """What to do about a weights file that can't be used."""
        return f"use torchvision's {self.name}, which may end early{self.instead}"

    @property
    def instead(self) -> str:
        """What to use in place of this architecture, to follow other advice."""
        return f", or {DEFAULT}" if self.bundled else ""


VGG19_FILES = Architecture(
    "VGG-19",
    VGG19_BLOCKS,
    {"imagenet": "vgg19-dcbb9e9d.pth", "caffe": "vgg19-d01eb7cb.pth"},
    Path(__file__).parent / "vgg19_first_layers.safetensors",
)
VGG16_FILES = Architecture("VGG-16", VGG16_BLOCKS, {"imagenet": "vgg16-397923af.pth"})
PRESETS = tuple(VGG19_FILES.downloads)
BUNDLED = "bundled"
"""Name of the weights that come with the package: all of `CompactEncoder`, and VGG-19's first layers, to relu3_1."""
REINSTALL = "this file comes with the package: reinstall the package"
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CAFFE_URL = "https://web.eecs.umich.edu/~justincj/models/vgg19-d01eb7cb.pth"
_CAFFE_MEAN, _CAFFE_STD = (0.48502, 0.45796, 0.40760), (1 / 255, 1 / 255, 1 / 255)


def load_vgg(weights: str, architecture: Architecture) -> VGGWeights:
    """Load the convolutions of a VGG.

    Args:
        weights: a preset, `imagenet` (torchvision's) or, for VGG-19, `caffe` (Simonyan & Zisserman's own) and `bundled`
            (theirs to relu3_1, which come with the package), or a .safetensors or .pth file with torchvision's names,
            which may end early. A safetensors file may carry `mean` and `std` in its metadata; other files get
            torchvision's. The architecture's environment variable names a file to use in place of a download.
        architecture: which VGG to load.

    Raises:
        UserError: the file is missing, is not a weights file or has wrong shapes, or the download failed.
    """
    presets, advice = architecture.downloads, REINSTALL if weights == BUNDLED else architecture.advice
    if (weights not in presets and weights in PRESETS) or (weights == BUNDLED and architecture.bundled is None):
        problem = f"{weights!r} are weights of VGG19; give {', '.join(presets)} or a file"
        raise UserError(f"{architecture.name} weights: {problem}")
    file, argument = _find_file(weights, architecture)
    if file is not None:
        tensors, metadata = read_tensors(file, argument=argument, advice=advice)
    else:
        tensors, metadata = _download(weights, architecture), {}
    origin = weights if file is None or weights == BUNDLED else file.name
    named = _rename(tensors, architecture, path=file or weights, advice=advice)
    mean, std = (_parse_numbers(metadata.get(key)) for key in ("mean", "std"))
    if weights == "caffe" and mean is None:
        named["conv1_1.weight"] = named["conv1_1.weight"].flip(1)  # the authors' network takes BGR in [0, 255]
        return VGGWeights(named, _CAFFE_MEAN, _CAFFE_STD, origin)
    return VGGWeights(named, mean or _IMAGENET_MEAN, std or _IMAGENET_STD, origin)


def _find_file(weights: str, architecture: Architecture) -> tuple[Path | None, str]:
    """The file with the weights, or None if they have to be downloaded, and the argument that errors should name."""
    argument, given = f"{architecture.name} weights", weights
    if weights == BUNDLED:
        return architecture.bundled, argument
    if weights in architecture.downloads:
        argument, given = f"{argument} ({architecture.variable})", os.environ.get(architecture.variable, "")
        if not given:
            return None, argument
    with naming(argument):
        return expand_path(given), argument


def _download(weights: str, architecture: Architecture) -> dict[str, Tensor]:
    """Download the tensors of a preset with a progress bar; torch checks their hash and caches them."""
    options: dict[str, Any] = {"progress": True, "check_hash": True, "weights_only": True}
    try:
        if weights == "imagenet":
            from torchvision.models import get_weight

            enumeration = f"{architecture.name.replace('-', '')}_Weights"
            return get_weight(f"{enumeration}.IMAGENET1K_V1").get_state_dict(**options)
        return load_state_dict_from_url(_CAFFE_URL, map_location="cpu", **options)
    except (OSError, RuntimeError, EOFError, UnpicklingError) as error:  # no connection, a wrong hash, a damaged file
        cached = Path(torch.hub.get_dir()) / "checkpoints" / architecture.downloads[weights]
        delete = f"delete {cached}, which is damaged, " if cached.exists() else ""
        raise UserError(
            f"{architecture.name} weights {weights!r} could not be downloaded or read ({_first_line(error)}). "
            f"Either {delete}set {architecture.variable} to a local file, or give a file as `weights`"
            f"{architecture.instead}"
        ) from None


def read_tensors(path: Path, *, argument: str, advice: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read tensors and metadata from a .safetensors or .pth file, without ever unpickling code.

    Args:
        path: the file.
        argument: what the file is for, the beginning of an error message.
        advice: what the user can do, the end of an error message.

    Raises:
        UserError: the file is missing, damaged or of another kind.
    """
    if not path.is_file():
        raise UserError(f"{argument}: no such file: {path}; {advice}")
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118 - no dict
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
        raise UserError(
            f"{argument}: {path} is damaged or not a weights file ({_first_line(error)}); {advice}"
        ) from None
    except Exception:  # pickle.UnpicklingError, whose text is about torch's options
        raise UserError(f"{argument}: {path} is damaged or not a file of plain tensors; {advice}") from None
    if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise UserError(f"{argument}: {path} is not a dictionary of tensors; {advice}")
    return tensors, {}


def weights_path(weights: str, bundled: Path, *, argument: str) -> Path:
    """The file of weights that come with the package as `bundled`, or that are the user's own.

    Args:
        weights: `bundled`, or a file.
        bundled: the file that comes with the package.
        argument: what the file is for, the beginning of an error message.

    Raises:
        UserError: it is the name of weights of VGG-19, or no path.
    """
    if weights in PRESETS:
        raise UserError(f"{argument}: {weights!r} are weights of VGG19; give {BUNDLED!r} or a file")
    with naming(argument):
        return bundled if weights == BUNDLED else expand_path(weights)


def advise(path: Path, bundled: Path) -> str:
    """What a user can do about a damaged file that should be one of `distill`."""
    return REINSTALL if path == bundled else f"use a file that `distill` wrote, or weights {BUNDLED!r}"


def save_half(state: Mapping[str, Tensor], path: str | Path, metadata: Mapping[str, str]) -> None:
    """Write tensors in half precision as a safetensors file, at once or not at all.

    Raises:
        UserError: a tensor is not finite in half precision.
    """
    tensors = {key: value.detach().cpu().half().contiguous() for key, value in state.items()}
    bad = [key for key, value in tensors.items() if not value.isfinite().all()]
    if bad:
        raise UserError(f"{path}: not written; {bad[0]} is not finite in half precision. Lower model.learning_rate")
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(tensors, metadata=dict(metadata)))


def checked_tensor(
    tensors: Mapping[str, Tensor],
    key: str,
    shape: tuple[int | str, ...],
    *,
    path: Path | str,
    argument: str,
    advice: str,
) -> Tensor:
    """One of a file's tensors, after checking it.

    Args:
        tensors: all tensors of the file.
        key: name of the tensor.
        shape: the expected shape, in which a string stands for any number.
        path: the file, for an error message.
        argument: what the file is for, the beginning of an error message.
        advice: what the user can do, the end of an error message.

    Raises:
        UserError: the tensor is missing, has another shape, is not finite, or is a weight of nothing but zeros, as an
            interrupted download can leave it.
    """
    if key not in tensors:
        raise UserError(f"{argument}: {path} has no {key}; {advice}")
    tensor = tensors[key]
    if len(shape) != tensor.ndim or any(isinstance(n, int) and n != m for n, m in zip(shape, tensor.shape)):
        expected = f"({', '.join(map(str, shape))}{',' * (len(shape) == 1)})"
        raise UserError(f"{argument}: {path}: {key} has shape {tuple(tensor.shape)}, not {expected}; {advice}")
    if not tensor.isfinite().all() or (key.endswith("weight") and not tensor.any()):
        raise UserError(f"{argument}: {path}: {key} is damaged: not finite, or all zero; {advice}")
    return tensor


def _rename(
    tensors: dict[str, Tensor], architecture: Architecture, *, path: Path | str, advice: str
) -> dict[str, Tensor]:
    """Rename torchvision's `features.N` to `conv1_1`, ...; a file may end early, but must have no gaps."""
    found = [re.fullmatch(r"features\.(\d+)\.(?:weight|bias)", key) for key in tensors]
    last = max((int(match[1]) for match in found if match), default=0)
    named, index, channels = {}, 0, 3
    for name in convolution_names(architecture.blocks):
        if index > last:
            break
        block, i = int(name[4]), int(name[6:])
        width = VGG_CHANNELS[block - 1]
        for part, shape in (("weight", (width, channels, 3, 3)), ("bias", (width,))):
            named[f"{name}.{part}"] = checked_tensor(
                tensors,
                f"features.{index}.{part}",
                shape,
                path=path,
                argument=f"{architecture.name} weights",
                advice=advice,
            )
        channels = width
        index += 2 if i < architecture.blocks[block - 1] else 3  # a ReLU follows each convolution, a pooling each block
    return named


def _parse_numbers(text: str | None) -> Statistics | None:
    if not text:
        return None
    red, green, blue = map(float, text.split(","))
    return red, green, blue


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__
