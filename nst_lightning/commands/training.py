"""The commands `fit`, `validate`, `test`, `predict` and `distill`, based on LightningCLI."""

import json
import logging
import sys
import warnings
from argparse import ArgumentError
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import nn

from nst_lightning.distillation.module import RECORD, Distillation
from nst_lightning.encoders import Encoder
from nst_lightning.errors import UserError, naming, prefixing, require
from nst_lightning.images import expand_path
from nst_lightning.losses import ObjectiveOptions
from nst_lightning.networks import checkpoint, styles_of
from nst_lightning.system import keep_freed_memory, shell_line
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
    build_style_transfer,
)
from nst_lightning.training.callbacks import run_folder
from nst_lightning.training.start import start_paths

COMMANDS = ("fit", "validate", "test", "predict")
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
PREFIXES_AT_WORK = {"photos": "sheet.", "output": "writer."}
"""The prefixes of arguments that callbacks check only when the work begins."""
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
        _require_examples({f"data.{split}": folder for split, folder in folders.items()})
        with prefixing("data."):
            for split in SPLITS[subcommand]:
                PhotoDataModule(**folders).photos(split)

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """Give the run a folder, to which TensorBoard and CSV loggers write unless other loggers are configured."""
        command_config = self.config_init[self.subcommand]
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

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse arguments, and check the checkpoint before anything is built or loaded."""
        super().parse_arguments(parser, args)
        config = self.config[self.config.subcommand]
        config.weights_only = True  # checkpoints are read as plain values, never as code
        if config.ckpt_path is None:
            if self.config.subcommand != "fit" and not config.model.init_from:
                raise UserError("--ckpt_path must name a checkpoint, got none")
            return
        config.ckpt_path = str(expand_path(config.ckpt_path))
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


class StyleTransferCLI(RunCLI):
    """The commands of `COMMANDS`: training a transfer network, and using its checkpoints."""

    record = checkpoint.RECORD
    encoder = "encoder"

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """The methods of the Trainer to offer, with their arguments that the command line doesn't set."""
        offered = LightningCLI.subcommands()
        return {name: offered[name] for name in COMMANDS}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Callbacks, each with options of its own."""
        super().add_arguments_to_parser(parser)
        parser.link_arguments("data.short_side", "model.short_side")
        parser.add_lightning_class_args(SampleSheet, "sheet")
        parser.add_lightning_class_args(ExportOnnx, "export")
        parser.add_lightning_class_args(PictureWriter, "writer")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse arguments, and adapt those that a checkpoint replaces, such as an `init_from` that no longer exists."""
        super().parse_arguments(parser, args)
        config = self.config[self.config.subcommand]
        if config.ckpt_path is None:
            return
        if self.config.subcommand != "fit":
            config.model.init_from, config.model.freeze_shared, config.model.metadata.credits = None, False, None
        elif any(start.suffix and not start.is_file() for start in start_paths(config.model.init_from)):
            config.model.init_from = config.ckpt_path  # a path without suffix is the name of a bundled one

    def before_instantiate_classes(self) -> None:
        """Check that the example pictures that the run needs exist."""
        model = self.config[self.subcommand].model
        styles = model.styles or {}
        files = styles if isinstance(styles, list) else list(styles.values())
        _require_examples({"model.style": model.style} | {f"model.styles ({file})": file for file in files})
        super().before_instantiate_classes()

    def after_fit(self) -> None:
        """Report the files of the run, and how to use them."""
        super().after_fit()
        folder = run_folder(self.trainer)
        files = {
            "sheet": max((folder / "sheets").glob("*.png"), default=None),
            "checkpoint": folder / "checkpoints" / "last.ckpt",
            "ONNX file": folder / self.config.fit.export.filename if self.config.fit.export.filename else None,
        }
        files = {name: path for name, path in files.items() if path is not None and path.is_file()}
        lines = [f"  {name:12}{path}" for name, path in files.items()]
        if "ONNX file" in files:
            words = [sys.executable, "-m", "nst_lightning", "stylize", "photo.jpg"]
            words += ["--model", str(files["ONNX file"]), "--output", "out/"]
            if styles_of(self.model.network):
                words += ["--style", [*self.model.paintings][-1]]
            lines += ["Stylize a photo of your own:", f"  {shell_line(words)}"]
        rank_zero_info("\n".join(["Trained:", *lines]))


