"""One ONNX file with dynamic sizes and metadata, checked against torch before it takes its place."""

import contextlib
import copy
import io
import json
import logging
import warnings
from collections.abc import Mapping
from pathlib import Path

import onnx
import onnxruntime
import torch
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel
from torch import Tensor, nn

from nst_lightning.errors import WorkError, require
from nst_lightning.images import atomic_path
from nst_lightning.networks import MultiStyleNet
from nst_lightning.networks.layers import MINIMUM_SIZE

OPSET = 20
VERIFIED_SHAPES = ((1, 3, 32, 33), (2, 3, 67, 45), (1, 3, 120, 161))
TOLERANCE, HALF_TOLERANCE = 1e-3, 3e-2
"""Largest difference from torch, in [0, 1], of a file that is accepted: a quarter of one step of 8 bits, and, of single
pixels in half precision, seven steps."""


def export_onnx(network: nn.Module, path: str | Path, *, metadata: Mapping[str, str], half: bool = False) -> float:
    """Write a transfer network as one ONNX file: input `photo`, output `picture`, float32 RGB in [0, 1], (N, 3, H, W).

    Batch, height and width are dynamic. A `MultiStyleNet` has the further inputs `style`, shape (S,), `strength` and
    `preserve_color`, shape (1,), for the whole batch; their default values and the names of the styles, in order, are
    in the metadata as JSON, `defaults` and `styles`. The file is compared with torch at several odd sizes and only then
    renamed into place; the largest difference is stored in its metadata as `largest_difference`.

    Args:
        network: on any device; a copy on the CPU is exported.
        path: where to, ending in .onnx.
        metadata: names and values stored in the file.
        half: store and compute in float16, all but the instance normalizations; inputs and output stay float32.

    Returns:
        The largest absolute difference between ONNX Runtime and torch.

    Raises:
        UserError: `path` doesn't end in .onnx.
        WorkError: the file doesn't reproduce the network.
    """
    path = Path(path)
    require("output", str(path), path.suffix.lower() == ".onnx", "a file name that ends in .onnx")
    network = copy.deepcopy(network).cpu().float().eval()
    with atomic_path(path) as temporary:
        _write(network, temporary)
        if half:
            onnx.save(_halved(onnx.load(temporary)), temporary)
        difference = _largest_difference(network, temporary)
        if not difference <= (HALF_TOLERANCE if half else TOLERANCE):
            raise WorkError(f"{path}: not written, ONNX Runtime differs from torch by {difference:.2g} of 1")
        model = onnx.load(temporary)
        _forget_source(model.graph)
        described = {**metadata, **_described(network), "largest_difference": f"{difference:.2e}"}
        onnx.helper.set_model_props(model, described)
        onnx.save(model, temporary)
    return difference


def _controls(network: nn.Module) -> dict[str, Tensor]:
    """The inputs besides the photo, with their default values."""
    return network.controls if isinstance(network, MultiStyleNet) else {}


def _described(network: nn.Module) -> dict[str, str]:
    if not isinstance(network, MultiStyleNet):
        return {}
    defaults = {name: value.tolist() for name, value in network.controls.items()}
    return {"styles": json.dumps(network.styles), "defaults": json.dumps(defaults)}


def _write(network: nn.Module, path: Path) -> None:
    dynamic = {
        0: torch.export.Dim("batch"),
        2: torch.export.Dim("height", min=MINIMUM_SIZE),
        3: torch.export.Dim("width", min=MINIMUM_SIZE),
    }
    controls = _controls(network)
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
    """In float16; sums over all positions, as in instance normalization, overflow there."""
    with _quiet():
        model = convert_float_to_float16(
            model, keep_io_types=True, op_block_list=[*DEFAULT_OP_BLOCK_LIST, "InstanceNormalization"]
        )
    made: set[str] = set()
    for node in list(model.graph.node):
        if node.output[0] in made:  # what two nodes take in float32, the converter casts twice, under one name
            model.graph.node.remove(node)
        made.add(node.output[0])
    del model.graph.value_info[:]  # some still say float32
    OnnxModel(model).topological_sort()
    return model


def _forget_source(graph: onnx.GraphProto) -> None:
    """Remove the exporter's notes for debugging: they hold source code lines and the paths of this machine."""
    for part in (graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""


def _largest_difference(network: nn.Module, path: Path) -> float:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(0)
    differences = []
    for shape in VERIFIED_SHAPES:
        inputs = {"photo": torch.rand(shape, generator=generator)}
        for name, value in _controls(network).items():
            drawn = torch.rand(value.shape, generator=generator)
            inputs[name] = drawn / drawn.sum() if name == "style" else drawn
        with torch.no_grad():
            expected = network(*inputs.values())
        (picture,) = session.run(None, {name: value.numpy() for name, value in inputs.items()})
        differences.append((torch.from_numpy(picture) - expected).abs().max().item())
    return max(differences, key=lambda value: (value != value, value))  # NaN counts as the largest


@contextlib.contextmanager
def _quiet():
    """Keep the exporter's progress and its warnings about itself to itself."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
