"""Folders of photos and pictures in any file system that Ray reads: of this machine, or of an object store."""

import itertools
import os
import uuid
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeAlias

import fsspec
from pyarrow import ArrowException
from pyarrow.fs import FileInfo, FileSelector, FileSystem, FileType, FSSpecHandler, LocalFileSystem, PyFileSystem

from nst_lightning.commands.pictures import expand_argument
from nst_lightning.errors import UserError, describe_error, naming
from nst_lightning.images import PictureError, require_folder
from nst_lightning.images.folders import describe_left_out, is_hidden, reason_to_leave_out, walk_files
from nst_lightning.images.formats import advice_for, is_readable

Photo: TypeAlias = PurePosixPath
"""The path of a photo below the folder of photos."""
_WHOLE = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "cos", "hf"}
"""Object stores: a file appears there when it has been written whole, and can't be renamed."""
_ERRORS = (OSError, ArrowException, ValueError, ImportError, NotImplementedError)


@dataclass(frozen=True)
class Storage:
    """A folder in a file system. A pickle of one finds the same folder from another machine, if it isn't local there.

    Args:
        filesystem: Arrow's file system.
        path: the folder's path in it.
        name: how the user names the folder.
    """

    filesystem: FileSystem
    path: str
    name: str

    @property
    def local(self) -> Path | None:
        """The folder of this machine, unless it is elsewhere."""
        return Path(self.path) if isinstance(self.filesystem, LocalFileSystem) else None

    def __truediv__(self, folder: PurePosixPath) -> "Storage":
        return Storage(self.filesystem, self._path_of(folder), self.name_of(folder))

    def name_of(self, file: PurePosixPath) -> str:
        """How a file below the folder is named for the user."""
        return f"{self.name.rstrip('/')}/{file}"

    def is_folder(self) -> bool:
        """Whether the folder exists."""
        return self.filesystem.get_file_info(self.path).type == FileType.Directory

    def surrounds(self, other: "Storage") -> bool:
        """Whether the folder is another one, or a folder around it."""
        here, there = PurePosixPath(self.path), PurePosixPath(other.path)
        return self.filesystem == other.filesystem and here in (there, *there.parents)

    def list_folder(self, folder: PurePosixPath) -> list[FileInfo]:
        """The files and folders in a folder below this one, sorted; none if there is no such folder.

        Raises:
            PictureError: the folder can't be listed.
        """
        selector = FileSelector(self._path_of(folder), allow_not_found=True)
        try:
            return sorted(self.filesystem.get_file_info(selector), key=lambda info: info.base_name)
        except Exception as error:  # of any kind, in file systems that are not Arrow's own
            raise PictureError(f"{self.name_of(folder)}: can't be listed ({describe_error(error)})") from error

    def list_names(self, folder: PurePosixPath) -> set[str]:
        """The names of files and folders in a folder below this one; none if there is no such folder.

        Raises:
            PictureError: the folder can't be listed.
        """
        if self.local is None:
            return {info.base_name for info in self.list_folder(folder)}
        try:
            return set(os.listdir(self.local / folder))  # noqa: PTH208 - names, not paths
        except FileNotFoundError:
            return set()
        except OSError as error:
            raise PictureError(f"{self.name_of(folder)}: can't be listed ({error.strerror})") from None

    def fetch(self, photo: Photo, folder: Path) -> Path:
        """A local file with the content of a photo, in a folder that is given unless the photo is one already.

        Raises:
            PictureError: the photo can't be fetched.
        """
        if self.local:
            return self.local / photo
        copy = folder / photo.name
        try:
            with self.filesystem.open_input_stream(self._path_of(photo)) as source, copy.open("wb") as file:
                while block := source.read(2**22):
                    file.write(block)
        except FileNotFoundError:
            raise PictureError(f"{self.name_of(photo)}: no such file") from None
        except Exception as error:  # of any kind, in file systems that are not Arrow's own
            raise PictureError(f"{self.name_of(photo)}: can't be read ({describe_error(error)})") from error
        return copy

    def store(self, file: Path, target: PurePosixPath) -> None:
        """Copy a local file into the folder: whole into an object store, and elsewhere beside and then renamed.

        Raises:
            PictureError: the file can't be written.
        """
        path = self._path_of(target)
        try:
            if self._writes_whole():
                self._write(path, file)
            else:
                self._write_beside(path, file)
        except Exception as error:  # of any kind, as above
            raise PictureError(f"{self.name_of(target)}: can't be written ({describe_error(error)})") from error

    def _path_of(self, path: PurePosixPath) -> str:
        return str(PurePosixPath(self.path) / path)

    def _writes_whole(self) -> bool:
        known = self.filesystem.handler.fs.protocol if isinstance(self.filesystem, PyFileSystem) else ()
        return not _WHOLE.isdisjoint({self.filesystem.type_name, *([known] if isinstance(known, str) else known)})

    def _write_beside(self, path: str, file: Path) -> None:
        folder = PurePosixPath(path).parent
        beside = str(folder / f".nst-{uuid.uuid4().hex}{file.suffix}")
        self.filesystem.create_dir(str(folder), recursive=True)
        try:
            self._write(beside, file)
            with suppress(FileNotFoundError):  # some file systems don't rename over another file
                self.filesystem.delete_file(path)
            self.filesystem.move(beside, path)
        except BaseException:
            with suppress(Exception):
                self.filesystem.delete_file(beside)
            raise

    def _write(self, path: str, file: Path) -> None:
        with self.filesystem.open_output_stream(path) as stream:
            stream.write(file.read_bytes())


