"""The folder of a `fit`: a new one for each run, or the run's own if a cluster has started its job again."""

import contextlib
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import lightning as L
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from nst_lightning.errors import UserError
from nst_lightning.images import expand_path
from nst_lightning.networks.checkpoint import read_checkpoint
from nst_lightning.training.folder import claim_version

FileLogger = TensorBoardLogger | CSVLogger
"""The loggers that write to a folder `version_N`."""
_JOB = "slurm_job"
"""Name of the file in a run's folder that says which SLURM job, and which request of it, the run is."""


@dataclass(frozen=True)
class Job:
    """A part of a SLURM job, which SLURM may start again: by itself, or because Lightning requeues the job.

    Args:
        name: the job and its step, with a fingerprint of the request, since one job may train several networks.
        restarted: whether SLURM has started the job before.
    """

    name: str
    restarted: bool

    @classmethod
    def find(cls, request: Callable[[], str]) -> "Job | None":
        """The job of this process, if there is one.

        Args:
            request: function that returns all arguments of the run.
        """
        if "SLURM_JOB_ID" not in os.environ:
            return None
        part = ".".join(os.environ.get(f"SLURM_{name}_ID", "") for name in ("JOB", "STEP"))
        fingerprint = hashlib.sha256(request().encode()).hexdigest()
        return cls(f"{part} {fingerprint}", int(os.environ.get("SLURM_RESTART_COUNT") or 0) > 0)

    def find_checkpoint(self, root: Path, *, record: str, max_steps: int) -> tuple[Path, Path, int] | None:
        """What an earlier start of this job has left: its folder, its newest readable checkpoint, and the step of that.

        Args:
            root: the folder of all runs.
            record: the entry that checkpoints of this kind have.
            max_steps: the step at which the run ends, where there is nothing left to do; -1 if something else ends it.
        """
        for folder in (path.parent for path in root.glob(f"version_*/{_JOB}") if self._owns(path)):
            found = [*folder.glob("hpc_ckpt_*.ckpt"), *folder.glob("checkpoints/last.ckpt")]
            for path in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True):
                with contextlib.suppress(UserError):  # the job may have been killed while it wrote the newest one
                    step = read_checkpoint(path, record=record).get("global_step", 0)
                    return (folder, path, step) if max_steps < 0 or step < max_steps else None
        return None

    def _owns(self, path: Path) -> bool:
        return self.restarted and path.read_text(encoding="utf-8") == self.name

    def sign(self, folder: Path) -> None:
        """Note in a run's folder that the run is this job's."""
        (folder / _JOB).write_text(self.name, encoding="utf-8")


def enter_folder(trainer: L.Trainer, root: Path, *, number: int | None) -> tuple[Path, bool]:
    """Let a run write to a folder `version_N` that no other run has. Called by one process for all.

    Args:
        trainer: the trainer, whose TensorBoard and CSV loggers get the folder, or one of their own elsewhere.
        root: the folder of all runs, see `root_of`.
        number: N of a folder that the run had already; None to create a new folder.

    Returns:
        The folder, and whether it is new. It need not be if the user named the version of a logger.

    Raises:
        OSError: nothing can be written there.
        UserError: the folder that the user named has the checkpoint of a SLURM job, which Lightning would resume.
    """
    first = trainer.logger
    named = isinstance(first, FileLogger) and first._version is not None
    new = number is None and not named
    if new:
        number = claim_version(root)
    for logger in trainer.loggers:
        if isinstance(logger, FileLogger) and logger._version is None:
            inside = number is not None and expand_path(logger.root_dir) == root
            logger._version = number if inside else claim_version(expand_path(logger.root_dir))
    folder = Path(first.log_dir) if isinstance(first, FileLogger) else root / f"version_{number}"
    folder.mkdir(parents=True, exist_ok=True)
    if named and (stale := next(folder.glob("hpc_ckpt_*"), None)):
        raise UserError(f"trainer.logger: its folder has {stale} of an earlier job; name another version, or remove it")
    move_root(trainer, folder)
    return folder, new


def claim_logs(trainer: L.Trainer) -> None:
    """Give TensorBoard and CSV loggers, where no version was named, folders of their own."""
    for logger in trainer.loggers:
        if isinstance(logger, FileLogger) and logger._version is None:
            logger._version = claim_version(expand_path(logger.root_dir))  # Lightning would look, but not create it


def root_of(trainer: L.Trainer) -> Path:
    """The folder in which a run's folder is created."""
    if isinstance(trainer.logger, FileLogger):
        return expand_path(trainer.logger.root_dir)
    return Path(trainer.default_root_dir)


def move_root(trainer: L.Trainer, folder: Path) -> None:
    """Change where Lightning keeps the checkpoints of SLURM jobs, and takes them from without being asked to."""
    vars(trainer)["_default_root_dir"] = str(folder)  # Trainer can be told only before the folder is known


def set_aside_metrics(folder: Path) -> None:
    """Keep the metrics of a run's earlier start, which CSVLogger would delete."""
    metrics = folder / "metrics.csv"
    if metrics.exists():
        number = len([*folder.glob("metrics-*.csv")])
        metrics.replace(folder / f"metrics-{number}.csv")


def give_back(folder: Path, *, parent: bool) -> None:
    """Remove a new folder in which nothing was trained, unless there is something unknown in it.

    Args:
        folder: the folder.
        parent: whether to remove the folder around it as well, if nothing else is in it.
    """
    patterns = ("config.yaml", "hparams.yaml", "metrics.csv", "events.out.tfevents.*", "*.onnx", "*.safetensors", _JOB)
    with contextlib.suppress(OSError):
        for path in (path for pattern in patterns for path in folder.glob(pattern)):
            path.unlink()
        folder.rmdir()
        if parent:
            folder.parent.rmdir()
