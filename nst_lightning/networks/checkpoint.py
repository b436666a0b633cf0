"""Checkpoints name the network they hold, so that it can be rebuilt without the configuration it was trained with."""

from pathlib import Path

import torch
from torch import nn

from nst_lightning.networks.johnson import JohnsonNet

RECORD = "transfer_network"
PREFIX = "network."
CLASSES = {cls.__name__: cls for cls in (JohnsonNet,)}
"""The networks that a checkpoint may name: no other code is reached from a file."""


def network_record(network: nn.Module, metadata: dict[str, str]) -> dict:
    """What a checkpoint says of its network, in plain values: class, constructor arguments and metadata."""
    return {"class": type(network).__name__, "init_args": dict(network.init_args), "metadata": dict(metadata)}


def load_network(path: str | Path) -> tuple[nn.Module, dict[str, str]]:
    """Rebuild the network of a checkpoint that `fit` wrote.

    Returns:
        The network, on the CPU in evaluation mode, and its metadata.

    Raises:
        ValueError: the file is missing, damaged or no such checkpoint.
    """
    path = Path(path)
    checkpoint = read_checkpoint(path)
    try:
        record = checkpoint[RECORD]
        network = CLASSES[record["class"]](**record["init_args"])
        state = {k.removeprefix(PREFIX): v for k, v in checkpoint["state_dict"].items() if k.startswith(PREFIX)}
        network.load_state_dict(state)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{path}: not a checkpoint of a transfer network ({type(error).__name__}: {str(error).splitlines()[0]})"
        ) from None
    return network.eval(), record["metadata"]


def read_checkpoint(path: Path) -> dict:
    """The contents of a checkpoint that `fit` wrote, plain values and tensors only.

    Raises:
        ValueError: the file is missing, damaged or no such checkpoint.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such checkpoint")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for truncated, foreign and unsafe files
        reason = str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__
        raise ValueError(f"{path}: damaged, or no checkpoint ({reason})") from None
    if not isinstance(checkpoint, dict) or RECORD not in checkpoint:
        raise ValueError(f"{path}: a checkpoint, but not of a transfer network of this package")
    return checkpoint
