"""Finding pictures: all files below a folder, or those that fit a pattern."""

import glob
import os
import re
import unicodedata
import warnings
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from nst_lightning.errors import Notice
from nst_lightning.images.formats import advice_for, begins_as_picture, is_readable
from nst_lightning.images.paths import PictureError, expand_path
from nst_lightning.system import normalize_name

_SYSTEM_FOLDERS = {
    "@eadir",
    "@recycle",
    "#recycle",
    "#snapshot",
    "$recycle.bin",
    "recycler",
    "system volume information",
    "__macosx",
    "lost+found",
}
"""Folders in which storage devices and operating systems keep previews and deleted files."""

_UNUSUAL_ENDING = re.compile(r"\.(jif|pjp|p?jpe?g|png|gif|tiff?|webp)([-_:].*)?", re.IGNORECASE)
"""Endings of pictures that Pillow doesn't know, such as .pjpeg of old browsers and .jpg_large of social networks."""


def list_pictures(folder: str | Path, *, without: Path | None = None) -> list[Path]:
    """All picture files below a folder, sorted. Links are followed; each folder is searched once.

    Hidden files and folders of the system are not searched. A `Notice` says which pictures can't be read, and what
    would help.

    Args:
        folder: the folder.
        without: a folder that is not searched.

    Raises:
        PictureError: the folder is missing, is a file, or has no picture in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise PictureError(f"{folder}: {'is a file, not a folder' if folder.exists() else 'no such folder'}")
    unopened: list[str] = []
    found, left_out = _sort_out(walk_files(folder, without, unopened), unopened)
    if not found:
        inside = without is not None and without.exists() and without.resolve().is_relative_to(folder.resolve())
        where = f"except those in {without}" if inside else "in this folder or below it"
        raise PictureError(f"{folder}: no pictures {where}{left_out and f'; {left_out}'}")
    if left_out:
        warnings.warn(f"{folder}: {left_out}", Notice, stacklevel=2)
    return found


def list_inputs(folder: Path, output: Path) -> list[Path]:
    """The pictures below a folder, without those below an output folder inside it.

    Raises:
        PictureError: there are none, or both folders are the same.
    """
    if output.resolve() == folder.resolve():
        raise PictureError.about("output", f"{output} is the folder of photos itself; choose another folder")
    return list_pictures(folder, without=output)


def expand_wildcards(pattern: str | Path, *, without: Path | None = None) -> list[Path]:
    """The path itself, see `expand_path`, or the picture files and folders of pictures that fit its wildcards, sorted.

    Most shells expand `*`, `?` and `[...]` themselves, but not in quotes, and not on Windows. `**` stands for folders
    at any depth. A file that exists is meant itself.

    Args:
        pattern: the path or pattern.
        without: an output, which does not fit a pattern that begins outside of it, nor does anything in it: the first
            run of a command would change the meaning of the pattern for the second.

    Raises:
        PictureError: nothing fits.
        UserError: a variable isn't set.
    """
    path = expand_path(pattern)
    if path.exists() or not glob.has_magic(str(path)):
        return [path]
    known = next(parent for parent in path.parents if parent.exists() or not glob.has_magic(str(parent)))
    rest = path.relative_to(known)
    unopened: list[str] = []
    try:
        matches = [
            match
            for match in _glob(known, str(rest))
            if not is_hidden(match.relative_to(known), rest)
            and not _is_output(match, known, without)
            and (not match.is_dir() or _has_pictures(match, unopened))
        ]
    except ValueError as error:  # such as "**.jpg"
        raise PictureError(f"{pattern}: {error}") from None
    found, left_out = _sort_out(matches, unopened)
    if not found:
        raise PictureError(f"{pattern}: no picture fits this pattern{left_out and f'; {left_out}'}")
    if left_out:
        warnings.warn(f"{pattern}: {left_out}", Notice, stacklevel=2)
    return found


def _glob(folder: Path, pattern: str) -> Iterable[Path]:
    """What fits a pattern in either of Unicode's forms; file systems that don't distinguish them find a file twice."""
    forms = {pattern, *(unicodedata.normalize(form, pattern) for form in ("NFC", "NFD"))}
    found = (path for form in sorted(forms) for path in folder.glob(form))
    return {(normalize_name(str(path)), path.lstat().st_ino): path for path in found}.values()


def _is_output(match: Path, known: Path, output: Path | None) -> bool:
    """Whether a match belongs to an output inside of the folder where the pattern's wildcards begin."""
    if output is None or known.resolve() not in output.resolve().parents:
        return False
    return Path(os.path.realpath(match)).is_relative_to(output.resolve())


