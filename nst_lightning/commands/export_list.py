"""The list of ONNX files that `export --list` prints."""

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnx
import onnxruntime

from nst_lightning.commands.timing import measure_seconds, prepare_run
from nst_lightning.errors import UserError
from nst_lightning.examples import watercolor
from nst_lightning.export import Variant
from nst_lightning.inference import ModelError, Stylizer
from nst_lightning.limits import usable_processors

SIDE = 512
RUNS = 5
PLAIN = "plain"


def list_files(path: Path) -> None:
    """Print size, time, PSNR, variant and inputs of an ONNX file, or of all those in a folder.

    The time is the median of five for one picture of 512x512 pixels, or of the file's own size, on all processors that
    this process may use. The PSNR compares the 8-bit picture with that of the plain file of the same network, which is
    looked for in the same folder.

    Raises:
        UserError: there is no such file, or none of a transfer network.
    """
    if not path.exists():
        raise UserError.about("list", f"no such file or folder: {path}")
    files = _open_all(path if path.is_dir() else path.parent, strict=path if path.is_file() else None)
    listed = [file for file in files if path in (file.path, file.path.parent)]
    if not listed:
        raise UserError.about("list", f"{path} has no ONNX file of a transfer network")
    widths = [max(len(cell) for cell in ("variant", *cells)) for cells in zip(*((f.variant, f.inputs) for f in listed))]
    print(f"{'MB':>6}{'ms':>8}  {'PSNR':7}{'variant':{widths[0]}}  {'inputs':{widths[1]}}  file")
    for file in listed:
        figures = f"{file.path.stat().st_size / 1e6:6.2f}{_milliseconds(file):8.1f}  {_compare(file, files):7}"
        print(f"{figures}{file.variant:{widths[0]}}  {file.inputs:{widths[1]}}  {file.path.name}", flush=True)


@dataclass(frozen=True)
class _File:
    """An ONNX file of a transfer network, what it was made for, and its inputs."""

    path: Path
    stylizer: Stylizer
    variant: str
    inputs: str

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the pictures that are measured."""
        shape = self.stylizer.input_shape
        return shape.width or SIDE, shape.height or SIDE

    @property
    def baked(self) -> dict[str, Any]:
        """The style and strength that the file has without inputs for them."""
        return dict(json.loads(self.stylizer.metadata.get("baked", "{}")))


def _open_all(folder: Path, strict: Path | None) -> list[_File]:
    """The transfer networks in a folder; others are named on the screen, or refused if it is the file `strict`."""
    files = []
    for path in sorted(folder.glob("*.onnx")):
        try:
            files.append(_open(path))
        except ModelError as error:
            if path == strict:
                raise
            print(f"nst-lightning: {error}", file=sys.stderr)
    return files


def _open(path: Path) -> _File:
    stylizer = Stylizer(path)
    try:
        return _File(path, stylizer, _describe(path, stylizer), _describe_inputs(path))
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        raise ModelError(f"model: the metadata of {path} are damaged") from None


def _describe(path: Path, stylizer: Stylizer) -> str:
    """The variant, by what the file itself says."""
    model, shape = onnx.load(path), stylizer.input_shape
    half = any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in model.graph.initializer)
    opset = next(entry.version for entry in model.opset_import if not entry.domain)
    baked = json.loads(stylizer.metadata.get("baked", "{}"))
    style = ",".join(f"{name}:{baked['strength'] * weight:.3g}" for name, weight in baked.get("style", {}).items())
    sizes = "x".join(str(length or "any") for length in (shape.height, shape.width))
    parts = {
        f"bake {style}": style,
        "float16": half,
        "uint8-nhwc": shape.in_bytes,
        sizes: shape.height or shape.width,
        f"batch {shape.batch}": shape.batch,
        f"opset {opset}": opset != Variant().opset,
    }
    return ", ".join(part for part, given in parts.items() if given) or PLAIN


def _describe_inputs(path: Path) -> str:
    inputs = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"]).get_inputs()
    return " ".join(f"{node.name}[{','.join(map(str, node.shape))}]" for node in inputs)


def _milliseconds(file: _File) -> float:
    """The time for one picture."""
    run = prepare_run(file.path, file.size, usable_processors())
    run()
    return 1000 * median(measure_seconds(run) for _ in range(RUNS)) / (file.stylizer.input_shape.batch or 1)


def _compare(file: _File, files: Sequence[_File]) -> str:
    """The PSNR in dB to the plain file of the same network."""
    name = file.stylizer.metadata.get("fingerprint")
    same = [other for other in files if name and other.stylizer.metadata.get("fingerprint") == name]
    plain = next((other for other in same if other.variant == PLAIN), None)
    if plain is None or plain is file:
        return "-"
    photo = watercolor(max(file.size)).crop((0, 0, *file.size))
    picture = file.stylizer(photo, strokes="native")
    expected = plain.stylizer(photo, strokes="native", **file.baked)
    power = np.square((np.asarray(picture, np.float64) - np.asarray(expected, np.float64)) / 255).mean()
    return f"{-10 * math.log10(power):.1f}" if power else "equal"
