"""The folder of a run's files."""

from pathlib import Path
from typing import cast

import lightning as L
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger


def run_folder(trainer: L.Trainer) -> Path:
    """The folder of a run's files. All processes must call this together, since Lightning synchronizes the folder."""
    if isinstance(trainer.logger, TensorBoardLogger | CSVLogger):
        return Path(cast(str, trainer.log_dir))
    return Path(trainer.strategy.broadcast(trainer.default_root_dir))  # other loggers share one folder between runs