def _has_pictures(folder: Path, unopened: list[str]) -> bool:
    """Whether there are pictures below a folder that isn't a link to a folder around it."""
    if folder.resolve() in folder.parent.resolve().parents:
        return False
    reasons: list[str] = []
    found, left_out = _sort_out(walk_files(folder, None, reasons), reasons)
    if not found and left_out:
        unopened.append(f"{folder}: {left_out}")
    return bool(found)


def walk_files(folder: Path, without: Path | None, unopened: list[str]) -> Iterator[Path]:
    """The files below a folder, each folder once, and rather by its own path than through a link.

    The files of a folder come one after the other. Links to folders around the folder are not followed, as they lead to
    files that nobody asked for.

    Args:
        folder: the folder.
        without: a folder that is not searched.
        unopened: gets a line for each folder that can't be opened.
    """
    seen, root = {without.resolve()} if without is not None else set(), folder.resolve()
    pending = deque([folder])
    while pending:
        current = pending.popleft()
        place = current.resolve()
        if place in seen:
            continue
        seen.add(place)
        if place in root.parents:
            unopened.append(f"{current.relative_to(folder)} is a link to a folder around it, and is not searched")
            continue
        try:
            entries = sorted(os.scandir(current), key=lambda entry: entry.name)
        except OSError as error:
            unopened.append(f"{current.relative_to(folder)} can't be opened ({error.strerror})")
            continue
        for entry in entries:
            path = current / entry.name
            if is_hidden(Path(entry.name)):
                continue
            if entry.is_dir(follow_symlinks=False):
                pending.appendleft(path)
            elif entry.is_symlink() and path.is_dir():
                pending.append(path)
            else:
                yield path


def is_hidden(path: Path, pattern: Path = Path()) -> bool:
    """Whether a part of a path is hidden, or belongs to the system, and is not named in the pattern itself."""
    return any(
        (part.startswith(".") or part.lower() in _SYSTEM_FOLDERS) and part not in pattern.parts for part in path.parts
    )


def _sort_out(paths: Iterable[Path], unopened: list[str]) -> tuple[list[Path], str]:
    """The folders and readable pictures among paths, sorted, and a description of pictures that can't be read."""
    found: list[Path] = []
    left_out: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for path in paths:
        advice = None if path.is_dir() else reason_to_leave_out(path)
        if advice:
            left_out[advice][path.suffix.lower() or "no ending"] += 1
        elif advice is None:
            found.append(path)
    return sorted(found), describe_left_out(left_out, unopened)


def describe_left_out(left_out: Mapping[str, Counter[str]], unopened: Sequence[str]) -> str:
    """How many pictures are left out, by what would help and by their endings, and which folders; empty if none are."""
    groups = [
        f"{', '.join(f'{ending} ({count})' for ending, count in endings.items())}: {advice}"
        for advice, endings in left_out.items()
    ]
    total = sum(map(Counter.total, left_out.values()))
    files = f"{total} file{'s' if total > 1 else ''} left out: " if total else ""
    return files + "; ".join([*groups, *unopened])


def reason_to_leave_out(path: Path) -> str | None:
    """Why a file is left out: None if it is not, an empty text if it isn't a picture."""
    if is_readable(path):
        return None if path.is_file() else "links that lead nowhere" if path.is_symlink() else ""
    if (not path.suffix or _UNUSUAL_ENDING.fullmatch(path.suffix)) and path.is_file() and begins_as_picture(path):
        return "pictures, but named without an ending such as .jpg"
    return advice_for(path) or ""
