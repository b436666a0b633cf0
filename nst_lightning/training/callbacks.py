"""Callbacks: the ONNX file, and the rate of training."""

import sys
import time
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn

from nst_lightning.errors import require
from nst_lightning.export import export_onnx
from nst_lightning.system import shell_line
from nst_lightning.training.folder import run_folder
from nst_lightning.training.module import require_style_transfer
from nst_lightning.training.trial import try_export


class ExportOnnx(L.Callback):
    """Writes the network as a verified ONNX file when training ends, and tries that out before it begins.

    Args:
        filename: name of the ONNX file in the run's folder; empty to write none.
    """

    def __init__(self, filename: str = "style.onnx") -> None:
        good = not filename or Path(filename).suffix == ".onnx"
        require("filename", filename, good, "a name that ends in .onnx, or empty")
        self.filename, self._tried = filename, False
        self._unwritten: Path | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Try the export before training."""
        if stage == "fit" and trainer.is_global_zero:
            self.try_export(require_style_transfer(self, pl_module).network)

    def try_export(self, network: nn.Module) -> None:
        """Export a network to a temporary folder, once, unless no file is to be written.

        Raises:
            UserError: the network can't be exported.
        """
        if self.filename and not self._tried:
            try_export(network)
            self._tried = True

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Export the network, from a copy on the CPU."""
        path = run_folder(trainer) / self.filename
        if not self.filename or not trainer.is_global_zero:
            return
        module = require_style_transfer(self, pl_module)
        metadata = {**module.metadata, "steps": str(trainer.global_step)}
        self._unwritten = path
        difference = export_onnx(module.network, path, metadata=metadata)
        self._unwritten = None
        rank_zero_info(f"ONNX file: {path} (largest difference from torch {difference.largest:.1e})")

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Say how to write the file after a signal or an error during the export."""
        if self._unwritten is not None:
            last = str(run_folder(trainer) / "checkpoints" / "last.ckpt")
            words = [sys.executable, "-m", "nst_lightning", "export", last, "--output", str(self._unwritten)]
            rank_zero_info(f"{self._unwritten} is not written. To write it:\n  {shell_line(words)}")


class PictureRate(L.Callback):
    """Logs the training pictures per second on all devices, as a moving average over steps; reading photos counts."""

    def __init__(self) -> None:
        self._last: float | None = None
        self._seconds = 0.0

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Tensor, batch_idx: int
    ) -> None:
        """Log the rate since the last step."""
        now = time.perf_counter()
        if self._last is not None:
            seconds = now - self._last
            self._seconds = 0.9 * self._seconds + 0.1 * seconds if self._seconds else seconds
            pl_module.log("pictures_per_second", len(batch) * trainer.world_size / self._seconds, prog_bar=True)
        self._last = now

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Exclude validation between two steps from the rate."""
        self._last = None
