"""What all commands on LightningCLI share: a folder for each run, checkpoints as options, one-line errors."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_info
from torch import nn

from nst_lightning.distillation.module import Distillation
from nst_lightning.encoders import Encoder
from nst_lightning.errors import UserError, naming, prefixing, require
from nst_lightning.images import expand_path
from nst_lightning.losses import ObjectiveOptions
from nst_lightning.networks import checkpoint
from nst_lightning.training import (
    ExportOnnx,
    LastCheckpoint,
    Metadata,
    OptimizerOptions,
    PhotoDataModule,
    PictureRate,
    PictureWriter,
    SampleSheet,
    StyleTransfer,
)
from nst_lightning.training.companions import check_callbacks
from nst_lightning.training.folder import run_folder
from nst_lightning.training.resume import newest_checkpoint

PREFIXES = {
    PhotoDataModule: "data.",
    LastCheckpoint: "checkpoint.",
    SampleSheet: "sheet.",
    ExportOnnx: "export.",
    PictureWriter: "writer.",
    ObjectiveOptions: "model.objective.",
    OptimizerOptions: "model.optimizer.",
    Metadata: "model.metadata.",
    StyleTransfer: "model.",
    Distillation: "model.",
}
"""The prefixes that arguments of these classes have on the command line."""
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "32", "bf16", "16")
"""Those in which losses and Gram matrices are float32; the short forms are Lightning's names for the first three."""
SPLITS = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",), "predict": ("predict",)}
"""The photos that each command needs."""


class SaveRunConfig(SaveConfigCallback):
    """Saves the configuration of a run of `fit`, and of no other command."""

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Save the configuration in the run's folder."""
        path = run_folder(trainer) / self.config_filename
        if stage == "fit" and trainer.is_global_zero:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.parser.save(self.config, path, skip_none=False, overwrite=self.overwrite, multifile=self.multifile)


