"""Paths: what a user may write for them, and how to write files without losing anything."""

import contextlib
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from nst_lightning.errors import UserError
from nst_lightning.system import normalize_name


class PictureError(UserError):
    """A picture file that is missing, unreadable, or can't be written in the requested format."""


_VARIABLE = re.compile(r"\$(?:\w+|\{[^}]*\})", re.ASCII)


def expand_path(path: str | Path) -> Path:
    """The path with `~` and `$VARIABLES` expanded, except in names that exist as they are, such as `A$AP.png`.

    A file's name with an ending, at the end of the path, may also hold a `$` that doesn't belong to a variable which is
    set. A name is found on the disk even if its accents are encoded differently there, see `normalize_name`.

    Raises:
        UserError: the path is empty, or a variable isn't set or is empty.

    >>> expand_path("photos/A$AP.png").name
    'A$AP.png'
    """
    if not str(path):
        raise UserError("the path is empty, perhaps since a variable is not set")
    found, given = Path(), Path(path)
    for number, part in enumerate(given.parts, 1):
        if os.path.lexists(found / part):
            found /= part
            continue
        variables = [variable.strip("${}") for variable in _VARIABLE.findall(part)]
        missing = [variable for variable in variables if not os.environ.get(variable)]
        if missing and not (number == len(given.parts) and given.suffix):
            raise UserError(f"{path}: the environment variable {missing[0]} is not set, or is empty")
        expanded = os.path.expandvars(part)
        if number == 1 and part.startswith("~"):
            expanded = os.path.expanduser(expanded)  # noqa: PTH111 - Path.expanduser may fail
        found = _spelled_as_on_disk(found / expanded)
    return found


def _spelled_as_on_disk(path: Path) -> Path:
    """The entry of a folder whose name differs at most in the encoding of accents, or else the path itself."""
    if path.name.isascii() or os.path.lexists(path) or not path.parent.is_dir():
        return path
    with contextlib.suppress(OSError):  # a folder that can't be listed
        for entry in path.parent.iterdir():
            if normalize_name(entry.name) == normalize_name(path.name):
                return entry
    return path


@contextlib.contextmanager
def parent_folder(path: Path) -> Iterator[Path]:
    """The folder around `path`, which is created if it is missing, and removed again if the block fails."""
    missing = [folder for folder in path.parents if not folder.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield path.parent
    except BaseException:
        with contextlib.suppress(OSError):  # something has been written there
            for folder in missing:
                folder.rmdir()
        raise


@contextlib.contextmanager
def path_beside(path: str | Path) -> Iterator[Path]:
    """A temporary file of the same name in a hidden folder beside `path`; see `parent_folder`."""
    path = Path(path)
    with parent_folder(path) as parent, tempfile.TemporaryDirectory(prefix=".nst-", dir=parent) as folder:
        yield Path(folder) / path.name


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary file beside `path`, renamed to `path` if the block succeeds, and removed if it fails."""
    with path_beside(path) as temporary:
        yield temporary
        temporary.replace(path)


def try_to_write(path: Path) -> None:
    """Try to write to the nearest folder around `path` that exists, and leave nothing there.

    Raises:
        OSError: it isn't a folder, or is not writable, or the file's name is too long.
    """
    folder = next(folder for folder in path.parents if os.path.lexists(folder))
    with tempfile.TemporaryDirectory(prefix=".nst-", dir=folder) as temporary:
        (Path(temporary) / path.name).touch()


def require_folder(path: Path) -> None:
    """Refuse a folder to write to that can't be one, since it, or a folder around it, is a file.

    Raises:
        PictureError: there is such a file; the message names the argument `output`.
    """
    file = next((place for place in (path, *path.parents) if place.exists() and not place.is_dir()), None)
    if file is not None:
        raise PictureError.about("output", f"{path} must be a folder, but {'it' if file == path else file} is a file")


def refuse_overwriting_inputs(targets: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Refuse to overwrite input files.

    Raises:
        PictureError: a target is one of the inputs.
    """
    known = {_identity(path): path for path in inputs if path.exists()}
    for target in targets:
        if target.exists() and _identity(target) in known:
            raise PictureError(f"output: {target} would overwrite the input {known[_identity(target)]}")


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino
