"""The errors of this package, for wrong requests and for failed work, the checks that raise them, and notices."""

import contextlib
import difflib
import math
import warnings
from collections.abc import Iterable, Iterator
from typing import Any


class UserError(ValueError):
    """A request that can't be met. The message is one line with the argument, its value and what is allowed.

    Args:
        message: the message, which begins with the argument's name if `argument` is given.
        argument: name of the argument at fault, as the Python caller knows it.
    """

    def __init__(self, message: str, *, argument: str | None = None) -> None:
        super().__init__(message)
        self.argument = argument

    @classmethod
    def about(cls, argument: str, problem: str) -> "UserError":
        """An error whose message names an argument: "ARGUMENT: PROBLEM"."""
        return cls(f"{argument}: {problem}", argument=argument)

    def prefixed(self, prefix: str) -> "UserError":
        """The same error where the argument has a longer name, such as `model.style` on a command line.

        >>> UserError.about("style", "no such file").prefixed("model.")
        UserError('model.style: no such file')
        """
        if self.argument is None:
            return self
        return type(self)(f"{prefix}{self}", argument=f"{prefix}{self.argument}")


@contextlib.contextmanager
def naming(argument: str) -> Iterator[None]:
    """Let errors about the value of an argument, such as a file that can't be read, begin with its name.

    >>> with naming("photo"):
    ...     raise UserError("a.png: no such file")
    Traceback (most recent call last):
        ...
    nst_lightning.errors.UserError: photo: a.png: no such file
    """
    try:
        yield
    except UserError as error:
        if error.argument is not None:
            raise
        raise type(error).about(argument, str(error)) from error


@contextlib.contextmanager
def prefixing(prefix: str) -> Iterator[None]:
    """Let errors name arguments with a prefix, see `UserError.prefixed`."""
    try:
        yield
    except UserError as error:
        raise error.prefixed(prefix) from error


@contextlib.contextmanager
def renaming(**names: str) -> Iterator[None]:
    """Let errors use the names that arguments have for the caller, where they differ.

    >>> with renaming(masks="mask"):
    ...     raise UserError.about("masks", "number 1 is all black")
    Traceback (most recent call last):
        ...
    nst_lightning.errors.UserError: mask: number 1 is all black
    """
    try:
        yield
    except UserError as error:
        known = error.argument or ""
        if known not in names or not str(error).startswith(known):
            raise
        raise type(error)(names[known] + str(error).removeprefix(known), argument=names[known]) from error


class Notice(UserWarning):
    """What a user should know, in one line, although the work goes on, such as files that are left out."""


@contextlib.contextmanager
def collecting_notices() -> Iterator[list[str]]:
    """Collect notices instead of showing them, in a process that can't show them. The filters of warnings stay.

    >>> with collecting_notices() as notices:
    ...     warnings.warn("two files are left out", Notice)
    >>> notices
    ['two files are left out']
    """
    notices: list[str] = []
    show_other = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *place: Any, **options: Any) -> None:
        if issubclass(category, Notice):
            notices.append(str(message))
        else:
            show_other(message, category, *place, **options)

    warnings.showwarning = show  # catch_warnings would let all other warnings repeat
    try:
        yield notices
    finally:
        warnings.showwarning = show_other


class WorkError(RuntimeError):
    """Work that failed although the request was right, such as photos that could not be stylized."""


def describe_error(error: BaseException) -> str:
    """What an error says, in words, also if it has no message.

    >>> describe_error(FileNotFoundError(2, "No such file or directory", "a.png"))
    'a.png: No such file or directory'
    >>> describe_error(MemoryError())
    'there is not enough memory'
    """
    if isinstance(error, MemoryError):
        return "there is not enough memory"
    if isinstance(error, OSError) and error.strerror:
        return ": ".join(str(part) for part in (error.filename, error.strerror) if part is not None)
    return str(error) or type(error).__name__


class SignalExit(SystemExit):
    """The end of a process that a signal asked to end, after its work has been saved. The code is the exit code."""


def require(name: str, value: object, condition: bool, allowed: str) -> None:
    """Refuse an argument whose value isn't allowed.

    Args:
        name: the argument's name, as the caller knows it.
        value: its value.
        condition: whether the value is allowed.
        allowed: what is allowed, to follow "must be".

    Raises:
        UserError: the condition is false.

    >>> require("width", 3, 3 % 2 == 0, "even")
    Traceback (most recent call last):
        ...
    nst_lightning.errors.UserError: width must be even, got 3
    """
    if not condition:
        raise UserError(f"{name} must be {allowed}, got {value!r}", argument=name)


def require_at_least(least: float, **arguments: float | None) -> None:
    """Refuse numbers that are below a limit or not finite; None is allowed.

    Raises:
        UserError: a number is refused.

    >>> require_at_least(0, style_weight=-1.0)
    Traceback (most recent call last):
        ...
    nst_lightning.errors.UserError: style_weight must be >= 0, got -1.0
    """
    for name, value in arguments.items():
        require(name, value, value is None or least <= value < math.inf, f">= {least}")


def require_above(limit: float, **arguments: float | None) -> None:
    """Refuse numbers that are not above a limit or not finite; None is allowed.

    Raises:
        UserError: a number is refused.
    """
    for name, value in arguments.items():
        require(name, value, value is None or limit < value < math.inf, f"> {limit}")


def suggest_names(name: str, names: Iterable[str], kind: str) -> str:
    """A hint for an unknown name: the known names that contain it or are spelled alike, or else all known names.

    Case doesn't matter.

    Args:
        name: the unknown name.
        names: the known names.
        kind: what the names stand for, in the plural, such as `styles`.

    >>> suggest_names("Wave", ["great_wave", "ink"], "styles")
    'did you mean great_wave?'
    >>> suggest_names("oil", ["great_wave", "ink"], "styles")
    'styles: great_wave, ink'
    """
    names, lowered = list(names), name.lower()
    similar = difflib.get_close_matches(lowered, [known.lower() for known in names], n=1, cutoff=0.5)
    close = [known for known in names if (len(lowered) > 2 and lowered in known.lower()) or known.lower() in similar]
    return f"did you mean {' or '.join(close)}?" if close else f"{kind}: {', '.join(names)}"
