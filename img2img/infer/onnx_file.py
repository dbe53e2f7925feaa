"""An ONNX file as messages that can be changed, without the package `onnx`.

Only the fields that are needed here are declared, with the numbers of onnx.proto3, which never
change. Others are kept as they are. Protobuf comes with onnxruntime.
"""

from collections.abc import Iterable
from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

FLOAT, FLOAT16 = 1, 10  # of TensorProto.DataType
INT = 2  # of AttributeProto.AttributeType
# Operators that can run without end. No exported network has them: `torch.onnx` unrolls loops whose
# length is fixed.
LOOPS = ("Loop", "Scan")
# By message: each field's name, number and type; a * marks a list.
MESSAGES = {
    "Entry": (("key", 1, "string"), ("value", 2, "string")),
    "Tensor": (
        ("dims", 1, "int64*"),
        ("data_type", 2, "int32"),
        ("float_data", 4, "float*"),
        ("name", 8, "string"),
        ("raw_data", 9, "bytes"),
    ),
    "Attribute": (
        ("name", 1, "string"),
        ("i", 3, "int64"),
        ("g", 6, "Graph"),
        ("graphs", 11, "Graph*"),
        ("type", 20, "int32"),
    ),
    "Node": (
        ("input", 1, "string*"),
        ("output", 2, "string*"),
        ("name", 3, "string"),
        ("op_type", 4, "string"),
        ("attribute", 5, "Attribute*"),
    ),
    "Value": (("name", 1, "string"),),
    "Graph": (
        ("node", 1, "Node*"),
        ("initializer", 5, "Tensor*"),
        ("output", 12, "Value*"),
        ("value_info", 13, "Value*"),
    ),
    "Function": (
        ("node", 7, "Node*"),
        ("attribute_proto", 11, "Attribute*"),  # the defaults of its attributes
    ),
    "Model": (
        ("graph", 7, "Graph"),
        ("metadata_props", 14, "Entry*"),
        ("functions", 25, "Function*"),
    ),
}


def parse(content: bytes) -> Any:
    """The message of an ONNX file. Raises google.protobuf.message.DecodeError for another file."""
    return message("Model").FromString(content)


def metadata(model: Any) -> dict[str, str]:
    """The metadata of a parsed file."""
    return {entry.key: entry.value for entry in model.metadata_props}


def operators(model: Any) -> set[str]:
    """The operators of a parsed file, with those inside of branches, loops and functions."""
    names: set[str] = set()
    waiting = [model.graph, *model.functions]
    for function in model.functions:
        waiting += _graphs(function.attribute_proto)
    while waiting:
        for node in waiting.pop().node:
            names.add(node.op_type)
            waiting += _graphs(node.attribute)
    return names


def _graphs(attributes: Iterable[Any]) -> list[Any]:
    return [graph for attribute in attributes for graph in (attribute.g, *attribute.graphs)]


def loops(content: bytes) -> list[str]:
    """The operators of LOOPS in an ONNX file. It is parsed only where the serialized name of one is
    in it, after its length (which may be padded, to hide it): parsing costs a tenth of loading.

    Raises google.protobuf.message.DecodeError for a file with such a name that can't be parsed.
    """
    if not any(end + name.encode() in content for name in LOOPS for end in (b"\x04", b"\x00")):
        return []
    return sorted(operators(parse(content)).intersection(LOOPS))


def message(name: str) -> Any:
    """The class of a message of MESSAGES."""
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"img2img.{name}"))


@cache
def _pool() -> descriptor_pool.DescriptorPool:
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="img2img_onnx.proto", package="img2img")
    for name, fields in MESSAGES.items():
        declaration = file.message_type.add(name=name)
        for label, number, kind in fields:
            plain = kind.removesuffix("*")
            declared = declaration.field.add(name=label, number=number)
            declared.label = field.LABEL_REPEATED if kind != plain else field.LABEL_OPTIONAL
            if plain in MESSAGES:
                declared.type, declared.type_name = field.TYPE_MESSAGE, f".img2img.{plain}"
            else:
                declared.type = field.Type.Value(f"TYPE_{plain.upper()}")
    pool = descriptor_pool.DescriptorPool()  # not the default one, where `onnx` has its messages
    pool.Add(file)
    return pool
