"""Reads a .tflite file without running it: what is in the bytes, never what a converter's flags promised.

Rules, in order: 1. the identifier TFL3 must be there. 2. Every vector lies inside the file and the work is bounded by
the file's size, whatever lengths the file claims. 3. Every index (tensor, buffer, operator code) points at something: a
damaged file can abort the process inside the interpreter, so nothing is handed over that did not pass here. 4. Whatever
the generated reader raises on the way is a ModelFileError.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeproof_edge.errors import ModelFileError
from edgeproof_edge.tensors import TensorSpec

FILE_IDENTIFIER = b"TFL3"
MINIMUM_RUNTIME_METADATA = "min_runtime_version"
FLEX_PREFIX = "Flex"
ABSENT_TENSOR = -1
"""Index of an optional operator input that is not given."""

_MALFORMED = (struct.error, ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError, MemoryError)
"""What the generated reader raises on bytes that are no flatbuffer."""

_FLOAT_DTYPES = frozenset({"float16", "bfloat16", "float32", "float64"})
_INTEGER_CODE_DTYPES = frozenset({"int4", "int8", "uint8", "int16"})
_CAST_OPERATORS = frozenset({"QUANTIZE", "DEQUANTIZE"})

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class OperatorUse:
    """One kind of operator: same name, version and types.

    Attributes:
        name: TFLite's builtin name (CONV_2D), or the custom operator's own (FlexErf).
        version: Version of the operator, which a runtime must know.
        count: How often it occurs, in all subgraphs.
        input_dtypes: Types of its inputs in order, weights and bias included; "none" for an optional input left out.
        output_dtypes: Types of its outputs in order.
        weight_bytes: Bytes of constant data it reads; a buffer that several operators share counts where it is read
            first.
    """

    name: str
    version: int
    count: int
    input_dtypes: tuple[str, ...]
    output_dtypes: tuple[str, ...]
    weight_bytes: int


@dataclass(frozen=True)
class Crossing:
    """A place where activations cross between integer and float: an accelerator's graph is cut there."""

    operator: str
    from_tensor: str
    to_tensor: str


@dataclass(frozen=True)
class Inspection:
    """What a .tflite file holds.

    Attributes:
        size_bytes: Size of the file.
        sha256: Hash of the file, hex.
        operators: Every kind of operator, sorted by name, version and types.
        float_operators: Names of operators with a float activation, sorted, each once. QUANTIZE and DEQUANTIZE are not
            among them: they are counted as crossings.
        num_float_operators: How many such operators there are.
        crossings: Every QUANTIZE or DEQUANTIZE between an integer and a float activation, in graph order.
        custom_operators: Names of custom operators that are not Flex, sorted.
        flex_operators: Names of TensorFlow operators carried along (FlexErf), sorted.
        inputs: Inputs in graph order; named by the signature where the file has exactly one, by tensor otherwise.
        outputs: Outputs, likewise.
        signature_key: Key of the only signature; None where there is none or there are several.
        minimum_runtime: What the converter wrote as the oldest runtime; None where it wrote nothing. Converters often
            leave it empty, and it proves nothing: only loading does.
    """

    size_bytes: int
    sha256: str
    operators: tuple[OperatorUse, ...]
    float_operators: tuple[str, ...]
    num_float_operators: int
    crossings: tuple[Crossing, ...]
    custom_operators: tuple[str, ...]
    flex_operators: tuple[str, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    signature_key: str | None
    minimum_runtime: str | None

    @property
    def num_operators(self) -> int:
        """Operators in all subgraphs."""
        return sum(use.count for use in self.operators)

    @property
    def num_int_float_crossings(self) -> int:
        """Places where activations cross between integer and float."""
        return len(self.crossings)

    @property
    def weight_bytes(self) -> int:
        """Bytes of constant data that operators read."""
        return sum(use.weight_bytes for use in self.operators)

    def to_json(self) -> dict[str, Any]:
        """The inspection as JSON-ready values, the derived counts included."""
        return {
            **asdict(self),
            "num_operators": self.num_operators,
            "num_int_float_crossings": self.num_int_float_crossings,
            "weight_bytes": self.weight_bytes,
        }


@dataclass(frozen=True)
class BoundTensor:
    """An input or output under its public name, and the tensor of the main subgraph that carries it."""

    spec: TensorSpec
    tensor_index: int


@dataclass(frozen=True)
class GraphInterface:
    """The door of a model: what the interpreter is fed with and read from.

    Attributes:
        inputs: Inputs in graph order.
        outputs: Outputs in graph order; two names may stand for one tensor.
        signature_key: Key of the only signature, if there is exactly one and it describes the main subgraph.
        activation_bytes: Sum of all activations of the main subgraph at the declared batch; an upper bound of the
            arena.
    """

    inputs: tuple[BoundTensor, ...]
    outputs: tuple[BoundTensor, ...]
    signature_key: str | None
    activation_bytes: int


def inspect(data: bytes) -> Inspection:
    """Reads operators, types, crossings, inputs and outputs from the bytes of a .tflite file.

    Raises:
        ModelFileError: The bytes are no TFLite file, or a damaged one.
    """
    model = _parse(data)
    operators = [operator for graph in model.graphs for operator in graph.operators]
    float_names = [operator.name for operator in operators if _computes_in_float(operator)]
    custom = {operator.name for operator in operators if operator.is_custom}
    flex = {name for name in custom if name.startswith(FLEX_PREFIX)}
    interface = _interface(model)
    return Inspection(
        size_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        operators=_count_operators(operators),
        float_operators=tuple(sorted(set(float_names))),
        num_float_operators=len(float_names),
        crossings=tuple(_crossing(operator) for operator in operators if _crosses(operator)),
        custom_operators=tuple(sorted(custom - flex)),
        flex_operators=tuple(sorted(flex)),
        inputs=tuple(bound.spec for bound in interface.inputs),
        outputs=tuple(bound.spec for bound in interface.outputs),
        signature_key=interface.signature_key,
        minimum_runtime=model.minimum_runtime,
    )


def read_interface(data: bytes) -> GraphInterface:
    """Reads and checks the whole file, and returns its inputs and outputs with their tensor indices.

    Raises:
        ModelFileError: The bytes are no TFLite file, or a damaged one.
    """
    return _interface(_parse(data))


def describe_non_tflite(data: bytes) -> str:
    """Says in a few words what bytes without the TFLite identifier look like, for the text of an error."""
    head = data[:512].lstrip().lower()
    if not data:
        return "it is empty"
    if head.startswith(b"version https://git-lfs"):
        return "it is a git-lfs pointer, not the file itself; run `git lfs pull`"
    if head.startswith((b"<!doctype html", b"<html")):
        return "it is an HTML page; a download probably returned a login or error page"
    if head.startswith((b"<?xml", b"<error")):
        return "it is an XML document; a download probably returned an error"
    if head.startswith((b"{", b"[")):
        return "it looks like JSON"
    for magic, kind in _MAGIC:
        if data.startswith(magic):
            return f"it is {kind}"
    if len(data) < 8:
        return f"it is only {len(data)} bytes long"
    return f"bytes 4 to 7 are {data[4:8]!r} where a TFLite file has {FILE_IDENTIFIER!r}"


_MAGIC = (
    (b"PK\x03\x04", "a zip archive (a .keras file, perhaps); convert the model to .tflite first"),
    (b"\x1f\x8b", "gzip-compressed; decompress it first"),
    (b"\x89HDF", "an HDF5 file (a Keras .h5 model, perhaps); convert the model to .tflite first"),
    (b"\x7fELF", "a compiled program or library"),
    (b"\x08\x01\x12", "a TensorFlow SavedModel protobuf; convert the model to .tflite first"),
)


# --- The checked picture of a file -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Tensor:
    name: str
    dtype: str
    shape: tuple[int, ...]
    open_shape: tuple[int, ...]
    scale: float
    zero_point: int
    buffer_index: int
    buffer_bytes: int

    @property
    def is_constant(self) -> bool:
        return self.buffer_bytes > 0


@dataclass(frozen=True)
class _Operator:
    name: str
    version: int
    is_custom: bool
    inputs: tuple[_Tensor | None, ...]
    outputs: tuple[_Tensor | None, ...]

    @property
    def activations(self) -> list[_Tensor]:
        return [tensor for tensor in (*self.inputs, *self.outputs) if tensor is not None and not tensor.is_constant]


@dataclass(frozen=True)
class _Graph:
    tensors: tuple[_Tensor, ...]
    operators: tuple[_Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class _Signature:
    key: str
    subgraph_index: int
    inputs: tuple[tuple[str, int], ...]
    outputs: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class _Model:
    graphs: tuple[_Graph, ...]
    signatures: tuple[_Signature, ...]
    minimum_runtime: str | None


def _count_operators(operators: list[_Operator]) -> tuple[OperatorUse, ...]:
    Key = tuple[str, int, tuple[str, ...], tuple[str, ...]]
    uses: dict[Key, list[int]] = {}
    seen_buffers: set[int] = set()
    for operator in operators:
        key = (operator.name, operator.version, _dtypes(operator.inputs), _dtypes(operator.outputs))
        use = uses.setdefault(key, [0, 0])
        use[0] += 1
        for tensor in operator.inputs:
            if tensor is not None and tensor.is_constant and tensor.buffer_index not in seen_buffers:
                seen_buffers.add(tensor.buffer_index)
                use[1] += tensor.buffer_bytes
    return tuple(
        OperatorUse(name, version, count, inputs, outputs, weight_bytes)
        for (name, version, inputs, outputs), (count, weight_bytes) in sorted(uses.items())
    )


def _dtypes(tensors: tuple[_Tensor | None, ...]) -> tuple[str, ...]:
    return tuple("none" if tensor is None else tensor.dtype for tensor in tensors)


def _computes_in_float(operator: _Operator) -> bool:
    if operator.name in _CAST_OPERATORS:
        return False
    return any(tensor.dtype in _FLOAT_DTYPES for tensor in operator.activations)


def _crosses(operator: _Operator) -> bool:
    """QUANTIZE also rescales int8 to int8, and DEQUANTIZE also widens float16 weights: neither is a crossing."""
    dtypes = {tensor.dtype for tensor in operator.activations}
    return operator.name in _CAST_OPERATORS and bool(dtypes & _FLOAT_DTYPES) and bool(dtypes & _INTEGER_CODE_DTYPES)


def _crossing(operator: _Operator) -> Crossing:
    source, target = operator.activations
    return Crossing(operator.name, source.name, target.name)


def _interface(model: _Model) -> GraphInterface:
    main = model.graphs[0]
    signature = _only_signature(model)
    activation_bytes = sum(
        math.prod(tensor.shape) * _ITEM_BYTES.get(tensor.dtype, 8) for tensor in main.tensors if not tensor.is_constant
    )
    return GraphInterface(
        inputs=_bind(main, main.inputs, signature.inputs if signature else None),
        outputs=_bind(main, main.outputs, signature.outputs if signature else None),
        signature_key=signature.key if signature else None,
        activation_bytes=activation_bytes,
    )


def _only_signature(model: _Model) -> _Signature | None:
    """The signature that names the main subgraph's inputs and outputs: the only one, and complete."""
    if len(model.signatures) != 1:
        return None
    signature, main = model.signatures[0], model.graphs[0]
    is_complete = (
        signature.subgraph_index == 0
        and {index for _, index in signature.inputs} == set(main.inputs)
        and {index for _, index in signature.outputs} == set(main.outputs)
    )
    return signature if is_complete else None


def _bind(
    graph: _Graph, indices: tuple[int, ...], names: tuple[tuple[str, int], ...] | None
) -> tuple[BoundTensor, ...]:
    if names is None:
        named = [(graph.tensors[index].name, index) for index in dict.fromkeys(indices)]
    else:
        named = [(name, index) for wanted in dict.fromkeys(indices) for name, index in names if index == wanted]
    return tuple(BoundTensor(_spec(name, graph.tensors[index]), index) for name, index in named)


def _spec(name: str, tensor: _Tensor) -> TensorSpec:
    return TensorSpec(name, tensor.open_shape, tensor.dtype, tensor.scale, tensor.zero_point)


# --- Reading ----------------------------------------------------------------------------------------------------------


def _parse(data: bytes) -> _Model:
    if data[4:8] != FILE_IDENTIFIER:
        raise ModelFileError(
            f"not a TFLite model: {describe_non_tflite(data)}. "
            "Give the path of a .tflite file, as `edgeproof convert` writes it."
        )
    try:
        return _FileReader(data).read_model()
    except _MALFORMED as error:
        raise ModelFileError(
            f"the TFLite model ({len(data)} bytes) is truncated or damaged: {error}. "
            "Compare its SHA-256 with the original and copy or convert it again."
        ) from error


class _FileReader:
    """Walks the generated reader's lazy accessors; raises any of `_MALFORMED`."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        # A sound file stores what is read here once, at a byte or more an item. A damaged one may point a thousand
        # vectors at the same bytes: the budget ends such a walk early.
        self._items_left = 4 * len(data)

    def read_model(self) -> _Model:
        root = schema.Model.GetRootAs(self._data, 0)
        buffers = self._vector(root.BuffersLength(), lambda i: self._buffer_bytes(root.Buffers(i)))
        codes = self._vector(root.OperatorCodesLength(), lambda i: self._operator_code(root.OperatorCodes(i)))
        graphs = self._vector(root.SubgraphsLength(), lambda i: self._graph(root.Subgraphs(i), codes, buffers))
        if not graphs:
            raise ValueError("it has no subgraph")
        signatures = self._vector(root.SignatureDefsLength(), lambda i: self._signature(root.SignatureDefs(i), graphs))
        return _Model(graphs, signatures, self._minimum_runtime(root, len(buffers)))

    def _spend(self, num_items: int) -> None:
        self._items_left -= num_items
        if num_items < 0 or self._items_left < 0:
            raise ValueError("its tables claim more content than the file has room for")

    def _vector(self, length: int, item: Callable[[int], _Item]) -> tuple[_Item, ...]:
        self._spend(length)
        return tuple(item(index) for index in range(length))

    def _integers(self, values: Any) -> tuple[int, ...]:
        """An integer vector as the generated `...AsNumpy` returns it: an array, or 0 where the field is absent."""
        if not isinstance(values, np.ndarray):
            return ()
        self._spend(values.size)
        return tuple(int(value) for value in values)

    def _text(self, raw: bytes | None) -> str:
        self._spend(len(raw or b""))
        return (raw or b"").decode("utf-8", errors="replace")

    def _buffer_bytes(self, buffer: Any) -> int:
        data = buffer.DataAsNumpy()  # a view: also the check that the bytes are there
        if isinstance(data, np.ndarray) and data.size:
            return int(data.size)
        if buffer.Offset() <= 1:
            return 0
        if buffer.Offset() + buffer.Size() > len(self._data):  # constants behind the flatbuffer, in files beyond 2 GB
            raise ValueError("a weight buffer lies beyond its end")
        return int(buffer.Size())

    def _operator_code(self, code: Any) -> tuple[str, int, bool]:
        # Old files know only the one-byte field; new ones fill the other.
        builtin = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        is_custom = builtin == schema.BuiltinOperator.CUSTOM
        name = self._text(code.CustomCode()) if is_custom else _BUILTIN_NAMES.get(builtin, f"UNKNOWN_{builtin}")
        return name, int(code.Version()), is_custom

    def _graph(self, graph: Any, codes: tuple[tuple[str, int, bool], ...], buffers: tuple[int, ...]) -> _Graph:
        tensors = self._vector(graph.TensorsLength(), lambda i: self._tensor(graph.Tensors(i), buffers))
        operators = self._vector(graph.OperatorsLength(), lambda i: self._operator(graph.Operators(i), codes, tensors))
        inputs, outputs = self._integers(graph.InputsAsNumpy()), self._integers(graph.OutputsAsNumpy())
        for index in (*inputs, *outputs):
            _at(tensors, index, "tensor")
        return _Graph(tensors, operators, inputs, outputs)

    def _tensor(self, tensor: Any, buffers: tuple[int, ...]) -> _Tensor:
        name = self._text(tensor.Name())
        shape = self._integers(tensor.ShapeAsNumpy())
        open_shape = self._integers(tensor.ShapeSignatureAsNumpy()) or shape
        if min(shape, default=0) < 0 or min(open_shape, default=0) < -1 or len(shape) != len(open_shape):
            raise ValueError(f"tensor {name!r} has the impossible shape {shape} {open_shape}")
        scale, zero_point = self._quantization(tensor.Quantization())
        dtype = _DTYPES.get(tensor.Type())
        if dtype is None:
            raise ValueError(f"tensor {name!r} has the unknown type {tensor.Type()}")
        index = int(tensor.Buffer())
        return _Tensor(name, dtype, shape, open_shape, scale, zero_point, index, _at(buffers, index, "buffer"))

    def _quantization(self, parameters: Any) -> tuple[float, int]:
        """Scale and zero point of a tensor with one of each; (0.0, 0) where there is none, or one per channel."""
        if parameters is None or parameters.ScaleLength() != 1 or parameters.ZeroPointLength() > 1:
            return 0.0, 0
        scale = float(parameters.Scale(0))
        if not (math.isfinite(scale) and scale >= 0.0):
            raise ValueError(f"a tensor has the impossible scale {scale}")
        return scale, int(parameters.ZeroPoint(0)) if parameters.ZeroPointLength() else 0

    def _operator(
        self, operator: Any, codes: tuple[tuple[str, int, bool], ...], tensors: tuple[_Tensor, ...]
    ) -> _Operator:
        name, version, is_custom = _at(codes, int(operator.OpcodeIndex()), "operator code")

        def pick(indices: tuple[int, ...]) -> tuple[_Tensor | None, ...]:
            return tuple(None if index == ABSENT_TENSOR else _at(tensors, index, "tensor") for index in indices)

        inputs = pick(self._integers(operator.InputsAsNumpy()))
        return _Operator(name, version, is_custom, inputs, pick(self._integers(operator.OutputsAsNumpy())))

    def _signature(self, signature: Any, graphs: tuple[_Graph, ...]) -> _Signature:
        index = int(signature.SubgraphIndex())
        tensors = _at(graphs, index, "subgraph").tensors

        def entry(tensor_map: Any) -> tuple[str, int]:
            _at(tensors, int(tensor_map.TensorIndex()), "tensor")
            return self._text(tensor_map.Name()), int(tensor_map.TensorIndex())

        return _Signature(
            key=self._text(signature.SignatureKey()),
            subgraph_index=index,
            inputs=self._vector(signature.InputsLength(), lambda i: entry(signature.Inputs(i))),
            outputs=self._vector(signature.OutputsLength(), lambda i: entry(signature.Outputs(i))),
        )

    def _minimum_runtime(self, root: Any, num_buffers: int) -> str | None:
        entries = self._vector(root.MetadataLength(), lambda i: self._metadata_entry(root.Metadata(i), num_buffers))
        for name, buffer_index in entries:
            if name == MINIMUM_RUNTIME_METADATA:
                value = root.Buffers(buffer_index).DataAsNumpy()
                raw = value.tobytes() if isinstance(value, np.ndarray) else b""
                return self._text(raw.split(b"\0", 1)[0]) or None  # padded with zeros
        return None

    def _metadata_entry(self, entry: Any, num_buffers: int) -> tuple[str, int]:
        index = int(entry.Buffer())
        _at(range(num_buffers), index, "buffer")
        return self._text(entry.Name()), index


def _at(items: Any, index: int, kind: str) -> Any:
    if not 0 <= index < len(items):
        raise IndexError(f"it refers to {kind} {index} of {len(items)}")
    return items[index]


def _constants(enumeration: Any) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}


_BUILTIN_NAMES = _constants(schema.BuiltinOperator)
_DTYPES = {value: name.lower() for value, name in _constants(schema.TensorType).items()}
_ITEM_BYTES = {
    dtype: np.dtype(dtype).itemsize
    for dtype in (
        "bool",
        "int8",
        "uint8",
        "int16",
        "uint16",
        "float16",
        "int32",
        "uint32",
        "float32",
        "int64",
        "float64",
    )
}
