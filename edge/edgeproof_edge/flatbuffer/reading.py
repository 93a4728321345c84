"""Reads a .tflite file without running it: what is in the bytes, never what a converter's flags promised.

Rules, in order: 1. the identifier TFL3 must be there. 2. Every vector lies inside the file and the work is bounded by
the file's size, whatever lengths the file claims. 3. Every index (tensor, buffer, operator code) points at something: a
damaged file can abort the process inside the interpreter, so nothing is handed over that did not pass here. 4. Whatever
the generated reader raises on the way is a ModelFileError.
"""

from __future__ import annotations

import importlib
import struct
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from edgeproof_edge.errors import ModelFileError, SurroundingsError
from edgeproof_edge.flatbuffer.graph import Graph, Model, Operator, Signature, Tensor


def _schema() -> Any:
    """The generated reader that LiteRT brings; None where only tflite-runtime is installed, which has none."""
    try:
        return importlib.import_module("ai_edge_litert.schema_py_generated")
    except ImportError:
        return None


schema = _schema()
HAS_SCHEMA = schema is not None
"""Whether files can be read here; without, a device trusts the manifest of a release that was verified."""
FILE_IDENTIFIER = b"TFL3"
MINIMUM_RUNTIME_METADATA = "min_runtime_version"
ABSENT_TENSOR = -1
"""Index of an optional operator input that is not given."""

_MALFORMED = (struct.error, ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError, MemoryError)
"""What the generated reader raises on bytes that are no flatbuffer."""

_REDUCTIONS = frozenset(
    {"CUMSUM", "MEAN", "REDUCE_ALL", "REDUCE_ANY", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "SUM"}
)
"""Operators whose second input names the axes over which they run."""

_Item = TypeVar("_Item")


def read_model(data: bytes) -> Model:
    """Reads and checks the whole file.

    Raises:
        ModelFileError: The bytes are no TFLite file, or a damaged one.
        SurroundingsError: The installed runtime brings no schema.
    """
    if not HAS_SCHEMA:
        raise SurroundingsError("reading .tflite files needs the package ai-edge-litert, which is not installed here.")
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


