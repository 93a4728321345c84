"""tf.Example without TensorFlow, whose import costs seconds in every process that only reads or writes examples.

The message is described here as tensorflow/core/example/example.proto describes it, so its bytes are the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

#: Values of one feature; whole numbers, fractions, or bytes.
Values = Sequence[Any]

_PACKAGE = "edgeproof_examples"
_FIELD = descriptor_pb2.FieldDescriptorProto
_LISTS = {
    "BytesList": (_FIELD.TYPE_BYTES, False),
    "FloatList": (_FIELD.TYPE_FLOAT, True),
    "Int64List": (_FIELD.TYPE_INT64, True),
}
_KINDS = {"bytes_list": "BytesList", "float_list": "FloatList", "int64_list": "Int64List"}


def encode_example(features: Mapping[str, Values]) -> bytes:
    """The bytes of a tf.Example, the same for the same features in every process.

    Args:
        features: Feature -> its values: all ``int``, all ``float`` or all ``bytes``; none is a feature without values.

    Raises:
        TypeError: A value is of another type.
    """
    example = example_class()()
    feature = example.features.feature
    for name, values in features.items():
        target = feature[name]
        if values:
            getattr(target, _kind_of(values[0])).value.extend(values)
    encoded: bytes = example.SerializeToString(deterministic=True)
    return encoded


def _kind_of(value: Any) -> str:
    if isinstance(value, bytes):
        return "bytes_list"
    if isinstance(value, int):
        return "int64_list"
    if isinstance(value, float):
        return "float_list"
    raise TypeError(f"a tf.Example holds no {type(value).__name__}")


def decode_example(encoded: bytes) -> dict[str, list[Any]]:
    """Feature -> its values; what :func:`encode_example` takes.

    Raises:
        google.protobuf.message.DecodeError: The bytes are no tf.Example.
    """
    example = example_class()()
    example.ParseFromString(encoded)
    decoded: dict[str, list[Any]] = {}
    for name, feature in example.features.feature.items():
        kind = feature.WhichOneof("kind")
        decoded[name] = list(getattr(feature, kind).value) if kind else []
    return decoded


@cache
def example_class() -> Any:
    """The message class, in a pool of its own: TensorFlow registers the same names in the default one."""
    pool = descriptor_pool.DescriptorPool()
    pool.Add(_file())
    descriptor = pool.FindMessageTypeByName(f"{_PACKAGE}.Example")
    if hasattr(message_factory, "GetMessageClass"):
        return message_factory.GetMessageClass(descriptor)
    return message_factory.MessageFactory(pool).GetPrototype(descriptor)  # protobuf 3.20


def _file() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="edgeproof_examples.proto", package=_PACKAGE, syntax="proto3")
    for name, (kind, is_packed) in _LISTS.items():
        field = file.message_type.add(name=name).field.add(
            name="value", number=1, type=kind, label=_FIELD.LABEL_REPEATED
        )
        if is_packed:
            field.options.packed = True
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, (name, message) in enumerate(_KINDS.items(), 1):
        _message_field(feature, name, number, message).oneof_index = 0
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=_FIELD.TYPE_STRING, label=_FIELD.LABEL_OPTIONAL)
    _message_field(entry, "value", 2, "Feature")
    _message_field(features, "feature", 1, "Features.FeatureEntry").label = _FIELD.LABEL_REPEATED
    _message_field(file.message_type.add(name="Example"), "features", 1, "Features")
    return file


def _message_field(message: Any, name: str, number: int, kind: str) -> Any:
    return message.field.add(
        name=name, number=number, type=_FIELD.TYPE_MESSAGE, label=_FIELD.LABEL_OPTIONAL, type_name=f".{_PACKAGE}.{kind}"
    )
