"""The commands `fit`, `validate`, `test`, `predict` and `distill`, based on LightningCLI."""

import json
import os
import re
import sys
import warnings
from argparse import ArgumentError
from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from nst_lightning.commands.arguments import TYPED, explain
from nst_lightning.commands.network_class import search_here
from nst_lightning.commands.slurm import run_as_one_process
from nst_lightning.commands.training_messages import silence
from nst_lightning.commands.training_run import RunCLI, SaveRunConfig, require_examples
from nst_lightning.distillation.module import RECORD, Distillation
from nst_lightning.errors import Notice, SignalExit, UserError, WorkError, naming, prefixing
from nst_lightning.images import expand_path
from nst_lightning.networks import checkpoint, styles_of
from nst_lightning.system import keep_freed_memory, shell_line
from nst_lightning.training import ExportOnnx, PhotoDataModule, PictureWriter, SampleSheet, build_style_transfer
from nst_lightning.training.folder import run_folder
from nst_lightning.training.start import start_paths

COMMANDS = ("fit", "validate", "test", "predict")
PREFIXES_AT_WORK = {"train": "data.", "val": "data.", "photos": "sheet.", "output": "writer."}
"""The prefixes of arguments that callbacks check only when the work begins."""


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
        require_examples({"model.style": model.style} | {f"model.styles ({file})": file for file in files})
        super().before_instantiate_classes()

    def check_run(self, config: Any) -> None:
        """Try the network, too, at the sizes of the run, and its export."""
        super().check_run(config)
        validates = config.trainer.limit_val_batches != 0
        is_first = int(os.environ.get("LOCAL_RANK", 0)) == 0  # other processes are started after this one's trial
        with prefixing("model."):
            self.model.try_network(trains=True, validates=validates, surroundings=config.data.surroundings)
            if is_first:
                config.export.try_export(self.model.network)
        if checkpoint.network_record(self.model.network, {})["init_args"] is None:
            name = type(self.model.network).__name__
            warnings.warn(
                f"model.network: an argument of {name} is no plain value, so that `export` can't rebuild the network "
                "from a checkpoint; the ONNX file at the end of the run is not affected",
                Notice,
                stacklevel=1,
            )

    def after_fit(self) -> None:
        """Report the files of the run, and how to use them."""
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

    def after_predict(self) -> None:
        """Fail after the work if photos were left out, as `stylize` does.

        Raises:
            WorkError: a photo could not be read.
        """
        writer = self._get(self.config_init, "writer")
        if writer.failed and self.trainer.is_global_zero:
            raise WorkError(f"{writer.failed} of {writer.total} photos could not be stylized, see above")


class DistillationCLI(RunCLI):
    """The command `distill`: `fit` of LightningCLI, under another name."""

    record = RECORD
    encoder = "teacher"
    command = "distill"

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Offer only `fit`."""
        return {"fit": LightningCLI.subcommands()["fit"]}

    def check_run(self, config: Any) -> None:
        """Try the teacher, too, at the size of the run."""
        super().check_run(config)
        with prefixing("model."):
            self.model.try_teacher(config.data.short_side)


def main(command: str, arguments: list[str]) -> None:
    """Run one of `COMMANDS`, or `distill`.

    Args:
        command: name of the command.
        arguments: the arguments that follow the name on the command line.
    """
    arguments = _expand_recipes(arguments)
    if command == "distill":
        usage = "python -m nst_lightning distill --config FILE [--data.train PHOTOS] [--ckpt_path LAST.CKPT] ..."
        _run(DistillationCLI, Distillation, ["fit", *arguments], {"fit": usage})
    else:
        usage = "python -m nst_lightning {} --config FILE [--model.style PAINTING] [--data.train PHOTOS] ..."
        usages = {name: usage.format(name) for name in COMMANDS}
        _run(StyleTransferCLI, build_style_transfer, [command, *_join_styles(arguments)], usages)


def _expand_recipes(arguments: list[str]) -> list[str]:
    """Expand `~` and `$VARIABLES` in the paths of recipes."""
    expanded: list[str] = []
    for argument, before in zip(arguments, ["", *arguments]):
        option, equals, value = argument.partition("=")
        with naming("--config"):
            if before in ("-c", "--config"):
                argument = str(expand_path(argument))
            elif option == "--config" and equals:
                argument = f"--config={expand_path(value)}"
        expanded.append(argument)
    return expanded


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


def _run(
    cli: type[RunCLI], module: Callable[..., L.LightningModule], arguments: list[str], usages: dict[str, str]
) -> None:
    keep_freed_memory()
    run_as_one_process()
    search_here()
    silence()
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False  # Gram matrices are sums over a picture
    common = {"exit_on_error": False, "allow_abbrev": False, "parser_mode": TYPED}
    options = {name: {"usage": usage, **common} for name, usage in usages.items()}
    try:
        cli(
            module,
            PhotoDataModule,
            save_config_callback=SaveRunConfig,
            save_config_kwargs={"overwrite": True},
            seed_everything_default=0,
            parser_kwargs={**common, **options},
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            args=arguments,
        )
    except UserError as error:
        raise error.prefixed(PREFIXES_AT_WORK.get(error.argument or "", "")) from error
    except (ArgumentError, MisconfigurationException) as error:
        raise UserError(_explain(str(error))) from error
    except ValueError as error:
        if not isinstance(error.__cause__, UserError):  # jsonargparse wraps errors of arguments that may be null
            raise
        raise error.__cause__ from error
    except ModuleNotFoundError as error:  # of an accelerator, say
        if (error.name or "").startswith("nst_lightning"):
            raise
        raise UserError(str(error)) from error
    except SignalExit:
        _leave_process_group()
        raise
    _leave_process_group()


def _explain(text: str) -> str:
    """What jsonargparse says of an encoder that may be null, without what it says of null; other texts by `explain`."""
    pattern = (
        r"""Parser key "([\w.]+)": .*base\.Encoder'>, <class 'NoneType'>\] Errors: - (.*) - Expected a <class 'None"""
    )
    found = re.search(pattern, " ".join(text.split()))
    if not found:
        return explain(text)
    argument, problem = found.groups()
    if class_name := problem.partition("Expected a dot import path string: ")[2]:
        return f"{argument} must be the class of an encoder, such as VGG19, or null, got {class_name}"
    if option := problem.partition("encoders.Encoder': ")[2]:  # the class stands for null here
        return f"{argument} is null: {option}; give the class first, as in --{argument} VGG19"
    return f"{argument}: {problem}"


def _leave_process_group() -> None:
    """End gloo's threads, which can abort the interpreter if they are alive when it ends (pytorch issue 190489)."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
