"""The files of one optimized picture: itself, its record, and the state of one that isn't done."""

import json
import math
import platform
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import PIL
import torch
from PIL import Image

from nst_lightning import __version__
from nst_lightning.errors import UserError
from nst_lightning.images import Picture, atomic_path, write_picture
from nst_lightning.optimization import Optimized
from nst_lightning.optimization.plan import Level


@dataclass(frozen=True)
class Files:
    """What one photo becomes: `picture.png`, `picture.png.json` and `picture.png.state`.

    Args:
        target: the picture's file.
        photo: as read.
        bits: a channel.
        about: what the record begins with; `command` is the one that makes the picture, `resumes` those that go on.
        levels: as planned.
    """

    target: Path
    photo: Picture
    bits: Literal[8, 16]
    about: dict[str, Any]
    levels: list[Level]

    def write(self, result: Optimized) -> None:
        """Picture and record; the state of an earlier interruption has served."""
        self._write_picture(result.pixels)
        self._write_record(result, finished=True)
        beside(self.target, "state").unlink(missing_ok=True)
        print(f"{self.target} ({result.seconds:.0f} s)")

    def write_unfinished(self, result: Optimized) -> None:
        """The state first: it is what can't be made again. What can't be written is said."""
        try:
            self.write_state(result)
        except (OSError, RuntimeError) as error:
            print(f"nst-lightning: no state to go on from: {error}", file=sys.stderr)
        try:
            self._write_picture(result.pixels)
            self._write_record(result, finished=False)
            print(f"{self.target} so far ({result.seconds:.0f} s)")
        except OSError as error:
            print(f"nst-lightning: no picture: {error}", file=sys.stderr)

    def write_state(self, result: Optimized) -> None:
        """What `--resume` goes on from."""
        with atomic_path(beside(self.target, "state")) as temporary:
            torch.save(result.state | {"command": self.about["resumes"]}, temporary)
        print("the same command with --resume goes on from here")

    def read_state(self) -> dict[str, Any]:
        """What `write_state` wrote.

        Raises:
            UserError: it is missing, damaged, or another command's.
        """
        path, command = beside(self.target, "state"), self.about["resumes"]
        if not path.exists():
            raise UserError(f"resume: {path} is missing: there is nothing to go on from, or the picture is done")
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises whatever it stumbles over
            raise UserError(f"resume: {path} can't be read ({type(error).__name__})") from error
        found = state.pop("command", None) if isinstance(state, dict) else None
        if found != command:
            raise UserError(f"resume: {path} is not of this command but of: {found}")
        return state

    def write_preview(self, pixels: np.ndarray) -> None:
        """The picture so far; an earlier record is not about it."""
        try:
            beside(self.target, "json").unlink(missing_ok=True)
            self._write_picture(pixels)
        except OSError as error:
            print(f"\nnst-lightning: no preview: {error}", file=sys.stderr)

    def _write_picture(self, pixels: np.ndarray) -> None:
        """The pixels, with what the photo's file had beside its own."""
        height, width = pixels.shape[1:]
        alpha = self.photo.alpha.resize((width, height), Image.Resampling.BICUBIC) if self.photo.alpha else None
        write_picture(self.target, replace(self.photo, rgb=pixels, alpha=alpha), bits=self.bits)

    def _write_record(self, result: Optimized, *, finished: bool) -> None:
        """All about the picture."""
        finite = [{name: x if math.isfinite(x) else None for name, x in entry.items()} for entry in result.history]
        packages = {"nst-lightning": __version__, "torch": torch.__version__, "pillow": PIL.__version__}
        record = {
            **self.about,
            "finished": finished,
            "versions": {**packages, "numpy": np.__version__, "python": platform.python_version()},
            "levels": [asdict(level) for level in self.levels],
            "seconds": result.seconds,
            "iterations": finite,
        }
        with atomic_path(beside(self.target, "json")) as temporary:
            temporary.write_text(json.dumps(record, indent=1, allow_nan=False), encoding="utf-8")


def beside(target: Path, what: str) -> Path:
    """`picture.png.json`: pictures of other endings have their own."""
    return target.with_name(f"{target.name}.{what}")