class RunCLI(LightningCLI):
    """LightningCLI with a folder for each run, checkpoints as options, and one-line errors."""

    record: str  # the entry that all checkpoints of this kind have
    encoder: str  # the model's argument that is the encoder
    resumed_at: int | None = None  # the step of the checkpoint that a `fit` resumes

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Callbacks, each with options of its own."""
        parser.add_lightning_class_args(ModelCheckpoint, "best")
        parser.add_lightning_class_args(LastCheckpoint, "checkpoint")
        parser.set_defaults(
            {
                "best.monitor": "val/loss",
                "best.filename": "best",
                "best.enable_version_counter": False,
            }
        )

    def before_instantiate_classes(self) -> None:
        """Let errors name arguments as the command line does, and check that there are photos."""
        encoder = f"model.{self.encoder}.init_args."
        prefixes = {Encoder: encoder, **PREFIXES, nn.Module: "model.network.init_args."}  # the first match counts
        for cls, prefix in prefixes.items():
            self.parser.add_instantiator(_build_with_prefix(prefix), cls)
        subcommand = str(self.subcommand)
        given = self.config[subcommand].data
        folders = {split: given[split] for split in ("train", "val", "test", "predict")}
        precision = str(self.config[subcommand].trainer.precision or "32-true")
        require("trainer.precision", precision, precision in PRECISIONS, " or ".join(PRECISIONS))
        require_examples({f"data.{split}": folder for split, folder in folders.items()})
        with prefixing("data."):
            for split in SPLITS[subcommand]:
                PhotoDataModule(**folders).photos(split)

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """Give the run a folder, to which TensorBoard and CSV loggers write unless other loggers are configured."""
        command_config = self.config_init[self.subcommand]
        if self.subcommand == "fit":
            self.check_run(command_config)
        config = command_config.trainer
        config.default_root_dir = root = str(expand_path(config.default_root_dir or "runs"))
        board = TensorBoardLogger(root, name=None)
        if self.subcommand != "fit":
            config.logger = config.logger or False
        elif config.logger in (None, True) and not config.fast_dev_run:  # fast_dev_run drops loggers
            config.logger = [board, CSVLogger(root, name=None, version=board.version)]
        else:
            config.default_root_dir = board.log_dir
        if self.subcommand == "fit":  # otherwise the first logger would choose the folder
            command_config.best.dirpath = command_config.best.dirpath or str(Path(board.log_dir, "checkpoints"))
        callbacks = config.callbacks or []
        config.callbacks = [*(callbacks if isinstance(callbacks, list) else [callbacks]), PictureRate()]
        return super().instantiate_trainer(**kwargs)

    def check_run(self, config: Any) -> None:
        """Refuse what would fail in training, before the run has a folder.

        Args:
            config: the command's configuration, with all objects built but the Trainer.
        """
        chosen = config.trainer.callbacks or []
        chosen = [*(chosen if isinstance(chosen, list) else [chosen]), config.best, config.checkpoint]
        by_steps = config.trainer.max_steps > 0 and config.trainer.max_epochs is None
        check_callbacks(chosen, by_steps=by_steps, resumes=config.ckpt_path is not None)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse arguments, and check the checkpoint before anything is built or loaded."""
        super().parse_arguments(parser, args)
        config = self.config[self.config.subcommand]
        config.weights_only = True  # checkpoints are read as plain values, never as code
        if config.ckpt_path is None:
            if self.config.subcommand != "fit" and not config.model.init_from:
                raise UserError("--ckpt_path must name a checkpoint, got none")
            return
        config.ckpt_path = str(self._find_checkpoint(config))
        with naming("--ckpt_path"):
            content = checkpoint.read_checkpoint(Path(config.ckpt_path), record=self.record)
        if "pytorch-lightning_version" not in content:
            raise UserError(f"--ckpt_path: {config.ckpt_path} was not written by Lightning")
        if self.config.subcommand == "fit" and not content.get("optimizer_states"):
            ours = self.record == checkpoint.RECORD
            from_weights = ", or start from its weights with --model.init_from" if ours else ""
            raise UserError(
                f"--ckpt_path: {config.ckpt_path} has no optimizer state to resume; use last.ckpt{from_weights}"
            )
        steps, last = content.get("global_step", 0), config.trainer.max_steps
        if self.config.subcommand == "fit" and steps >= last > 0:
            raise UserError(f"trainer.max_steps must be > {steps}, the step of {config.ckpt_path}, got {last}")
        self.resumed_at = steps

    def _find_checkpoint(self, config: Any) -> Path:
        """The checkpoint that `--ckpt_path` means, which may be `last` or `best` of the newest run that has one."""
        name, root = config.ckpt_path, expand_path(config.trainer.default_root_dir or "runs")
        if name in ("last", "best"):
            found = newest_checkpoint(root, f"{name}.ckpt")
            if found is None:
                raise UserError(f"--ckpt_path {name}: no run in {root} has checkpoints/{name}.ckpt")
            rank_zero_info(f"--ckpt_path {name} is {found}")
            return found
        if name == "hpc" or str(name).startswith("registry"):
            raise UserError(f"--ckpt_path must be a file, last or best, got {name}, which is read from elsewhere")
        return expand_path(name)

    def after_fit(self) -> None:
        """Refuse a run that had ended before it was resumed, by its steps, epochs or time.

        Raises:
            UserError: no step was trained.
        """
        if self.trainer.global_step == self.resumed_at:
            raise UserError(
                f"--ckpt_path: {self.config.fit.ckpt_path} is at the end of its run; to continue it, increase "
                "trainer.max_steps, trainer.max_epochs or trainer.max_time"
            )


def _build_with_prefix(prefix: str) -> Callable[..., Any]:
    """An instantiator for jsonargparse that adds a prefix to the arguments that errors name."""

    def instantiate(cls: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        with prefixing(prefix):
            built = cls(*args, **kwargs)
        if isinstance(built, nn.Module):
            checkpoint.remember_arguments(built, kwargs)
        return built

    return instantiate


def require_examples(paths: Mapping[str, str | None]) -> None:
    """Refuse example pictures that are missing.

    Raises:
        UserError: a path in `examples` doesn't exist; the message says how to write it.
    """
    for argument, path in paths.items():
        if path and Path(path).parts[0] == "examples" and not Path(path).exists():
            raise UserError(f"{argument}: {path} is missing; `python -m nst_lightning examples` writes it")
