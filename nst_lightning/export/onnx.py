"""One ONNX file with dynamic sizes and metadata, checked against torch before it takes its place."""

import contextlib
import copy
import io
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import onnx
import onnxruntime
import torch
from torch import nn

from nst_lightning.errors import WorkError, require
from nst_lightning.images import atomic_path
from nst_lightning.limits import threads_for_onnx_runtime
from nst_lightning.networks import controls_of, styles_of
from nst_lightning.networks.layers import MINIMUM_SIZE

OPSET = 20
VERIFIED_SHAPES = ((1, 3, 32, 33), (2, 3, 67, 45), (1, 3, 120, 161))
TOLERANCE, HALF_TOLERANCE = 1e-3, 3e-2
"""The largest accepted difference from torch, for values in [0, 1]: a quarter of an 8-bit step, or about seven steps in
half precision, where single pixels differ more."""


def export_onnx(network: nn.Module, output: str | Path, *, metadata: Mapping[str, str], half: bool = False) -> float:
    """Write a transfer network as one ONNX file: input `photo`, output `picture`, float32 RGB in [0, 1], (N, 3, H, W).

    Batch, height and width are dynamic. A network of several styles has its controls as further inputs, which apply
    to the whole batch: for a `MultiStyleNet`, `style`, shape (S,), and `strength` and `preserve_color`, shape (1,). The
    metadata have the controls' default values and the names of the styles, in order, as JSON: `defaults` and `styles`.
    The file is compared with torch at several odd sizes before it is renamed into place; the metadata have the largest
    difference as `largest_difference`.

    Args:
        network: the network, on any device; a copy on the CPU is exported.
        output: the file to write, whose name ends in .onnx.
        metadata: names and values stored in the file.
        half: store and compute in float16, except instance normalizations; inputs and output stay float32.

    Returns:
        The largest absolute difference between ONNX Runtime and torch.

    Raises:
        UserError: the name doesn't end in .onnx.
        WorkError: ONNX Runtime's pictures differ from the network's; no file is written.
    """
    path = Path(output)
    require("output", str(output), path.suffix.lower() == ".onnx", "a file name that ends in .onnx")
    network = copy.deepcopy(network).cpu().float().eval()
    with atomic_path(path) as temporary:
        _write(network, temporary)
        if half:
            onnx.save(_halved(onnx.load(temporary)), temporary)
        difference = _largest_difference(network, temporary)
        if not difference <= (HALF_TOLERANCE if half else TOLERANCE):
            raise WorkError(f"{path}: not written, ONNX Runtime differs from torch by {difference:.2g} of 1")
        model = onnx.load(temporary)
        _remove_source_notes(model.graph)
        metadata = {**metadata, **_style_metadata(network), "largest_difference": f"{difference:.2e}"}
        onnx.helper.set_model_props(model, metadata)
        onnx.save(model, temporary)
    return difference


def _style_metadata(network: nn.Module) -> dict[str, str]:
    if not styles_of(network):
        return {}
    defaults = {name: value.tolist() for name, value in controls_of(network).items()}
    return {"styles": json.dumps(styles_of(network)), "defaults": json.dumps(defaults)}


def _write(network: nn.Module, path: Path) -> None:
    dynamic = {
        0: torch.export.Dim("batch"),
        2: torch.export.Dim("height", min=MINIMUM_SIZE),
        3: torch.export.Dim("width", min=MINIMUM_SIZE),
    }
    controls = controls_of(network)
    with _quiet():
        torch.onnx.export(
            network,
            (torch.rand(2, 3, 96, 128), *controls.values()),
            path,
            input_names=["photo", *controls],
            output_names=["picture"],
            dynamic_shapes=(dynamic, *[None] * len(controls)),
            opset_version=OPSET,
            external_data=False,
            dynamo=True,
            verbose=False,
        )


def _halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model in float16, except for instance normalizations, whose sums over all positions would overflow."""
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16  # slow to import
    from onnxruntime.transformers.onnx_model import OnnxModel

    with _quiet():
        model = convert_float_to_float16(
            model, keep_io_types=True, op_block_list=[*DEFAULT_OP_BLOCK_LIST, "InstanceNormalization"]
        )
    seen: set[str] = set()
    for node in list(model.graph.node):
        if node.output[0] in seen:  # the converter casts an input of two float32 nodes twice, under one name
            model.graph.node.remove(node)
        seen.add(node.output[0])
    del model.graph.value_info[:]  # some entries still say float32
    OnnxModel(model).topological_sort()
    return model


def _remove_source_notes(graph: onnx.GraphProto) -> None:
    """Remove the exporter's debugging notes, which contain source lines and paths of this machine."""
    for part in (graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""


def _largest_difference(network: nn.Module, path: Path) -> float:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads_for_onnx_runtime()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(0)
    differences = []
    for shape in VERIFIED_SHAPES:
        inputs = {"photo": torch.rand(shape, generator=generator)}
        for name, value in controls_of(network).items():
            drawn = torch.rand(value.shape, generator=generator)
            inputs[name] = drawn / drawn.sum() if name == "style" else drawn
        with torch.no_grad():
            expected = network(*inputs.values())
        (picture,) = session.run(None, {name: value.numpy() for name, value in inputs.items()})
        differences.append((torch.from_numpy(picture) - expected).abs().max().item())
    return max(differences, key=lambda value: (value != value, value))  # NaN counts as the largest


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's progress output and its warnings."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
