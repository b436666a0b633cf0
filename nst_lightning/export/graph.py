"""Changes of an ONNX graph that leave what it computes as it is, but for rounding."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

import numpy as np
import onnx
from onnx import helper, numpy_helper

WITHOUT_LIMIT = 2**40
_ADDED_IN_18 = {"Resize": ("antialias", "axes", "keep_aspect_ratio_policy"), "Split": ("num_outputs",)}


def fold_constants(model: onnx.ModelProto) -> onnx.ModelProto:
    """Compute whatever doesn't depend on the photo's values, and leave out what changes nothing.

    Args:
        model: a model with the shapes of its values, as torch's exporter writes it.
    """
    from onnxscript import optimizer  # slow to import

    shapes = {value.name: _shape(value) for value in (*model.graph.value_info, *model.graph.input)}
    zeros = {tensor.name for tensor in model.graph.initializer if not numpy_helper.to_array(tensor).any()}
    for node in model.graph.node:
        shape = shapes.get(node.output[0], [""])
        lengths = [length for length in shape if isinstance(length, int)]
        if node.op_type == "Reshape" and shape == shapes.get(node.input[0]):
            node.CopyFrom(helper.make_node("Identity", node.input[:1], node.output))
        elif node.op_type == "Mul" and zeros & {*node.input} and lengths == shape:
            value = numpy_helper.from_array(np.zeros(lengths, np.float32))
            node.CopyFrom(helper.make_node("Constant", [], node.output, value=value))
    _crop_by_slices(model.graph)
    with quiet():
        return optimizer.optimize(model, input_size_limit=WITHOUT_LIMIT, output_size_limit=WITHOUT_LIMIT)


def _shape(value: onnx.ValueInfoProto) -> list[int | str]:
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


def _crop_by_slices(graph: onnx.GraphProto) -> None:
    """Replace padding by negative widths, which few runtimes know."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type != "Pad" or node.input[1] not in constants:
            continue
        before, after = numpy_helper.to_array(constants[node.input[1]]).reshape(2, -1)
        if max(*before, *after) > 0 or not any((*before, *after)):
            continue
        axes = np.flatnonzero(before | after)
        values = -before[axes], np.where(after[axes], after[axes], np.iinfo(np.int64).max), axes
        names = [f"{node.output[0]}_{part}" for part in ("starts", "ends", "axes")]
        graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in zip(names, values))
        node.CopyFrom(helper.make_node("Slice", [node.input[0], *names], node.output))


def halve(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model in float16, except for its inputs and outputs, and for what would be too coarse."""
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16  # slow to import
    from onnxruntime.transformers.onnx_model import OnnxModel

    with quiet():
        model = convert_float_to_float16(
            model,
            keep_io_types=True,
            op_block_list=[*DEFAULT_OP_BLOCK_LIST, "InstanceNormalization"],  # its sums would overflow
            node_block_list=_counting_nodes(model.graph),
        )
    seen: set[str] = set()
    for node in list(model.graph.node):
        if node.output[0] in seen:  # the converter casts an input of two float32 nodes twice, under one name
            model.graph.node.remove(node)
        seen.add(node.output[0])
    _join_casts(model.graph)
    _cast_constants(model.graph)
    del model.graph.value_info[:]  # some entries still say float32
    converted = OnnxModel(model)
    converted.prune_graph()
    converted.topological_sort()
    return model


def _counting_nodes(graph: onnx.GraphProto) -> list[str]:
    """Names of the nodes that count positions, whose numbers half precision can't hold, up to products with them."""
    counts: set[str] = set()
    names = []
    for node in graph.node:
        if node.op_type == "CumSum" or (counts & {*node.input} and node.op_type != "MatMul"):
            counts.update(node.output)
            names.append(node.name)
    return names


def _join_casts(graph: onnx.GraphProto) -> None:
    """Let nodes take float32 values of other nodes as they are, not rounded to float16 in between."""
    casts = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Cast"}
    for node in graph.node:
        for i, name in enumerate(node.input):
            exact = casts.get(casts.get(name, ""), "")
            if exact.endswith("_cast_to_fp16"):  # the converter's name for the float32 value
                node.input[i] = exact


def _cast_constants(graph: onnx.GraphProto) -> None:
    """Store constants for operators in float32 as such: some runtimes need the scales of Resize as constants."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in list(graph.node):
        if node.op_type == "Cast" and node.input[0] in constants and node.attribute[0].i == onnx.TensorProto.FLOAT:
            value = numpy_helper.to_array(constants[node.input[0]]).astype(np.float32)
            graph.initializer.append(numpy_helper.from_array(value, node.output[0]))
            graph.node.remove(node)


def take_bytes(model: onnx.ModelProto) -> None:
    """Let a model take and return RGB bytes, of shape (N, H, W, 3), in place of numbers from 0 to 1."""
    graph, photo, picture = model.graph, model.graph.input[0], model.graph.output[0]
    inside = {photo.name: f"{photo.name}_numbers", picture.name: f"{picture.name}_numbers"}
    for node in graph.node:
        node.input[:] = [inside.get(name, name) for name in node.input]
        node.output[:] = [inside.get(name, name) for name in node.output]
    constants = {"byte_scale": 255.0, "half_step": 0.5}
    graph.initializer.extend(numpy_helper.from_array(np.float32(value), name) for name, value in constants.items())
    before = [
        helper.make_node("Cast", [photo.name], ["photo_cast"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Transpose", ["photo_cast"], ["photo_planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Div", ["photo_planes", "byte_scale"], [inside[photo.name]]),
    ]
    after = [
        helper.make_node("Mul", [inside[picture.name], "byte_scale"], ["picture_scaled"]),
        helper.make_node("Add", ["picture_scaled", "half_step"], ["picture_raised"]),  # casting rounds down
        helper.make_node("Transpose", ["picture_raised"], ["picture_pixels"], perm=[0, 2, 3, 1]),
        helper.make_node("Cast", ["picture_pixels"], [picture.name], to=onnx.TensorProto.UINT8),
    ]
    nodes = [*before, *graph.node, *after]
    del graph.node[:]
    graph.node.extend(nodes)
    for value in (photo, picture):
        batch, channels, height, width = _shape(value)
        shape = [batch, height, width, channels]
        value.CopyFrom(helper.make_tensor_value_info(value.name, onnx.TensorProto.UINT8, shape))


def lower_opset(model: onnx.ModelProto, opset: int) -> None:
    """Declare the lowest versions with which a model is valid, ONNX's own converter knows too few operators.

    Args:
        model: a model of operators' version `opset`, or of version 18 if that is 17.
        opset: the version.

    Raises:
        onnx.checker.ValidationError: an operator is not in the version.
    """
    for node in model.graph.node if opset < 18 else ():
        for attribute in [each for each in node.attribute if each.name in _ADDED_IN_18.get(node.op_type, ())]:
            node.attribute.remove(attribute)
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", opset))
    model.ir_version = helper.find_min_ir_version_for(model.opset_import)
    onnx.checker.check_model(model, full_check=True)


def remove_source_notes(graph: onnx.GraphProto) -> None:
    """Remove the exporter's debugging notes, which contain source lines and paths of this machine."""
    for part in (graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence the exporter's progress output and its warnings."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)
