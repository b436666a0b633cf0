"""One ONNX file with metadata, checked against torch before it takes its place."""

import copy
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import onnx
import torch
from torch import nn

from nst_lightning.errors import WorkError, require
from nst_lightning.export.baking import BakedNetwork
from nst_lightning.export.graph import fold_constants, halve, lower_opset, quiet, remove_source_notes, take_bytes
from nst_lightning.export.variant import Variant
from nst_lightning.export.verification import VERIFIED_SHAPES, Difference, compare_with_torch
from nst_lightning.images import atomic_path
from nst_lightning.networks import controls_of, styles_of
from nst_lightning.networks.layers import MINIMUM_SIZE

TOLERANCE, HALF_TOLERANCE = 1e-3, 3e-2
"""The largest accepted difference from torch, for values in [0, 1]: a quarter of an 8-bit step, or about seven steps in
half precision, where single pixels differ more."""
BYTE = 1 / 255
"""What rounding to bytes adds to it, where a value is halfway between two."""


def export_onnx(
    network: nn.Module,
    output: str | Path,
    *,
    metadata: Mapping[str, str],
    variant: Variant = Variant(),
    bake: Mapping[str, float] | None = None,
) -> Difference:
    """Write a transfer network as one ONNX file: input `photo`, output `picture`, float32 RGB in [0, 1], (N, 3, H, W).

    Batch, height and width are dynamic, unless the variant fixes them. A network of several styles has its controls as
    further inputs, which apply to the whole batch: for a `MultiStyleNet`, `style`, shape (S,), and `strength` and
    `preserve_color`, shape (1,). The metadata have the controls' default values and the names of the styles, in order,
    as JSON: `defaults` and `styles`. The file is compared with torch, at several odd sizes if any are allowed, before
    it is renamed into place; the metadata have the largest difference as `largest_difference`.

    Args:
        network: the network, on any device; a copy on the CPU is exported.
        output: the file to write, whose name ends in .onnx.
        metadata: names and values stored in the file.
        variant: precision, kind of input, sizes, and version of ONNX.
        bake: names of styles with weights, whose sum is the strength, for a file of this one style or blend without
            further inputs, whose graph has no arithmetic of shapes. Unless the variant fixes height and width, they
            must be multiples of the metadata's `size_multiple`: 8 for a `MultiStyleNet`.

    Returns:
        The difference between ONNX Runtime's pictures and torch's.

    Raises:
        UserError: the name doesn't end in .onnx, or `bake` doesn't fit the network.
        WorkError: ONNX Runtime's pictures differ from the network's, or the version of ONNX lacks an operator; no file
            is written.
    """
    path = Path(output)
    require("output", str(output), path.suffix.lower() == ".onnx", "a file name that ends in .onnx")
    network = copy.deepcopy(network).cpu().float().eval()
    metadata = {**metadata, "fingerprint": _fingerprint(network)}
    multiple = 1
    if bake is not None:
        network = BakedNetwork(network, bake)
        multiple = 1 if variant.lengths else network.size_multiple
        metadata = network.metadata(metadata) | ({"size_multiple": str(multiple)} if multiple > 1 else {})
    with atomic_path(path) as temporary:
        _write(network, temporary, variant, multiple)
        model = _apply(variant, onnx.load(temporary), fold=bake is not None, path=path)
        onnx.save(model, temporary)
        difference = compare_with_torch(network, temporary, _choose_shapes(variant, multiple))
        tolerance = HALF_TOLERANCE if variant.precision == "float16" else TOLERANCE
        if not difference.largest <= tolerance + BYTE * (variant.io == "uint8-nhwc"):
            raise WorkError(f"{path}: not written, ONNX Runtime differs from torch by {difference.largest:.2g} of 1")
        figures = {"largest_difference": f"{difference.largest:.2e}", "psnr": f"{difference.psnr:.1f}"}
        onnx.helper.set_model_props(model, {**metadata, **_style_metadata(network), **figures})
        onnx.save(model, temporary)
    return difference


def _fingerprint(network: nn.Module) -> str:
    """A name for the network's weights, by which its files are known to belong together."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode() + value.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _style_metadata(network: nn.Module) -> dict[str, str]:
    if not styles_of(network):
        return {}
    defaults = {name: value.tolist() for name, value in controls_of(network).items()}
    return {"styles": json.dumps(styles_of(network)), "defaults": json.dumps(defaults)}


def _write(network: nn.Module, path: Path, variant: Variant, multiple: int) -> None:
    controls = controls_of(network)
    example = torch.rand(variant.fixed_batch or 2, 3, *variant.lengths or (96, 128))
    with quiet():
        torch.onnx.export(
            network,
            (example, *controls.values()),
            path,
            input_names=["photo", *controls],
            output_names=["picture"],
            dynamic_shapes=(_dynamic_lengths(variant, multiple), *[None] * len(controls)),
            opset_version=max(variant.opset, 18),  # torch writes no older ones
            external_data=False,
            dynamo=True,
            verbose=False,
        )


def _dynamic_lengths(variant: Variant, multiple: int) -> dict[int, torch.export.Dim]:
    lengths = {} if variant.fixed_batch else {0: torch.export.Dim("batch")}
    if variant.lengths:
        return lengths
    for dimension, name in ((2, "height"), (3, "width")):
        length = torch.export.Dim(name, min=-(-MINIMUM_SIZE // multiple))
        lengths[dimension] = length if multiple == 1 else multiple * length
    return lengths


def _apply(variant: Variant, model: onnx.ModelProto, *, fold: bool, path: Path) -> onnx.ModelProto:
    """Make a variant of the file that torch wrote."""
    if fold or variant.lengths:
        model = fold_constants(model)
    if variant.precision == "float16":
        model = halve(model)
    if variant.io == "uint8-nhwc":
        take_bytes(model)
    remove_source_notes(model.graph)
    try:
        lower_opset(model, variant.opset)
    except onnx.checker.ValidationError as error:
        reason = str(error).splitlines()[0]
        raise WorkError(f"{path}: not written, the network doesn't fit opset {variant.opset} ({reason})") from error
    return model


def _choose_shapes(variant: Variant, multiple: int) -> list[tuple[int, ...]]:
    """The shapes at which a variant is compared with torch."""
    shapes = []
    for batch, channels, *lengths in VERIFIED_SHAPES:
        allowed = variant.lengths or [multiple * -(-length // multiple) for length in lengths]
        shapes.append((variant.fixed_batch or batch, channels, *allowed))
    return [*dict.fromkeys(shapes)]
