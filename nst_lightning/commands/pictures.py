"""Arguments that are files or folders of pictures, with `~`, `$VARIABLES` and wildcards."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path, PurePath
from typing import TypeVar

from nst_lightning.errors import UserError, naming
from nst_lightning.images import WRITABLE, expand_path, expand_wildcards, list_inputs, list_pictures

AnyPath = TypeVar("AnyPath", bound=PurePath)


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


def plan_targets(
    argument: str, given: Sequence[Path], output: Path, *, name_target: Callable[[Path], Path]
) -> dict[Path, Path]:
    """The photos of files and folders, by the pictures that are to be made of them.

    Args:
        argument: name of the argument that the photos are from.
        given: files, and folders that are searched.
        output: the output, which is left out of folders.
        name_target: function that returns the picture of a photo, of which it gets the path below its folder.

    Raises:
        UserError: a folder has no pictures, or two photos would have the same picture.
    """
    jobs: dict[Path, Path] = {}
    for path in given:
        with naming(argument):
            sources = list_inputs(path, output) if path.is_dir() else [path]
        for source in sources:
            target = name_target(source.relative_to(path) if path.is_dir() else Path(source.name))
            if jobs.setdefault(target, source) != source:
                raise UserError(f"{argument}: {jobs[target]} and {source} would both be written to {target}")
    return jobs


def name_picture(photo: AnyPath, file_format: str, writable: Collection[str] = WRITABLE) -> AnyPath:
    """The name of a photo's picture: its own if `file_format` is `keep`, and its ending is among the writable ones.

    >>> [str(name_picture(Path(name), "keep")) for name in ("a.webp", "b.gif")]
    ['a.webp', 'b.gif.png']
    """
    if file_format != "keep":
        return photo.with_suffix(f".{file_format}")
    return photo if photo.suffix.lower() in writable else photo.with_name(f"{photo.name}.png")


def expand_argument(argument: str, path: str) -> Path:
    """The path that an argument means, such as that of a file to write.

    Raises:
        UserError: the path is empty, or a variable isn't set; the message begins with the argument's name.
    """
    with naming(argument):
        return expand_path(path)
