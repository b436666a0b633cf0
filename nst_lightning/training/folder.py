"""The folder of a run's files, which no other run has."""

from pathlib import Path
from typing import cast

import lightning as L
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger


def run_folder(trainer: L.Trainer) -> Path:
    """The folder of a run's files. All processes must call this together, since Lightning synchronizes the folder."""
    if isinstance(trainer.logger, TensorBoardLogger | CSVLogger):
        return Path(cast(str, trainer.log_dir))
    return Path(trainer.strategy.broadcast(trainer.default_root_dir))  # other loggers share one folder between runs


def claim_version(root: Path) -> int:
    """Create the next folder `version_N`; of runs that start together, each gets its own.

    Args:
        root: the folder to create it in, which is created if it is missing.

    Returns:
        The number N.

    Raises:
        OSError: nothing can be written there.
    """
    root.mkdir(parents=True, exist_ok=True)
    taken = [int(path.name[8:]) for path in root.glob("version_*") if path.name[8:].isdecimal()]
    number = max(taken, default=-1) + 1
    while True:
        try:
            (root / f"version_{number}").mkdir()  # fails if another process was faster
        except FileExistsError:
            number += 1
        else:
            return number
