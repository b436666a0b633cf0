"""What all commands on LightningCLI share: a folder for each run, checkpoints as options, one-line errors."""

import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint, ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_info
from torch import nn

from nst_lightning.commands.training_folder import (
    Job,
    claim_logs,
    enter_folder,
    give_back,
    move_root,
    root_of,
    set_aside_metrics,
)
from nst_lightning.commands.training_progress import ProgressLines
from nst_lightning.distillation import Distillation, Student
from nst_lightning.encoders import Encoder
from nst_lightning.errors import SignalExit, UserError, naming, prefixing, require
from nst_lightning.images import expand_path
from nst_lightning.losses import ObjectiveOptions
from nst_lightning.networks import checkpoint
from nst_lightning.system import exit_code
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
    Student: "model.student.init_args.",
    Distillation: "model.",
}
"""The prefixes that arguments of these classes have on the command line."""
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "32", "bf16", "16")
"""Those in which losses and Gram matrices are float32; the short forms are Lightning's names for the first three."""
SPLITS = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",), "predict": ("predict",)}
"""The photos that each command needs."""
LIMITS: dict[str, tuple[float | None, str]] = {
    "limit_train_batches": (None, "batches of an epoch of training"),
    "limit_val_batches": (None, "batches of validation"),
    "limit_test_batches": (None, "batches of `test`"),
    "limit_predict_batches": (None, "batches of `predict`"),
    "overfit_batches": (0.0, "batches to train on again and again, and to validate on"),
}
"""Arguments of the trainer, with defaults and meanings."""
_LIMIT = "a number such as 1, or with a decimal point a share such as 1.0"


class SaveRunConfig(SaveConfigCallback):
    """Saves the configuration of a run of `fit`, and of no other command."""

    FILENAME = "config.yaml"

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Save the configuration in the run's folder."""
        path = run_folder(trainer) / self.FILENAME
        if stage == "fit" and trainer.is_global_zero:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.parser.save(self.config, path, skip_none=False, overwrite=self.overwrite, multifile=self.multifile)


