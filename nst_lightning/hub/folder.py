"""Writing a publication: all of it or nothing, and never over what somebody else has written or changed."""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from nst_lightning.errors import UserError, renaming
from nst_lightning.images.paths import path_beside, require_folder

MANIFEST = "publication.json"
"""The file with the hashes of all others, by which a former publication is known."""


def write_publication(folder: Path, repositories: Mapping[str, Mapping[str, Path | bytes]]) -> None:
    """Write repositories as folders in a folder, which is new, empty, or a former publication that nobody changed.

    Args:
        folder: the folder.
        repositories: files by their paths, by the names of repositories: their content, or where they are on the disk.

    Raises:
        UserError: the folder has other files, or files that were changed since they were written.
    """
    with renaming(output="folder"):
        require_folder(folder)
    check_replaceable(folder)
    with path_beside(folder / "new") as new:
        for name, files in repositories.items():
            for path, content in files.items():
                _write(new / name / path, content)
        (new / MANIFEST).write_text(json.dumps(_hashes(new), indent=1), encoding="utf-8")
        _exchange(folder, new, [*repositories, MANIFEST])


def _exchange(folder: Path, new: Path, names: Sequence[str]) -> None:
    """Move what is in a folder out of it, and its successors in, the manifest last: half a publication has none."""
    former = new.with_name("former")
    former.mkdir()
    (folder / MANIFEST).unlink(missing_ok=True)
    for present in [*folder.iterdir()]:
        if present != new.parent:
            present.rename(former / present.name)
    for name in names:
        (new / name).rename(folder / name)


def check_replaceable(folder: Path) -> None:
    """Refuse a folder with anything but an unchanged publication.

    Raises:
        UserError: it has something else; the message names the argument `folder`, and a file.
    """
    present = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    known, found = _read_manifest(folder / MANIFEST), _hashes(folder)
    changed = sorted(path for path in known.keys() | found.keys() if known.get(path) != found.get(path))
    advice = "choose a new folder, or empty this one"
    if present and not known:
        raise UserError.about("folder", f"{folder} is not empty, it has {present[0]}; {advice}")
    if changed:
        raise UserError.about("folder", f"{folder} was changed since it was published: {changed[0]}; {advice}")


def _read_manifest(path: Path) -> dict[str, str]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none, or not ours
        return {}
    return content if isinstance(content, dict) else {}


def _hashes(folder: Path) -> dict[str, str]:
    paths = sorted(path for path in folder.rglob("*") if not path.is_dir() and path != folder / MANIFEST)
    return {path.relative_to(folder).as_posix(): _hash(path) for path in paths}


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _write(path: Path, content: Path | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        shutil.copyfile(content, path)
