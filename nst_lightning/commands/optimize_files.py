"""The files of one optimized picture: the picture, its record, and the state of an unfinished one."""

import contextlib
import json
import math
import platform
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
from filelock import FileLock, Timeout

from nst_lightning import __version__
from nst_lightning.errors import UserError
from nst_lightning.images import Picture, WritingOptions, atomic_path, write_picture
from nst_lightning.images.paths import parent_folder
from nst_lightning.optimization import Optimized
from nst_lightning.optimization.plan import Level


@dataclass(frozen=True)
class Files:
    """Writes the files of one photo: `picture.png`, `picture.png.json` and `picture.png.state`.

    Args:
        target: the picture's file.
        photo: the photo as it was read.
        writing: how the picture is written.
        about: the first entries of the record: `command` makes the picture, `resumes` is the command that can resume
            it.
        levels: the planned levels.
    """

    target: Path
    photo: Picture
    writing: WritingOptions
    about: dict[str, Any]
    levels: list[Level]

    def write(self, result: Optimized) -> None:
        """Write the picture and its record, and remove the state of an earlier interruption."""
        self._write_picture(result.pixels)
        self._write_record(result, finished=True)
        beside(self.target, "state").unlink(missing_ok=True)
        about = f"{result.seconds:.0f} s"
        if result.content is not None:
            about += f", style weight {result.style_weight:.4g}, content {result.content:.2f}"
        print(f"{self.target} ({about})")

    def write_unfinished(self, result: Optimized) -> None:
        """Write the state first, since it can't be made again, then picture and record; print errors."""
        try:
            self.write_state(result)
        except (OSError, RuntimeError) as error:
            print(f"nst-lightning: the state could not be written: {error}", file=sys.stderr)
        try:
            self._write_picture(result.pixels)
            self._write_record(result, finished=False)
            print(f"{self.target}, unfinished ({result.seconds:.0f} s)")
        except OSError as error:
            print(f"nst-lightning: the picture could not be written: {error}", file=sys.stderr)

    def write_state(self, result: Optimized) -> None:
        """Write the state from which `--resume` continues."""
        with atomic_path(beside(self.target, "state")) as temporary:
            torch.save(result.state | {"command": self.about["resumes"]}, temporary)
        print("run the same command with --resume to continue from here")

    def read_state(self) -> dict[str, Any]:
        """Read the state that `write_state` wrote.

        Raises:
            UserError: the state is missing, damaged, or from another command.
        """
        path, command = beside(self.target, "state"), self.about["resumes"]
        if not path.exists():
            raise UserError(f"resume: {path} is missing: there is nothing to resume, or the picture is finished")
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises errors of many kinds for damaged files
            raise UserError(f"resume: {path} can't be read ({type(error).__name__})") from error
        found = state.pop("command", None) if isinstance(state, dict) else None
        if found != command:
            raise UserError(f"resume: {path} is the state of another command: {found}")
        return state

    def write_preview(self, pixels: np.ndarray) -> None:
        """Write the picture so far, and remove an older record, which describes another picture."""
        try:
            beside(self.target, "json").unlink(missing_ok=True)
            self._write_picture(pixels)
        except OSError as error:
            print(f"\nnst-lightning: the preview could not be written: {error}", file=sys.stderr)

    def _write_picture(self, pixels: np.ndarray) -> None:
        """Write the pixels with the photo's transparency and EXIF data."""
        write_picture(self.target, self.photo.with_pixels(pixels), self.writing)

    def _write_record(self, result: Optimized, *, finished: bool) -> None:
        """Write how the picture was made, and its losses."""
        finite = [{name: x if math.isfinite(x) else None for name, x in entry.items()} for entry in result.history]
        packages = {"nst-lightning": __version__, "torch": torch.__version__, "pillow": PIL.__version__}
        record = {
            **self.about,
            "finished": finished,
            "versions": {**packages, "numpy": np.__version__, "python": platform.python_version()},
            "levels": [asdict(level) for level in self.levels],
            "seconds": result.seconds,
            "style_weight": result.style_weight,
            "content": result.content,
            "iterations": finite,
        }
        with atomic_path(beside(self.target, "json")) as temporary:
            temporary.write_text(json.dumps(record, indent=1, allow_nan=False), encoding="utf-8")


@contextlib.contextmanager
def sole_maker(target: Path) -> Iterator[None]:
    """Keep other processes from making the same picture, whose files would be mixed with those of this one.

    Raises:
        UserError: another process makes it.
    """
    with parent_folder(target) as folder:
        lock = FileLock(folder / f".nst-{target.name}.lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise UserError(f"output: {target} is being made by another process") from None
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # Windows removes it when it is released
                Path(lock.lock_file).unlink()
            lock.release()


def beside(target: Path, ending: str) -> Path:
    """The file `picture.png.json` beside `picture.png`, for the ending `json`."""
    return target.with_name(f"{target.name}.{ending}")