def open_storage(argument: str, given: str) -> Storage:
    """The folder that an argument means: a path, or a URI such as `s3://bucket/photos`.

    Raises:
        UserError: there is no file system for the URI, or a package for it is missing.
    """
    if "://" not in given:
        folder = expand_argument(argument, given)
        return Storage(LocalFileSystem(), folder.absolute().as_posix(), str(folder))
    try:
        filesystem, path = _find_filesystem(given)
    except _ERRORS as error:
        raise UserError.about(argument, f"{given}: {describe_error(error)}") from None
    return Storage(filesystem, path.rstrip("/"), given.partition("?")[0])  # without options such as an endpoint


def _find_filesystem(uri: str) -> tuple[FileSystem, str]:
    """Arrow's own file system, or that of fsspec, as Ray does."""
    try:
        return FileSystem.from_uri(uri)
    except (ArrowException, ValueError):  # a kind that Arrow doesn't know
        filesystem, path = fsspec.core.url_to_fs(uri)
        return PyFileSystem(FSSpecHandler(filesystem)), path


class Listing:
    """The photos below a folder, found folder by folder, and what else was found there.

    Args:
        photos: the folder of photos.
        without: a folder that is not searched.
    """

    def __init__(self, photos: Storage, without: Storage) -> None:
        self._photos, self._without = photos, without
        self._unopened: list[str] = []
        self._left_out: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def __iter__(self) -> Iterator[list[Photo]]:
        """Yield the photos of each folder that has any.

        Raises:
            PictureError: a folder that isn't local can't be listed.
        """
        local = self._photos.local
        for files in self._walk() if local is None else self._walk_local(local):
            if photos := [file for file in files if self._admits(file)]:
                yield photos

    def describe_left_out(self) -> str:
        """What was left out, in one line; empty if nothing was."""
        return describe_left_out(self._left_out, self._unopened)

    def _walk_local(self, folder: Path) -> Iterator[list[Photo]]:
        files = walk_files(folder, self._without.local, self._unopened)
        for _, group in itertools.groupby(files, key=lambda file: file.parent):
            yield [PurePosixPath(file.relative_to(folder).as_posix()) for file in group]

    def _walk(self) -> Iterator[list[Photo]]:
        pending = deque([PurePosixPath()])
        while pending:
            folder = pending.popleft()
            if self._without.surrounds(self._photos / folder):
                continue
            entries = [info for info in self._photos.list_folder(folder) if not is_hidden(Path(info.base_name))]
            pending.extend(folder / info.base_name for info in entries if info.type == FileType.Directory)
            yield [folder / info.base_name for info in entries if info.type == FileType.File]

    def _admits(self, file: PurePosixPath) -> bool:
        """Whether a file is a picture that can be read, by its name; others are counted."""
        local = self._photos.local
        if local is not None:
            advice = reason_to_leave_out(local / file)
        else:
            advice = None if is_readable(Path(file)) else advice_for(Path(file)) or ""
        if advice:
            self._left_out[advice][file.suffix.lower() or "no ending"] += 1
        return advice is None


def check_folders(photos: Storage, output: Storage) -> None:
    """Refuse a folder of photos that is missing, and an output in which pictures could replace photos.

    Raises:
        PictureError: the message names the argument.
    """
    with naming("photos"):
        try:
            found = photos.is_folder()
        except _ERRORS as error:
            raise PictureError(f"{photos.name}: can't be opened ({describe_error(error)})") from None
        if not found:
            raise PictureError(f"{photos.name}: no such folder; --engine ray takes a single folder")
    local_photos, local_output = photos.local, output.local
    if local_output:
        require_folder(local_output)
    if local_photos and local_output:
        around = local_output.resolve() in (local_photos.resolve(), *local_photos.resolve().parents)
    else:
        around = output.surrounds(photos)
    if around:
        problem = f"{output.name} is the folder of photos itself or around it; choose another folder"
        raise PictureError.about("output", problem)