class DistillationCLI(RunCLI):
    """The command `distill`: `fit` of LightningCLI, under another name."""

    record = RECORD
    encoder = "teacher"

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Offer only `fit`."""
        return {"fit": LightningCLI.subcommands()["fit"]}


def main(command: str, arguments: list[str]) -> None:
    """Run one of `COMMANDS`, or `distill`.

    Args:
        command: name of the command.
        arguments: the arguments that follow the name on the command line.
    """
    if command == "distill":
        usage = "python -m nst_lightning distill --config FILE [--data.train PHOTOS] [--ckpt_path LAST.CKPT] ..."
        _run(DistillationCLI, Distillation, ["fit", *arguments], {"fit": usage})
    else:
        usage = "python -m nst_lightning {} --config FILE [--model.style PAINTING] [--data.train PHOTOS] ..."
        usages = {name: usage.format(name) for name in COMMANDS}
        _run(StyleTransferCLI, build_style_transfer, [command, *_join_styles(arguments)], usages)


def _join_styles(arguments: list[str]) -> list[str]:
    """Write `--model.styles a.jpg b.jpg` as the parser expects it: `--model.styles '["a.jpg", "b.jpg"]'`."""
    name, files, others, place, is_style = "--model.styles", [], [], 0, False
    for argument in arguments:
        option, equals, value = argument.partition("=")
        if argument.startswith("-"):
            is_style = option == name
        if not is_style:
            others.append(argument)
        elif option != name:
            files.append(argument)
        else:
            place = place if files else len(others)
            files += [value] if equals else []
    if not files or any(file.startswith(("[", "{")) or file == "null" for file in files):
        return arguments
    return [*others[:place], name, json.dumps(files), *others[place:]]


def _build_with_prefix(prefix: str) -> Callable[..., Any]:
    """An instantiator for jsonargparse that adds a prefix to the arguments that errors name."""

    def instantiate(cls: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        with prefixing(prefix):
            return cls(*args, **kwargs)

    return instantiate


def _require_examples(paths: Mapping[str, str | None]) -> None:
    """Refuse example pictures that are missing.

    Raises:
        UserError: a path in `examples` doesn't exist; the message says how to write it.
    """
    for argument, path in paths.items():
        if path and Path(path).parts[0] == "examples" and not Path(path).exists():
            raise UserError(f"{argument}: {path} is missing; `python -m nst_lightning examples` writes it")


def _run(
    cli: type[RunCLI], module: Callable[..., L.LightningModule], arguments: list[str], usages: dict[str, str]
) -> None:
    keep_freed_memory()
    for message in (
        ".*dataloader is not resumable.*",  # the data module resumes by itself
        ".*in eval mode at the start of training.*",  # encoders stay frozen
        ".*LeafSpec.*",  # not caused by this package
        ".*args parameter is intended.*",  # the command's own name is not LightningCLI's
    ):
        warnings.filterwarnings("ignore", message=message)
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(lambda record: "Tip:" not in record.msg)
    options = {name: {"usage": usage, "exit_on_error": False, "allow_abbrev": False} for name, usage in usages.items()}
    try:
        cli(
            module,
            PhotoDataModule,
            save_config_callback=SaveRunConfig,
            save_config_kwargs={"overwrite": True},
            seed_everything_default=0,
            parser_kwargs={"exit_on_error": False, "allow_abbrev": False, **options},
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            args=arguments,
        )
    except UserError as error:
        raise error.prefixed(PREFIXES_AT_WORK.get(error.argument or "", "")) from error
    except (ArgumentError, MisconfigurationException) as error:
        raise UserError(str(error)) from error
    except ModuleNotFoundError as error:  # of an accelerator, say
        if (error.name or "").startswith("nst_lightning"):
            raise
        raise UserError(str(error)) from error
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        # gloo's threads, alive when the interpreter ends, can abort it (pytorch issue 190489)
        torch.distributed.destroy_process_group()
