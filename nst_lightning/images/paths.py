"""Paths of pictures: where to find them, and where to write without losing anything."""

import contextlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from PIL import Image

from nst_lightning.errors import UserError


class PictureError(UserError):
    """A picture file that is missing, unreadable, or can't be written in the requested format."""


def expand_path(path: str | Path) -> Path:
    """The path with `~` and `$VARIABLES` expanded.

    Raises:
        UserError: a variable isn't set.
    """
    expanded = os.path.expandvars(Path(path).expanduser())
    if "$" in expanded:
        missing = expanded.split("$", 1)[1].split("/", 1)[0].strip("{}")
        raise UserError(f"{path}: the environment variable {missing} is not set")
    return Path(expanded)


@contextlib.contextmanager
def path_beside(path: str | Path) -> Iterator[Path]:
    """A temporary file of the same name in a hidden folder beside `path`; its parent folder is created if missing."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".nst-", dir=path.parent) as folder:
        yield Path(folder) / path.name


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary file beside `path`, renamed to `path` if the block succeeds, and removed if it fails."""
    with path_beside(path) as temporary:
        yield temporary
        temporary.replace(path)


def list_pictures(folder: str | Path) -> list[Path]:
    """All files below a folder with an ending that Pillow reads, sorted; hidden files are left out.

    Raises:
        PictureError: the folder is missing, is a file, or has no picture in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise PictureError(f"{folder}: {'is a file, not a folder' if folder.exists() else 'no such folder'}")
    readable = {ending for ending, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in readable
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    )
    if not found:
        raise PictureError(f"{folder}: no pictures in this folder or below it")
    return found


def list_inputs(folder: Path, output: Path) -> list[Path]:
    """The pictures below a folder, without those below an output folder inside it.

    Raises:
        PictureError: there are none, or both folders are the same.
    """
    output_folder, input_folder = output.resolve(), folder.resolve()
    if output_folder == input_folder:
        raise PictureError(f"output: {output} is the folder of photos itself; choose another folder")
    found = list_pictures(folder)
    if output_folder.is_relative_to(input_folder):
        found = [path for path in found if not path.resolve().is_relative_to(output_folder)]
    if not found:
        raise PictureError(f"{folder}: no pictures except those in {output}")
    return found


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