class RunCLI(LightningCLI):
    """LightningCLI with a folder for each run, checkpoints as options, and one-line errors."""

    record: str  # the entry that all checkpoints of this kind have
    encoder: str  # the model's argument that is the encoder
    command = "fit"  # the command that trains
    job: Job | None = None  # the SLURM job of a `fit`
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
                "trainer.num_sanity_val_steps": 1,  # one photo shows whether validation works; a second only takes time
                "trainer.enable_model_summary": False,  # sizes of losses and metrics, which are not the network's
            }
        )

    def before_instantiate_classes(self) -> None:
        """Let errors name arguments as the command line does, and check that there are photos."""
        self.parser.add_instantiator(self._build_encoder, Encoder)
        for cls, prefix in {**PREFIXES, nn.Module: "model.network.init_args."}.items():  # the first match counts
            self.parser.add_instantiator(_build_with_prefix(prefix), cls)
        subcommand = str(self.subcommand)
        given = self.config[subcommand].data
        folders = {split: given[split] for split in ("train", "val", "test", "predict")}
        steps = self.config[subcommand].trainer.max_steps
        require("trainer.max_steps", steps, steps != 0, "> 0, or -1 for no limit")
        precision = str(self.config[subcommand].trainer.precision or "32-true")
        require("trainer.precision", precision, precision in PRECISIONS, " or ".join(PRECISIONS))
        require_examples({f"data.{split}": folder for split, folder in folders.items()})
        with prefixing("data."):
            for split in SPLITS[subcommand]:
                PhotoDataModule(**folders).photos(split)

    def _build_encoder(self, cls: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """An instantiator for jsonargparse, which does not tell whether it builds the judge or another encoder."""
        judge = self.config[str(self.subcommand)].model.get("judge")
        given = judge.as_dict().get("init_args", {}) if judge else {}  # a class without arguments has none
        same = judge and judge.class_path.split(".")[-1] == cls.__name__ and given == kwargs
        argument = "model.judge" if same else f"model.{self.encoder}"
        with naming(argument):
            return _build_with_prefix(f"{argument}.init_args.")(cls, *args, **kwargs)

    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The arguments of trainer, model and data. A limit of 1 is one batch; its annotation would make it a share."""
        parser.add_class_arguments(
            L.Trainer, "trainer", fail_untyped=False, instantiate=False, sub_configs=True, skip=set(LIMITS)
        )
        for name, (default, meaning) in LIMITS.items():
            either: Any = int | float | None  # a whole number stays one
            parser.add_argument(f"--trainer.{name}", type=either, default=default, help=f"{meaning}: {_LIMIT}")
        parser.add_lightning_class_args(self._model_class, "model")
        parser.add_lightning_class_args(self._datamodule_class, "data")

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """A trainer without a folder, which a run of `fit` gets when everything has been checked."""
        if self.subcommand == "fit":
            self.check_run(self.config_init.fit)
        config = self.config_init[self.subcommand].trainer
        with naming("trainer.default_root_dir"):
            given = "runs" if config.default_root_dir is None else config.default_root_dir
            config.default_root_dir = root = str(expand_path(given))
        if self.subcommand != "fit":
            config.logger = config.logger or False
        elif config.logger in (None, True):  # CSV first: it warns of a folder that has files
            config.logger = [CSVLogger(root, name=""), TensorBoardLogger(root, name="")]
        callbacks = config.callbacks or []
        config.callbacks = [*(callbacks if isinstance(callbacks, list) else [callbacks]), PictureRate()]
        shown = config.enable_progress_bar is not False and not sys.stdout.isatty()
        if shown and not any(isinstance(callback, ProgressBar) for callback in config.callbacks):
            config.callbacks.append(ProgressLines())
        trainer = super().instantiate_trainer(**kwargs)
        self.root = root_of(trainer)
        move_root(trainer, self.root / "version_none")  # where there is no checkpoint of another run
        return trainer

    def fit(self, **arguments: Any) -> None:
        """Train in a folder of the run's own, which is removed if the run is refused.

        Args:
            arguments: arguments of `Trainer.fit`.

        Raises:
            UserError: the run had ended before it was resumed.
            SignalExit: a signal ended the run.
        """
        trainer, new_root = self.trainer, not self.root.exists()
        earlier = self.find_earlier()
        if earlier is not None:
            _, arguments["ckpt_path"], self.resumed_at = earlier
            rank_zero_info(f"SLURM has started this job again: it goes on from {arguments['ckpt_path']}")
        new = self._enter_folder(earlier) if trainer.is_global_zero else None
        last = self._get(self.config_init, "checkpoint")
        try:
            trainer.fit(**arguments)
            if earlier is None:
                self._refuse_ended_run()
        except BaseException as error:
            if new is not None and trainer.global_step <= (self.resumed_at or 0):
                give_back(new, parent=new_root)
            if last.received and isinstance(error, Exception):  # such as that of a worker process, which ended first
                raise SignalExit(exit_code(last.received)) from error
            raise

    def find_earlier(self) -> tuple[Path, Path, int] | None:
        """The folder, checkpoint and step of this run, if SLURM has started its job again."""
        if self.job is None:
            return None
        return self.job.find_checkpoint(self.root, record=self.record, max_steps=self.trainer.max_steps)

    def _enter_folder(self, earlier: tuple[Path, Path, int] | None) -> Path | None:
        """Claim the run's folder, and let everything be written there. Returns the folder if it is new."""
        config = self.config_init.fit
        if earlier is not None:
            set_aside_metrics(earlier[0])
        number = None if earlier is None else int(earlier[0].name.removeprefix("version_"))
        folder, new = enter_folder(self.trainer, self.root, number=number)
        if self.job is not None:
            self.job.sign(folder)
            warnings.filterwarnings("ignore", ".*Experiment logs directory .* exists and is not empty.*")
        config.best.dirpath = config.best.dirpath or str(folder / "checkpoints")
        if not config.trainer.fast_dev_run:
            words = [sys.executable, "-m", "nst_lightning", self.command, "--config"]
            config.checkpoint.command = [*words, str(folder / SaveRunConfig.FILENAME)]
        return folder if new else None

    def before_validate(self) -> None:
        """Give loggers, if there are any, a folder of their own."""
        if self.trainer.is_global_zero:
            claim_logs(self.trainer)

    before_test = before_predict = before_validate

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
        if self.config.subcommand == "fit":
            self.job = Job.find(lambda: parser.dump(self.config, skip_none=False))
        config.weights_only = True  # checkpoints are read as plain values, never as code
        if config.ckpt_path is None:
            if self.config.subcommand != "fit" and not config.model.init_from:
                raise UserError("--ckpt_path must name a checkpoint, got none")
            return
        with naming("--ckpt_path"):
            config.ckpt_path = str(self._find_checkpoint(config))
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

    def _refuse_ended_run(self) -> None:
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
