"""Which of Lightning's messages are for the users of the commands."""

import logging
import warnings

from lightning.pytorch.utilities import rank_zero_only

from nst_lightning.errors import Notice

_WARNINGS = (
    ".*dataloader is not resumable.*",  # the data module resumes by itself
    ".*in eval mode at the start of training.*",  # encoders stay frozen
    ".*LeafSpec.*",  # not caused by this package
    ".*args parameter is intended.*",  # the command's own name is not LightningCLI's
    ".*dirpath has changed.*",  # each run keeps its own best checkpoint, and other commands none
    ".*does not have many workers.*",  # recipes choose them, for machines on which training itself needs the cores
    ".*smaller than the logging interval.*",  # of a short run, whose losses progress lines and files have anyway
    ".*predict returned None.*",  # for a photo that could not be read, which the data module warns of
    ".*Checkpoint directory .* exists and is not empty.*",  # of a job that SLURM has started again
)
_INFORMATION = (
    "Tip:",
    "Seed set to",
    "TPU available",
    "Tensor Cores",
    "was configured so",  # how Lightning understood a limit, which the user gave
    "Detected KeyboardInterrupt",
    "Received SIGTERM",
)
_LOGGERS = (
    "pytorch.utilities.rank_zero",
    "fabric.utilities.rank_zero",
    "fabric.utilities.seed",
    "pytorch.trainer.connectors.signal_connector",
)


def silence() -> None:
    """Leave out messages about Lightning itself, and about what this package takes care of."""
    for message in _WARNINGS:
        warnings.filterwarnings("ignore", message=message)
    if getattr(rank_zero_only, "rank", 0):
        warnings.simplefilter("ignore", Notice)  # the first process says the same
    for module in _LOGGERS:
        logging.getLogger(f"lightning.{module}").addFilter(_is_for_users)


def _is_for_users(record: logging.LogRecord) -> bool:
    return not any(words in str(record.msg) for words in _INFORMATION)
