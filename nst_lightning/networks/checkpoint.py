"""Checkpoints of transfer networks: each describes its network, so that it can be rebuilt without the recipe."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nst_lightning.errors import UserError
from nst_lightning.images import expand_path
from nst_lightning.networks.johnson import JohnsonNet
from nst_lightning.networks.multi_style import MultiStyleNet
from nst_lightning.system import normalize_keys, normalize_name

RECORD = "transfer_network"
PREFIX = "network."
CLASSES = {cls.__name__: cls for cls in (JohnsonNet, MultiStyleNet)}
"""The networks that a checkpoint may name; a file can't make any other code run."""
_PACKAGE = Path(__file__).parent.parent
_FOLDERS = (_PACKAGE / "checkpoints", _PACKAGE.parent / "checkpoints")
"""The folders of trained networks: that of an installed package, and that of a clone of the repository."""


def _bundled() -> dict[str, Path]:
    """Names of the checkpoints that come with the package, such as `styles`, with their files."""
    return {path.stem: path for folder in reversed(_FOLDERS) for path in sorted(folder.glob("*.ckpt"))}


def network_record(network: nn.Module, metadata: dict[str, str]) -> dict[str, Any]:
    """The description of a network in its checkpoint, in plain values: class, constructor arguments and metadata.

    The arguments of classes outside this package are unknown: training can resume from checkpoints of such networks,
    but `load_network` can't rebuild them.
    """
    init_args = dict(getattr(network, "init_args", {}))
    return {"class": type(network).__name__, "init_args": init_args, "metadata": dict(metadata)}


PER_STYLE = ("credits", "style_weights", "sizes")
"""Keys of metadata with a value for each style: JSON objects with the styles' names as keys."""


def per_style_metadata(metadata: Mapping[str, str], styles: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
    """The metadata with a value for each style, by the keys in `PER_STYLE`.

    Args:
        metadata: metadata of a checkpoint.
        styles: styles of its network. The key `size` of older checkpoints applies to all of them.
    """
    parsed = {key: normalize_keys(json.loads(metadata.get(key, "{}"))) for key in PER_STYLE}
    if "size" in metadata:
        parsed["sizes"] = dict.fromkeys(map(normalize_name, styles), int(metadata["size"])) | parsed["sizes"]
    return parsed


def per_style_text(values: Mapping[str, Mapping[str, Any]], styles: Sequence[str]) -> dict[str, str]:
    """The reverse of `per_style_metadata`: JSON objects with the values of some styles, in the order of `styles`."""
    return {key: json.dumps({name: given[name] for name in styles if name in given}) for key, given in values.items()}


def load_network(path: str | Path) -> tuple[nn.Module, dict[str, str]]:
    """Rebuild the network of a checkpoint that `fit` wrote.

    Args:
        path: the file, or the name of a checkpoint that comes with the package, such as `styles`.

    Returns:
        The network, on the CPU in evaluation mode, and its metadata.

    Raises:
        UserError: the file is missing, damaged or not a checkpoint of a transfer network.
    """
    path, bundled = expand_path(path), _bundled()
    if not path.is_file() and not path.suffix:
        if str(path) not in bundled:
            raise UserError(f"{path}: no such checkpoint; the package comes with {', '.join(bundled)}")
        path = bundled[str(path)]
    checkpoint = read_checkpoint(path)
    try:
        record = checkpoint[RECORD]
        network = CLASSES[record["class"]](**record["init_args"])
        network.load_state_dict(network_state(checkpoint))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(
            f"{path}: not a checkpoint of a transfer network ({type(error).__name__}: {str(error).splitlines()[0]})"
        ) from None
    return network.eval(), record["metadata"]


def check_state(state: Mapping[str, Tensor], network: nn.Module, argument: str) -> None:
    """Refuse the state of a different network; PyTorch itself would load any tensors that happen to fit.

    Raises:
        UserError: a tensor differs; the message names `argument` and the first such tensor.
    """
    own = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    given = {key: tuple(value.shape) for key, value in state.items()}
    for key in sorted(own.keys() | given.keys()):
        if own.get(key) != given.get(key):
            raise UserError.about(
                argument,
                f"the checkpoint holds a different network: {key} is {given.get(key, 'missing')} there "
                f"and {own.get(key, 'missing')} here",
            )


def network_state(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of the network in a checkpoint, under the network's own names."""
    return {k.removeprefix(PREFIX): v for k, v in checkpoint["state_dict"].items() if k.startswith(PREFIX)}


def read_checkpoint(path: Path, *, record: str = RECORD) -> dict[str, Any]:
    """Read a checkpoint that this package wrote, which holds only plain values and tensors.

    Args:
        path: the file.
        record: the entry that all checkpoints of the expected kind have.

    Raises:
        UserError: the file is missing, damaged or not a checkpoint of this kind.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises errors of many kinds for truncated, foreign and unsafe files
        raise UserError(f"{path}: damaged, or not a checkpoint of plain values ({type(error).__name__})") from None
    if not isinstance(checkpoint, dict) or record not in checkpoint:
        raise UserError(f"{path}: a checkpoint, but not of a {record.replace('_', ' ')} of this package")
    return checkpoint
