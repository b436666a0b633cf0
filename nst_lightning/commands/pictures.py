"""Arguments that are files or folders of pictures, with `~`, `$VARIABLES` and wildcards."""

from collections.abc import Sequence
from pathlib import Path

from nst_lightning.errors import UserError, naming
from nst_lightning.images import expand_path, expand_wildcards, list_pictures


def find_pictures(argument: str, given: Sequence[str], *, without: Path | None = None) -> list[Path]:
    """The files and folders that an argument means.

    Args:
        argument: its name.
        given: its values.
        without: an output folder, which is not meant where it is one of several, as in what a shell makes of `*`.

    Raises:
        UserError: nothing fits a pattern, or a variable isn't set; the message begins with the argument's name.
    """
    with naming(argument):
        found = [path for each in given for path in expand_wildcards(each, without=without)]
    if without is None or not without.is_dir():
        return found
    return [path for path in found if not (path.is_dir() and path.samefile(without))] or found


def find_picture(argument: str, given: str) -> Path:
    """The one file that an argument means.

    Raises:
        UserError: as for `find_pictures`, or several files fit.
    """
    found = find_pictures(argument, [given])
    if len(found) > 1:
        raise UserError.about(argument, f"{given} fits {len(found)} files, but one is needed")
    return found[0]


def find_files(argument: str, given: Sequence[str]) -> list[Path]:
    """The files that an argument means, with those below its folders.

    Raises:
        UserError: as for `find_pictures`, or a folder is missing or has no pictures.
    """
    with naming(argument):
        return [
            file
            for path in find_pictures(argument, given)
            for file in ([path] if path.is_file() or (path.suffix and not path.is_dir()) else list_pictures(path))
        ]


def expand_argument(argument: str, path: str) -> Path:
    """The path that an argument means, such as that of a file to write.

    Raises:
        UserError: the path is empty, or a variable isn't set; the message begins with the argument's name.
    """
    with naming(argument):
        return expand_path(path)
