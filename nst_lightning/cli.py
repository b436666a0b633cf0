"""The command line: one table of commands. Nothing heavy is imported before the command is known."""

import contextlib
import importlib
import inspect
import os
import signal
import sys
import warnings
from argparse import ArgumentError
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any, cast

from nst_lightning import __version__
from nst_lightning.errors import Notice, SignalExit, UserError, WorkError, describe_error, suggest_names
from nst_lightning.extras import advise_install
from nst_lightning.limits import limit_threads
from nst_lightning.system import StopSignals, exit_code

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser


@dataclass(frozen=True)
class Command:
    """An entry of the table of commands.

    Args:
        target: the command's function, as `MODULE:NAME`.
        summary: one line about the command, for the help text.
        positional: names of the positional arguments, with their nargs.
        repeatable: options that add a value each time they are given.
        flags: options that mean `true` when no value follows.
    """

    target: str
    summary: str
    positional: dict[str, str | None] = field(default_factory=dict)
    repeatable: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


_HERE = "nst_lightning.commands"
TRAINING = f"{_HERE}.training:main"
COMMANDS = {
    "fit": Command(TRAINING, "train a transfer network on a folder of photos and a painting"),
    "validate": Command(TRAINING, "losses and quality figures of a checkpoint on held-out photos"),
    "test": Command(TRAINING, "losses and quality figures on test photos, and the photos' own figures"),
    "predict": Command(TRAINING, "stylize a folder of photos with a checkpoint"),
    "distill": Command(TRAINING, "train a small encoder to imitate VGG-19"),
    "export": Command(
        f"{_HERE}.export:export",
        "write a checkpoint as an ONNX file",
        {"checkpoint": "?"},
        repeatable=("styles",),
    ),
    "stylize": Command(
        f"{_HERE}.stylize:stylize",
        "stylize photos, or a video, with an ONNX file",
        {"photos": "+"},
        repeatable=("style",),
        flags=("skip_existing", "steady"),
    ),
    "styles": Command(
        f"{_HERE}.styles:styles", "list the styles of a network, and draw photos in each", {"photos": "*"}
    ),
    "optimize": Command(
        f"{_HERE}.optimize:optimize",
        "paint one photo in the style of a painting: slower than a network, and better",
        {"photo": None},
        repeatable=("style", "blend_weight", "mask"),
        flags=("fast", "resume", "geometric_weights", "correlation_chain", "blur"),
    ),
    "evaluate pictures": Command(
        f"{_HERE}.evaluate_pictures:evaluate_pictures",
        "quality figures of stylized pictures",
        {"pictures": "+"},
        repeatable=("photos", "paintings", "short_side"),
    ),
    "evaluate network": Command(
        f"{_HERE}.evaluate_network:evaluate_network",
        "quality figures of a network's pictures, beside optimized ones",
        {"model": None},
        repeatable=("paintings", "only", "short_side"),
    ),
    "evaluate encoder": Command(
        f"{_HERE}.evaluate_encoder:evaluate_encoder", "compare small encoders with VGG-19", {"encoders": "+"}
    ),
    "evaluate optimizer": Command(
        f"{_HERE}.evaluate_optimizer:evaluate_optimizer",
        "quality figures of optimized pictures after given times",
        repeatable=("method", "short_side"),
        flags=("geometric_weights", "correlation_chain", "blur"),
    ),
    "evaluate speed": Command(
        f"{_HERE}.evaluate_speed:evaluate_speed",
        "speed of ONNX files, compared with Johnson's network",
        {"models": "+"},
    ),
    "evaluate latency": Command(
        f"{_HERE}.evaluate_latency:evaluate_latency",
        "how long apps wait for a picture",
        {"model": None},
        repeatable=("image_size",),
    ),
    "evaluate folders": Command(
        f"{_HERE}.evaluate_folders:evaluate_folders",
        "speed of stylizing a folder, in one process and in several",
        {"photo": None},
        repeatable=("long_side", "workers"),
        flags=("ray",),
    ),
    "evaluate flicker": Command(
        f"{_HERE}.evaluate_flicker:evaluate_flicker",
        "how much a network's pictures flicker in video",
        {"model": None},
        repeatable=("paintings", "only"),
    ),
    "figures gallery": Command(
        f"{_HERE}.figures_gallery:figures_gallery",
        "draw a sheet of one photo optimized in many ways",
        {"photo": None},
        repeatable=("style", "only"),
    ),
    "figures explain": Command(
        f"{_HERE}.figures_explain:figures_explain",
        "draw a sheet of what each layer keeps of content and style",
        {"photo": None},
    ),
    "serve": Command(
        f"{_HERE}.serve:serve",
        "serve a page that stylizes pictures in the browser",
        repeatable=("model",),
        flags=("open",),
    ),
    "publish": Command(
        f"{_HERE}.publish:publish",
        "write the page and networks as repositories for the Hugging Face Hub",
        {"folder": None},
        repeatable=("model",),
        flags=("private",),
    ),
    "examples": Command(f"{_HERE}.examples:examples", "write example photos and style pictures to a folder"),
}
FAMILIES = {name.split()[0] for name in COMMANDS if " " in name}
PROGRAM = "python -m nst_lightning"


