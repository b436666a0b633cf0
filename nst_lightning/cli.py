"""The command line: one dispatch table. Nothing heavy is imported before a command is known."""

import importlib
import os
import sys
from argparse import ArgumentError
from collections.abc import Callable
from dataclasses import dataclass, field
from io import TextIOWrapper
from itertools import zip_longest

from nst_lightning import __version__
from nst_lightning.spelling import meant


@dataclass(frozen=True)
class Command:
    """A command.

    Args:
        target: where its function is.
        summary: a line about it.
        positional: its positional arguments with their nargs.
        repeatable: options that add a value each time they are given.
        flags: options that mean `true` when no value follows.
    """

    target: str
    summary: str
    positional: dict[str, str | None] = field(default_factory=dict)
    repeatable: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


TRAINING = "nst_lightning.training.cli:main"
COMMANDS = {
    "fit": Command(TRAINING, "train a transfer network on a folder of photos and a painting"),
    "validate": Command(TRAINING, "losses and quality figures of a checkpoint on held-out photos"),
    "test": Command(TRAINING, "the same on test photos, beside the figures of the photos themselves"),
    "predict": Command(TRAINING, "stylize a folder of photos with a checkpoint"),
    "distill": Command(TRAINING, "train a compact encoder to see as VGG-19 does"),
    "export": Command(
        "nst_lightning.export.onnx:export",
        "write a checkpoint as ONNX file",
        {"checkpoint": None},
        repeatable=("styles",),
        flags=("half",),
    ),
    "stylize": Command(
        "nst_lightning.inference.stylize:stylize",
        "stylize photos with an ONNX file",
        {"photos": "+"},
        repeatable=("style",),
    ),
    "styles": Command(
        "nst_lightning.inference.styles:styles", "the styles of a network of many, and photos in each", {"photos": "*"}
    ),
    "optimize": Command(
        "nst_lightning.optimization.command:optimize",
        "paint one photo in the style of a painting, slowly and well",
        {"photo": None},
        repeatable=("style", "style_share", "mask"),
        flags=("resume", "geometric_weights", "correlation_chain", "blur"),
    ),
    "explain": Command(
        "nst_lightning.optimization.explain:explain",
        "what each layer keeps of content and style, as a sheet",
        {"photo": None},
    ),
    "gallery": Command(
        "nst_lightning.optimization.gallery:gallery",
        "one photo optimized in every way, as a sheet",
        {"photo": None},
        repeatable=("style",),
    ),
    "examples": Command("nst_lightning.examples.command:examples", "example photos and style pictures, in a folder"),
    "compare": Command(
        "nst_lightning.optimization.compare:compare", "compact encoders beside VGG-19", {"encoders": "+"}
    ),
    "benchmark": Command(
        "nst_lightning.optimization.benchmark:benchmark",
        "how good optimized pictures are after so many seconds",
        repeatable=("method",),
    ),
    "rate": Command(
        "nst_lightning.optimization.rate:rate",
        "how good a network's pictures are, style by style, beside optimized ones",
        {"model": None},
        repeatable=("paintings", "only"),
    ),
    "speed": Command(
        "nst_lightning.export.speed:speed", "how fast ONNX files are, beside Johnson's network", {"models": "+"}
    ),
    "measure": Command(
        "nst_lightning.perception.measure:measure",
        "content, style and grit of stylized pictures",
        {"photo": None, "painting": None, "pictures": "+"},
    ),
}
PROGRAM = "python -m nst_lightning"


def main(arguments: list[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: the command and its own arguments; by default those of the process.

    Returns:
        The exit code: 0, 1 when the work failed, 2 when the request was wrong.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files that a terminal can't show
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(f"nst-lightning {__version__}")
        return 0
    name, *rest = arguments
    if name not in COMMANDS:
        return _fail(f"unknown command {name!r}; {meant(name, COMMANDS, 'commands')}", 2)
    try:
        if COMMANDS[name].target == TRAINING:
            _function(TRAINING)(name, rest)
        else:
            _call(name, rest)
    except (ValueError, FileNotFoundError, ArgumentError) as error:
        return _fail(f"{name}: {error}", 2, error)
    except KeyboardInterrupt:
        return 130  # as shells report it; what there was to save has been saved
    except (OSError, RuntimeError, MemoryError, FloatingPointError) as error:
        return _fail(f"{name}: {error}", 1, error)
    return 0


def _call(name: str, arguments: list[str]) -> None:
    """Call a command's function with arguments parsed by its signature; its docstring is the help."""
    from docstring_parser import parse
    from jsonargparse import ArgumentParser

    command = COMMANDS[name]
    function = _function(command.target)
    help_of = {param.arg_name: param.description for param in parse(function.__doc__).params}
    parser = ArgumentParser(
        prog=f"{PROGRAM} {name}", description=parse(function.__doc__).short_description, exit_on_error=False
    )
    for argument, nargs in command.positional.items():
        default = {"default": []} if nargs == "*" else {}  # else help would call it required
        parser.add_argument(argument, nargs=nargs, help=help_of[argument], **default)
    parser.add_function_arguments(function, skip=set(command.positional), as_group=False)
    arguments = [_spelled(argument, after, command) for argument, after in zip_longest(arguments, arguments[1:])]
    function(**parser.instantiate_classes(parser.parse_args(arguments)).as_dict())


def _spelled(argument: str, after: str | None, command: Command) -> str:
    """`--style-weight` as the parser knows it, `--style_weight`; `--style` as `--style+`, which adds a value."""
    if not argument.startswith("--"):
        return argument
    name, equals, value = argument[2:].partition("=")
    name = name.replace("-", "_")
    if name in command.flags and not equals and after not in ("true", "false"):
        return f"--{name}=true"
    return f"--{name}{'+' if name in command.repeatable else ''}{equals}{value}"


def _function(target: str) -> Callable:
    module, function = target.split(":")
    return getattr(importlib.import_module(module), function)


def _help() -> str:
    lines = [f"  {name:10}{command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [f"usage: {PROGRAM} COMMAND ...", "", "commands:", *lines, "", f"{PROGRAM} COMMAND --help says more."]
    )


def _fail(message: str, code: int, error: Exception | None = None) -> int:
    if error is not None and os.environ.get("NST_DEBUG"):
        raise error
    print(f"nst-lightning: {' '.join(message.split())}", file=sys.stderr)
    return code
