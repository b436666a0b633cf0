"""Finding the checkpoint that `ckpt_path` means by `last` or `best`."""

from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint, OnExceptionCheckpoint

from nst_lightning.errors import UserError
from nst_lightning.training.folder import run_folder


def newest_checkpoint(root: Path, name: str) -> Path | None:
    """The checkpoint of the newest run that has one, such as `version_7/checkpoints/last.ckpt`.

    Args:
        root: the folder that has a folder for each run.
        name: name of the file.
    """
    found = (path for path in root.glob(f"version_*/checkpoints/{name}") if path.is_file())
    return max(found, key=lambda path: _number(path.parent.parent), default=None)


def _number(run: Path) -> tuple[int, str]:
    version = run.name.removeprefix("version_")
    return (int(version) if version.isdecimal() else -1), version


class FoundAsLast(ModelCheckpoint):
    """A callback whose checkpoint Lightning finds for `ckpt_path="last"`; it saves nothing by itself.

    Lightning asks only instances of `ModelCheckpoint`, through a private method, and would otherwise begin a run at
    step 0. All that depends on that is here.
    """

    def __init__(self) -> None:
        super().__init__(save_top_k=0)

    def state_dict(self) -> dict[str, Any]:
        """Nothing: checkpoints don't depend on earlier ones."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Do nothing."""

    def _find_last_checkpoints(self, trainer: L.Trainer) -> set[str]:
        """The newest `last.ckpt` of this run's folder, or of the folders of earlier runs beside it.

        Raises:
            UserError: there is none; or, beside an `OnExceptionCheckpoint`, for which Lightning asks for the last
                checkpoint even if nobody named one, an earlier run has left one.
        """
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, OnExceptionCheckpoint):
                return _refuse_unnamed(Path(callback.ckpt_path))
        folder = run_folder(trainer)
        own = folder / "checkpoints" / "last.ckpt"
        earlier = newest_checkpoint(folder.parent, own.name) if folder.name.startswith("version_") else None
        found = own if own.is_file() else earlier
        if found is None:
            raise UserError.about("ckpt_path", f"there is no last checkpoint, neither {own} nor that of an earlier run")
        return {str(found)}


def _refuse_unnamed(path: Path) -> set[str]:
    if path.is_file():
        raise UserError.about("ckpt_path", f"{path} is left of a run that failed; name it to resume it, or delete it")
    return set()
