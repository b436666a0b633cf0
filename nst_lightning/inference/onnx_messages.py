"""The messages of ONNX's file format, as far as cutting a network into parts needs them.

Protobuf, Google's library, reads and writes the messages; ONNX Runtime brings it along, while the package `onnx`, which
has the whole format, would be one more to install. Fields that aren't listed here are kept as they are. The numbers are
those of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

FLOAT, INT64, FLOAT16 = 1, 7, 10
"""Types of elements, as `TensorProto.DataType` numbers them."""
_TYPES = {"float": 2, "int64": 3, "int32": 5, "string": 9, "message": 11, "bytes": 12}  # FieldDescriptorProto.Type
_MESSAGES: dict[str, dict[str, tuple[int, str]]] = {  # a type in brackets repeats; a capital begins a message
    "Model": {"graph": (7, "Graph")},
    "Graph": {
        "node": (1, "[Node]"),
        "initializer": (5, "[Tensor]"),
        "input": (11, "[Value]"),
        "output": (12, "[Value]"),
        "value_info": (13, "[Value]"),
    },
    "Node": {
        "input": (1, "[string]"),
        "output": (2, "[string]"),
        "op_type": (4, "string"),
        "attribute": (5, "[Attribute]"),
    },
    "Attribute": {
        "name": (1, "string"),
        "f": (2, "float"),
        "i": (3, "int64"),
        "s": (4, "bytes"),
        "ints": (8, "[int64]"),
        "type": (20, "int32"),
    },
    "Tensor": {"name": (8, "string")},
    "Value": {"name": (1, "string"), "type": (2, "Type")},
    "Type": {"tensor_type": (1, "TensorType")},
    "TensorType": {"elem_type": (1, "int32")},
}
_INT = 2  # AttributeProto.AttributeType


def parse_model(data: bytes) -> Any:
    """The model in the bytes of an ONNX file, whose fields have ONNX's names."""
    return _model_class().FromString(data)


def add_node(graph: Any, op_type: str, inputs: list[str], output: str, **integers: int) -> None:
    """Add a node with one output to a graph; further arguments are attributes that are integers."""
    node = graph.node.add(op_type=op_type, input=inputs, output=[output])
    for name, value in integers.items():
        node.attribute.add(name=name, i=value, type=_INT)


def add_input(graph: Any, name: str, element: int) -> str:
    """Add an input of any shape to a graph, and return its name."""
    graph.input.add(name=name).type.tensor_type.elem_type = element
    return name


def attributes(node: Any) -> dict[str, Any]:
    """The attributes of a node by their names."""
    return {each.name: each for each in node.attribute}


@cache
def _model_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="onnx_parts.proto", package="onnx_parts", syntax="proto2")
    for message, fields in _MESSAGES.items():
        described = file.message_type.add(name=message)
        for name, (number, kind) in fields.items():
            single = kind.strip("[]")
            field = described.field.add(name=name, number=number, type=_TYPES.get(single, _TYPES["message"]))
            field.label = field.LABEL_OPTIONAL if single == kind else field.LABEL_REPEATED
            if single not in _TYPES:
                field.type_name = f".onnx_parts.{single}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("onnx_parts.Model"))
