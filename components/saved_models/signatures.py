"""Reads the signatures out of a saved_model.pb without TensorFlow, whose import takes seconds and half a gigabyte.

Only the fields that name tensors are declared here, under the numbers they have in TensorFlow's saved_model.proto, meta_graph.proto and
tensor_shape.proto; protobuf skips the graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from edgeproof_edge.tensors import TensorSpec
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

STRING = "string"
#: tensorflow/core/framework/types.proto -> NumPy's name; others keep their number, which no raw tensor of ours has.
_DTYPES = {
    1: "float32", 2: "float64", 3: "int32", 4: "uint8", 5: "int16", 6: "int8", 7: STRING, 9: "int64", 10: "bool", 14: "bfloat16",
    17: "uint16", 19: "float16", 22: "uint32", 23: "uint64",
}  # fmt: skip

_PACKAGE = "edgeproof_saved_model"
_Field = descriptor_pb2.FieldDescriptorProto
#: Message -> its fields: name, number, type (or the name of another message), repeated.
_MESSAGES: dict[str, list[tuple[str, int, Any, bool]]] = {
    "SavedModel": [("meta_graphs", 2, "MetaGraph", True)],
    "MetaGraph": [("signatures", 5, "SignatureEntry", True)],
    "SignatureEntry": [("key", 1, _Field.TYPE_STRING, False), ("value", 2, "Signature", False)],
    "Signature": [("inputs", 1, "TensorEntry", True), ("outputs", 2, "TensorEntry", True)],
    "TensorEntry": [("key", 1, _Field.TYPE_STRING, False), ("value", 2, "Tensor", False)],
    "Tensor": [("dtype", 2, _Field.TYPE_INT32, False), ("shape", 3, "Shape", False)],
    "Shape": [("dims", 2, "Dim", True)],
    "Dim": [("size", 1, _Field.TYPE_INT64, False)],
}

Tensors = tuple[TensorSpec, ...]


def read_signatures(data: bytes) -> Mapping[str, tuple[Tensors, Tensors]] | None:
    """The signatures of the first graph: key -> (inputs, outputs), each sorted by name.

    Args:
        data: Content of a saved_model.pb.

    Returns:
        None where there is no graph. Initializers and signatures without inputs are left out.

    Raises:
        DecodeError: The bytes are no SavedModel.
    """
    model = _message_class()()
    model.ParseFromString(data)
    if not model.meta_graphs:
        return None
    return {
        entry.key: (_specs(entry.value.inputs), _specs(entry.value.outputs))
        for entry in model.meta_graphs[0].signatures
        if entry.value.inputs and not entry.key.startswith("__")
    }


def _specs(entries: Any) -> Tensors:
    tensors = {entry.key: entry.value for entry in entries}
    return tuple(
        TensorSpec(
            name, tuple(dim.size for dim in tensor.shape.dims), _DTYPES.get(tensor.dtype, f"dtype {tensor.dtype}")
        )
        for name, tensor in sorted(tensors.items())
    )


@lru_cache(maxsize=1)
def _message_class() -> Any:
    return message_class(_PACKAGE, _MESSAGES)


def message_class(package: str, messages: Mapping[str, list[tuple[str, int, Any, bool]]]) -> Any:
    """The class of the message ``SavedModel`` among those declared; fields that are not declared are skipped.

    Args:
        package: Name of the declarations.
        messages: Message -> its fields: name, number, type (or the name of another message), repeated.
    """
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    for message, fields in messages.items():
        declared = file.message_type.add(name=message)
        for name, number, kind, is_repeated in fields:
            label = _Field.LABEL_REPEATED if is_repeated else _Field.LABEL_OPTIONAL
            field = declared.field.add(name=name, number=number, label=label)
            if isinstance(kind, str):
                field.type, field.type_name = _Field.TYPE_MESSAGE, f".{package}.{kind}"
            else:
                field.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    descriptor = pool.FindMessageTypeByName(f"{package}.SavedModel")
    # protobuf 3.20 (the older stack) has only the method, newer ones only the function.
    get_class = getattr(message_factory, "GetMessageClass", None) or message_factory.MessageFactory(pool).GetPrototype
    return get_class(descriptor)


__all__ = ["STRING", "DecodeError", "message_class", "read_signatures"]
