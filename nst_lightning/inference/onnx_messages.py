"""The messages of ONNX's file format, as far as cutting a network into parts needs them.

Protobuf, Google's library, reads and writes the messages; ONNX Runtime brings it along, while the package `onnx`, which
has the whole format, would be one more to install. Fields that aren't listed here are kept as they are. The numbers are
those of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

FLOAT, UINT8, INT64, FLOAT16 = 1, 2, 7, 10
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


def take_numbers(graph: Any) -> None:
    """Let a network that takes and returns bytes, of shape (N, H, W, 3), do so with numbers of shape (N, 3, H, W).

    Args:
        graph: what `export` has written: a cast, a transposition and a division come first; at the end, a product, a
            sum, a transposition and a cast.

    Raises:
        ValueError: other operators are there.
    """
    first, last = list(graph.node)[:3], list(graph.node)[-4:]
    found = [node.op_type for node in (*first, *last)]
    if found != ["Cast", "Transpose", "Div", "Mul", "Add", "Transpose", "Cast"]:
        raise ValueError(f"bytes are converted by {', '.join(found)}")
    numbers = [first[-1].output[0], last[0].input[0]]
    for node in (*first, *last):
        graph.node.remove(node)
    for value, name in zip((graph.input[0], graph.output[0]), numbers):
        value.Clear()  # the shape, too, which is not among the fields here
        value.name = name
        value.type.tensor_type.elem_type = FLOAT


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
