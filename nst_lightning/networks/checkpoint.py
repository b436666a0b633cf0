"""Checkpoints of transfer networks: each describes its network, so that it can be rebuilt without the recipe."""

import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
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

    The arguments are those in the network's `init_args`. They are None, for unknown, if a network that takes arguments
    has no such attribute, or if they aren't plain values: then only a built network can load the checkpoint.
    """
    cls = type(network)
    init_args: Any = getattr(network, "init_args", None if inspect.signature(cls).parameters else {})
    plain = isinstance(init_args, Mapping) and _is_plain(init_args)
    return {
        "class": cls.__name__,
        "class_path": f"{cls.__module__}.{cls.__qualname__}",
        "init_args": dict(init_args) if plain else None,
        "metadata": dict(metadata),
    }


def remember_arguments(network: nn.Module, init_args: Mapping[str, Any]) -> None:
    """Keep the constructor's arguments in a network that doesn't do so itself, for `network_record`."""
    if not hasattr(network, "init_args"):
        network.init_args = dict(init_args)  # type: ignore[assignment]


def _is_plain(value: Any) -> bool:
    """Whether a value may be in a checkpoint, from which no other values can be read."""
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_plain(each) for key, each in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return type(value) in (str, int, float, bool, type(None))


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


def load_network(
    path: str | Path, network: type[nn.Module] | nn.Module | None = None
) -> tuple[nn.Module, dict[str, str]]:
    """Rebuild the network of a checkpoint that `fit` wrote.

    Args:
        path: the file, whose name ends in .ckpt, or in .safetensors if `hub.push_to_hub` made it, or the name of a
            checkpoint that comes with the package, such as `styles`.
        network: the network's class, if it is not one of this package: no checkpoint makes code run by itself. Or a
            network of that class, into which the weights are loaded.

    Returns:
        The network, on the CPU in evaluation mode, and its metadata.

    Raises:
        UserError: the file is missing, damaged or not a checkpoint of a transfer network, or `network` doesn't fit.
    """
    path, checkpoint = open_checkpoint(path)
    try:
        record = checkpoint[RECORD]
        _check_class(path, record, network)
        built = network if isinstance(network, nn.Module) else _build(path, record, network)
        built.load_state_dict(network_state(checkpoint))
    except UserError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(
            f"{path}: not a checkpoint of a transfer network ({type(error).__name__}: {str(error).splitlines()[0]})"
        ) from None
    return built.cpu().eval(), record["metadata"]


def open_checkpoint(path: str | Path) -> tuple[Path, dict[str, Any]]:
    """Find and read a checkpoint of a network, in either form; `load_network` has the arguments and errors."""
    path, bundled = expand_path(path), _bundled()
    if not path.is_file() and not path.suffix:
        if str(path) not in bundled:
            raise UserError(f"{path}: no such checkpoint; the package comes with {', '.join(bundled)}")
        path = bundled[str(path)]
    return path, read_safetensors(path) if path.suffix.lower() == ".safetensors" else read_checkpoint(path)


def _check_class(path: Path, record: Mapping[str, Any], network: type[nn.Module] | nn.Module | None) -> None:
    """Refuse another class than a checkpoint's. Its module may have another name by now, or have been a script."""
    class_path = record.get("class_path", record["class"])
    foreign = record["class"] not in CLASSES or not class_path.startswith((f"{__package__}.", record["class"]))
    if network is None and foreign:
        problem = f"must be {class_path}, the class of the network in {path}, which is not one of this package"
        raise UserError(f"network {problem}, got none", argument="network")
    cls = network if isinstance(network, type) else type(network)
    if network is not None and cls.__name__ != record["class"]:
        problem = f"must be {class_path}, the class of the network in {path}, got {cls.__module__}.{cls.__qualname__}"
        raise UserError(f"network {problem}", argument="network")


def _build(path: Path, record: Mapping[str, Any], cls: type[nn.Module] | None) -> nn.Module:
    init_args = record["init_args"]
    if init_args is None:
        raise UserError.about(
            "network",
            f"{path} doesn't know its constructor's arguments, which {record['class']} must keep as plain values in "
            "`init_args`; build the network yourself, and give it to load_network",
        )
    return (cls or CLASSES[record["class"]])(**init_args)


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


def check_arguments(init_args: Mapping[str, Any], network: nn.Module, argument: str) -> None:
    """Refuse a network with other arguments than a checkpoint's, such as another upsampling, whose tensors fit anyway.

    Raises:
        UserError: an argument differs; the message names `argument` and the first such argument.
    """
    own = getattr(network, "init_args", {})
    for name in sorted(init_args.keys() & own.keys()):
        if init_args[name] != own[name]:
            problem = (
                f"the checkpoint holds a different network: {name} is {init_args[name]!r} there and {own[name]!r} here"
            )
            raise UserError.about(argument, problem)


def network_state(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of the network in a checkpoint, under the network's own names."""
    return {k.removeprefix(PREFIX): v for k, v in checkpoint["state_dict"].items() if k.startswith(PREFIX)}


def to_safetensors(checkpoint: Mapping[str, Any]) -> bytes:
    """The network of a checkpoint as a file in the format of safetensors, with its record as metadata in JSON."""
    state = network_state(checkpoint).items()
    separate = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in state}
    return safetensors.torch.save(separate, {"format": "pt", RECORD: json.dumps(checkpoint[RECORD])})


def read_safetensors(path: Path) -> dict[str, Any]:
    """Read a file that `to_safetensors` wrote, as a checkpoint of the network alone.

    Raises:
        UserError: the file is missing, damaged or holds something else.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint")
    try:
        with safetensors.safe_open(path, "pt") as file:
            record = json.loads((file.metadata() or {})[RECORD])
            state = {PREFIX + name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise UserError(f"{path}: damaged, or not a network of this package ({type(error).__name__})") from None
    return {RECORD: record, "state_dict": state}


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