def main(arguments: list[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: the command and its arguments; by default the arguments of the process.

    Returns:
        The exit code: 0, 1 when the work failed, 2 when the request was wrong, and 128 and more after a signal. Errors
        that are neither the user's nor the machine's are raised.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # for file names that the terminal can't show
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help(list(COMMANDS)))
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(f"nst-lightning {__version__}")
        return 0
    name, *rest = arguments
    if name in FAMILIES:
        members = [command for command in COMMANDS if command.startswith(f"{name} ")]
        if not rest or rest[0] in ("-h", "--help"):
            print(_help(members))
            return 0 if rest else 2
        name, rest = f"{name} {rest[0]}", rest[1:]
        known = members
    else:
        known = [*dict.fromkeys(command.split()[0] for command in COMMANDS)]
    if name not in COMMANDS:
        return _fail(f"unknown command {name!r}; {suggest_names(name, known, 'commands')}", 2)
    limit_threads()  # before torch is imported
    with StopSignals(_interrupt, _interrupt) as signals:
        try:
            with _notices_on_screen():
                return _run(name, rest)
        except SignalExit as stopped:
            return cast(int, stopped.code)
        except (KeyboardInterrupt, SystemExit) as interrupted:  # Lightning exits at a KeyboardInterrupt
            if signals.received is None and isinstance(interrupted, SystemExit):
                raise
            return exit_code(signals.received or signal.SIGINT)  # whatever can be saved has been saved


def _run(name: str, arguments: list[str]) -> int:
    try:
        if COMMANDS[name].target == TRAINING:
            load_function(TRAINING)(name, arguments)
        else:
            _call(name, arguments)
    except ArgumentError as error:
        from nst_lightning.commands.arguments import explain

        return _fail(f"{name}: {explain(str(error))}", 2, error)
    except UserError as error:
        return _fail(f"{name}: {error}", 2, error)
    except (WorkError, OSError, MemoryError) as error:
        return _fail(f"{name}: {describe_error(error)}", 1, error)
    except ModuleNotFoundError as error:
        if not (advice := advise_install(error.name)):
            raise
        return _fail(f"{name} needs {advice}", 2, error)
    return 0


@contextlib.contextmanager
def _notices_on_screen() -> Iterator[None]:
    """Print each `Notice` once, in one line; other warnings look as always."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", Notice)
        warnings.filterwarnings("ignore", module=r"PIL\.")  # of damaged files, about which an error says enough
        show_other, shown = warnings.showwarning, set()

        def show(message: Warning | str, category: type[Warning], *place: Any, **options: Any) -> None:
            if not issubclass(category, Notice):
                show_other(message, category, *place, **options)
            elif str(message) not in shown:
                shown.add(str(message))
                print(f"nst-lightning: {' '.join(str(message).split())}", file=sys.stderr)

        warnings.showwarning = show
        yield


def _interrupt(number: int) -> None:
    """End whatever runs: temporary files are removed and unfinished work is saved on the way out, as at Ctrl-C."""
    raise KeyboardInterrupt


def load_function(target: str) -> Callable[..., None]:
    """The function that `MODULE:NAME` stands for."""
    module, function = target.split(":")
    return getattr(importlib.import_module(module), function)


def _call(name: str, arguments: list[str]) -> None:
    """Parse arguments by the signature of a command's function, and call it. The docstring is the help text.

    A parameter whose default is a dataclass is a group of options: each of its fields becomes an option.
    """
    command = COMMANDS[name]
    function = load_function(command.target)
    defaults = {key: parameter.default for key, parameter in inspect.signature(function).parameters.items()}
    groups: dict[str, Any] = {key: default for key, default in defaults.items() if is_dataclass(default)}
    parser = _build_parser(name, function, groups)
    given = parser.instantiate(parser.parse_args(_rewrite_options(arguments, command))).as_dict()
    for key, default in groups.items():
        given[key] = type(default)(**{each.name: given.pop(each.name) for each in fields(default)})
    function(**given)


def _build_parser(name: str, function: Callable[..., None], groups: dict[str, Any]) -> "ArgumentParser":
    from docstring_parser import parse
    from jsonargparse import ArgumentParser

    from nst_lightning.commands.arguments import TYPED

    docstring, positional = parse(function.__doc__ or ""), COMMANDS[name].positional
    descriptions = {parameter.arg_name: parameter.description for parameter in docstring.params}
    parser = ArgumentParser(
        prog=f"{PROGRAM} {name}",
        description=docstring.short_description,
        exit_on_error=False,
        allow_abbrev=False,
        parser_mode=TYPED,
    )
    for argument, nargs in positional.items():
        default: dict[str, Any] = {"default": []} if nargs == "*" else {}  # without, the help would say "required"
        parser.add_argument(argument, nargs=nargs, help=descriptions[argument], **default)
    parser.add_function_arguments(function, skip={*positional, *groups}, as_group=False)
    for group in groups.values():
        parser.add_class_arguments(type(group), as_group=False)
        parser.set_defaults({each.name: getattr(group, each.name) for each in fields(group)})
    return parser


def _rewrite_options(arguments: list[str], command: Command) -> list[str]:
    """Write options as the parser expects them: `--style_weight`; `--style+` for one that may be repeated."""
    from nst_lightning.commands.arguments import quote_repeatable

    rewritten, pending = [], [*reversed(arguments)]
    while pending:
        argument = pending.pop()
        name, equals, value = argument.removeprefix("--").partition("=")
        name, after = name.replace("-", "_"), pending[-1] if pending else None
        if not argument.startswith("--"):
            rewritten.append(argument)
        elif name in command.flags and not equals and after not in ("true", "false"):
            rewritten.append(f"--{name}=true")
        elif name not in command.repeatable:
            rewritten.append(f"--{name}{equals}{value}")
        elif equals or (after is not None and not after.startswith("--")):
            rewritten.append(f"--{name}+={quote_repeatable(value if equals else pending.pop())}")
        else:
            rewritten.append(f"--{name}+")
    return rewritten


def _help(names: list[str]) -> str:
    lines = [f"  {name:20}{COMMANDS[name].summary}" for name in names]
    hint = f"`{PROGRAM} COMMAND --help` explains the options of a command."
    return "\n".join([f"usage: {PROGRAM} COMMAND ...", "", "commands:", *lines, "", hint])


def _fail(message: str, code: int, error: Exception | None = None) -> int:
    if error is not None and os.environ.get("NST_DEBUG"):
        raise error
    print(f"nst-lightning: {' '.join(message.split())}", file=sys.stderr)
    return code