class _FileReader:
    """Walks the generated reader's lazy accessors; raises any of `_MALFORMED`."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        # A sound file stores what is read here once, at a byte or more an item. A damaged one may point a thousand
        # vectors at the same bytes: the budget ends such a walk early.
        self._items_left = 4 * len(data)
        self._root = schema.Model.GetRootAs(data, 0)

    def read_model(self) -> Model:
        root = self._root
        buffers = self._vector(root.BuffersLength(), lambda i: self._buffer_bytes(root.Buffers(i)))
        codes = self._vector(root.OperatorCodesLength(), lambda i: self._operator_code(root.OperatorCodes(i)))
        graphs = self._vector(root.SubgraphsLength(), lambda i: self._graph(root.Subgraphs(i), codes, buffers))
        if not graphs:
            raise ValueError("it has no subgraph")
        signatures = self._vector(root.SignatureDefsLength(), lambda i: self._signature(root.SignatureDefs(i), graphs))
        return Model(graphs, signatures, self._minimum_runtime(root, len(buffers)))

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

    def _graph(self, graph: Any, codes: tuple[tuple[str, int, bool], ...], buffers: tuple[int, ...]) -> Graph:
        tensors = self._vector(graph.TensorsLength(), lambda i: self._tensor(i, graph.Tensors(i), buffers))
        operators = self._vector(graph.OperatorsLength(), lambda i: self._operator(graph.Operators(i), codes, tensors))
        inputs, outputs = self._integers(graph.InputsAsNumpy()), self._integers(graph.OutputsAsNumpy())
        for index in (*inputs, *outputs):
            _at(tensors, index, "tensor")
        return Graph(tensors, operators, inputs, outputs)

    def _tensor(self, index: int, tensor: Any, buffers: tuple[int, ...]) -> Tensor:
        name = self._text(tensor.Name())
        shape = self._integers(tensor.ShapeAsNumpy())
        open_shape = self._integers(tensor.ShapeSignatureAsNumpy()) or shape
        if min(shape, default=0) < 0 or min(open_shape, default=0) < -1 or len(shape) != len(open_shape):
            raise ValueError(f"tensor {name!r} has the impossible shape {shape} {open_shape}")
        dtype = _DTYPES.get(tensor.Type())
        if dtype is None:
            raise ValueError(f"tensor {name!r} has the unknown type {tensor.Type()}")
        scale, zero_point = self._single_scale(tensor.Quantization())
        num_scales, scale_range = self._scale_range(tensor.Quantization())
        buffer = int(tensor.Buffer())
        size = _at(buffers, buffer, "buffer")
        return Tensor(
            index=index,
            name=name,
            dtype=dtype,
            shape=shape,
            open_shape=open_shape,
            scale=scale,
            zero_point=zero_point,
            num_scales=num_scales,
            scale_range=scale_range,
            buffer_index=buffer,
            buffer_bytes=size,
            is_variable=bool(tensor.IsVariable()),
        )

    def _single_scale(self, parameters: Any) -> tuple[float, int]:
        """Scale and zero point of a tensor with one of each; (0.0, 0) where there is none, or one per channel."""
        if parameters is None or parameters.ScaleLength() != 1 or parameters.ZeroPointLength() > 1:
            return 0.0, 0
        return float(parameters.Scale(0)), int(parameters.ZeroPoint(0)) if parameters.ZeroPointLength() else 0

    def _scale_range(self, parameters: Any) -> tuple[int, tuple[float, float]]:
        """How many scales there are, and the smallest and largest."""
        scales = None if parameters is None else parameters.ScaleAsNumpy()
        if not isinstance(scales, np.ndarray) or not scales.size:
            return 0, (0.0, 0.0)
        self._spend(scales.size)
        if not np.isfinite(scales).all() or scales.min() < 0.0:
            impossible = scales[~(np.isfinite(scales) & (scales >= 0.0))][0]
            raise ValueError(f"a tensor has the impossible scale {impossible}")
        return int(scales.size), (float(scales.min()), float(scales.max()))

    def _operator(
        self, operator: Any, codes: tuple[tuple[str, int, bool], ...], tensors: tuple[Tensor, ...]
    ) -> Operator:
        name, version, is_custom = _at(codes, int(operator.OpcodeIndex()), "operator code")

        def pick(indices: tuple[int, ...]) -> tuple[Tensor | None, ...]:
            return tuple(None if index == ABSENT_TENSOR else _at(tensors, index, "tensor") for index in indices)

        inputs = pick(self._integers(operator.InputsAsNumpy()))
        outputs = pick(self._integers(operator.OutputsAsNumpy()))
        runs_once, axes = self._subgraph_run_once(name, operator), self._reduced_axes(name, inputs)
        return Operator(name, version, is_custom, inputs, outputs, runs_once, axes)

    def _reduced_axes(self, name: str, inputs: tuple[Tensor | None, ...]) -> tuple[int, ...]:
        axes = inputs[1] if name in _REDUCTIONS and len(inputs) > 1 else None
        if axes is None or axes.dtype not in ("int32", "int64") or not axes.is_constant:
            return ()
        data = self._root.Buffers(axes.buffer_index).DataAsNumpy()
        return self._integers(data.view(axes.dtype)) if isinstance(data, np.ndarray) else ()

    def _subgraph_run_once(self, name: str, operator: Any) -> int | None:
        table = operator.BuiltinOptions() if name == "CALL_ONCE" else None
        if table is None:
            return None
        options = schema.CallOnceOptions()
        options.Init(table.Bytes, table.Pos)
        return int(options.InitSubgraphIndex())

    def _signature(self, signature: Any, graphs: tuple[Graph, ...]) -> Signature:
        index = int(signature.SubgraphIndex())
        tensors = _at(graphs, index, "subgraph").tensors

        def entry(tensor_map: Any) -> tuple[str, int]:
            _at(tensors, int(tensor_map.TensorIndex()), "tensor")
            return self._text(tensor_map.Name()), int(tensor_map.TensorIndex())

        return Signature(
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


_BUILTIN_NAMES = _constants(schema.BuiltinOperator) if HAS_SCHEMA else {}
_DTYPES = {value: name.lower() for value, name in _constants(schema.TensorType).items()} if HAS_SCHEMA else {}
