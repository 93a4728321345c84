"""A float .tflite as a graph that can be read and changed; every repair is a change of this graph.

Rules: 1. A tensor keeps its index until ``remove_unused``. 2. Names are unique: whatever speaks about a tensor across
files (ranges, float islands, the report) uses its name. 3. Constants are copied on write: a buffer that several tensors
share is never changed for one of them, and a copy of the graph shares bytes until either side writes. 4. What is not
understood (custom operators, other subgraphs, metadata) goes through unchanged.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import flatbuffers  # type: ignore[import-untyped]
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from edgeproof_edge.flatbuffer import FILE_IDENTIFIER, read_interface
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Operator: TypeAlias = Any
"""An ``OperatorT`` of the generated schema, or its position in ``FloatGraph.operators``."""

#: Of the schema that every .tflite of today is written by.
SCHEMA_VERSION = 3
#: The schema asks for it (``force_align: 16`` of Buffer.data); Python's generated code does not do it by itself.
_BUFFER_ALIGNMENT = 16

_KINDS: dict[int, str] = {
    code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int) and name != "CUSTOM"
}
_OPTION_TYPES: dict[str, int] = {
    name: code for name, code in vars(schema.BuiltinOptions).items() if isinstance(code, int)
}
_DTYPES: dict[int, str] = {
    code: name.lower()
    for name, code in vars(schema.TensorType).items()
    if isinstance(code, int)
    and name
    in {"FLOAT16", "FLOAT32", "FLOAT64", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "BOOL"}
}
_TYPES: dict[str, int] = {dtype: code for code, dtype in _DTYPES.items()}
_PLACEHOLDER_KIND_LIMIT = 127
"""Operator codes above it stand in ``builtinCode``; old readers see this number in ``deprecatedBuiltinCode``."""


class FloatGraph:
    """The main subgraph of a float .tflite.

    Attributes:
        tensors: ``TensorT`` objects; a tensor is spoken of by its index here.
        operators: ``OperatorT`` objects in the order in which they run; ``inputs`` and ``outputs`` are lists of int,
            -1 where an optional input is left out. Connections are changed by this class's methods only, which keep
            ``producer`` and ``consumers`` true.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._graph = model.subgraphs[0]
        self._links: tuple[dict[int, int], dict[int, list[int]]] | None = None

    @classmethod
    def parse(cls, data: bytes) -> FloatGraph:
        """Reads a .tflite file.

        Raises:
            ModelFileError: The bytes are no .tflite file, or damaged.
        """
        read_interface(data)  # a damaged file must not come further
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(data), 0))
        for subgraph in model.subgraphs:
            for operator in subgraph.operators or []:
                operator.inputs = _integers(operator.inputs)
                operator.outputs = _integers(operator.outputs)
            subgraph.operators = list(subgraph.operators or [])
            subgraph.inputs, subgraph.outputs = _integers(subgraph.inputs), _integers(subgraph.outputs)
        graph = cls(model)
        graph._name_uniquely()
        return graph

    @classmethod
    def empty(cls) -> FloatGraph:
        """A graph without tensors and operators, to be built with ``add_tensor`` and ``insert_operator``."""
        model, subgraph = schema.ModelT(), schema.SubGraphT()
        model.version = SCHEMA_VERSION
        model.operatorCodes, model.buffers, model.signatureDefs = [], [schema.BufferT()], []
        subgraph.tensors, subgraph.operators, subgraph.inputs, subgraph.outputs = [], [], [], []
        model.subgraphs = [subgraph]
        return cls(model)

    def pack(self) -> bytes:
        """Returns the file's bytes; equal graphs give equal bytes."""
        size = sum(len(buffer.data) for buffer in self._model.buffers if buffer.data is not None)
        builder = _AligningBuilder(size + (1 << 16))
        builder.Finish(self._model.Pack(builder), file_identifier=FILE_IDENTIFIER)
        return bytes(builder.Output())

    def copy(self) -> FloatGraph:
        """Returns an independent graph; the constants' bytes are shared, which no method ever changes in place."""
        shared = {id(buffer.data): buffer.data for buffer in self._model.buffers if buffer.data is not None}
        return FloatGraph(copy.deepcopy(self._model, shared))

    # Reading

    @property
    def tensors(self) -> list[Any]:
        """All tensors, used or not."""
        tensors: list[Any] = self._graph.tensors
        return tensors

    @property
    def operators(self) -> list[Any]:
        """All operators, in the order in which they run."""
        operators: list[Any] = self._graph.operators
        return operators

    @property
    def inputs(self) -> tuple[int, ...]:
        """Tensors that are fed."""
        return tuple(self._graph.inputs)

    @property
    def outputs(self) -> tuple[int, ...]:
        """Tensors that are read."""
        return tuple(self._graph.outputs)

    @property
    def num_subgraphs(self) -> int:
        """1, or more where the model has control flow; only the first subgraph is seen here."""
        return len(self._model.subgraphs)

    @property
    def has_hidden_tensors(self) -> bool:
        """Whether values are computed that no interpreter shows: inside an LSTM operator, or in another subgraph."""
        return self.num_subgraphs > 1 or any("LSTM" in self.kind(operator) for operator in self.operators)

    def name(self, tensor: int) -> str:
        """The tensor's name."""
        return _text(self.tensors[tensor].name)

    def tensor(self, name: str) -> int:
        """The index of the tensor with that name.

        Raises:
            KeyError: There is none.
        """
        for index in range(len(self.tensors)):
            if self.name(index) == name:
                return index
        raise KeyError(name)

    def shape(self, tensor: int) -> tuple[int, ...]:
        """The shape at the declared batch size; ``()`` for a scalar."""
        return tuple(_integers(self.tensors[tensor].shape))

    def dtype(self, tensor: int) -> str:
        """Numpy's name of the element type, "" for types numpy does not have (string, int4)."""
        return _DTYPES.get(self.tensors[tensor].type, "")

    def kind(self, operator: Operator) -> str:
        """TFLite's name of the operator (CONV_2D), or a custom operator's own."""
        code = self._model.operatorCodes[self._operator(operator).opcodeIndex]
        builtin = max(code.builtinCode, code.deprecatedBuiltinCode)
        return _KINDS[builtin] if builtin in _KINDS else _text(code.customCode)

    def version(self, operator: Operator) -> int:
        """The operator's version."""
        return int(self._model.operatorCodes[self._operator(operator).opcodeIndex].version)

    def options(self, operator: Operator) -> Any:
        """The operator's options (``Conv2DOptionsT``), which may be changed in place; None where it has none."""
        return self._operator(operator).builtinOptions

    def is_constant(self, tensor: int) -> bool:
        """Whether the file holds the tensor's values."""
        if self._bytes(tensor) is not None:
            return True
        is_empty = 0 in self.shape(tensor)
        return is_empty and self.producer(tensor) is None and tensor not in self._graph.inputs

    def constant(self, tensor: int) -> Array | None:
        """A copy of the tensor's values in its own shape; None for activations and for types numpy does not have."""
        dtype, data = self.dtype(tensor), self._bytes(tensor)
        if not dtype or not self.is_constant(tensor) or self.tensors[tensor].sparsity is not None:
            return None
        values = np.frombuffer(b"" if data is None else data, np.dtype(dtype).newbyteorder("<"))
        return values.reshape(self.shape(tensor)).astype(dtype)

    def is_activation(self, tensor: int) -> bool:
        """Whether it is computed (or fed) in float32; states kept between runs, and inputs left out (-1), are none."""
        if tensor < 0 or self.dtype(tensor) != "float32" or self.tensors[tensor].isVariable:
            return False
        return not self.is_constant(tensor)

    def producer(self, tensor: int) -> int | None:
        """Position of the operator that computes the tensor; None for inputs and constants."""
        return self._linked()[0].get(tensor)

    def consumers(self, tensor: int) -> list[int]:
        """Positions of the operators that read the tensor, each once, in order."""
        return list(self._linked()[1].get(tensor, ()))

    def range_of(self, tensor: int) -> tuple[float, float] | None:
        """The range that ``set_range`` wrote."""
        quantization = self.tensors[tensor].quantization
        if quantization is None or quantization.min is None or quantization.max is None or not len(quantization.min):
            return None
        return float(quantization.min[0]), float(quantization.max[0])

    # Changing

    def set_constant(self, tensor: int, values: Array) -> None:
        """Gives a constant new values, and their shape; other tensors that shared its buffer keep theirs."""
        target = self.tensors[tensor]
        array = np.ascontiguousarray(values, np.dtype(self.dtype(tensor)).newbyteorder("<"))
        target.shape = np.array(np.shape(values), np.int32)
        target.shapeSignature = None
        if self._num_users(target.buffer) > 1 or target.buffer == 0:
            target.buffer = self._add_buffer()
        data = np.frombuffer(array.tobytes(), np.uint8)
        self._model.buffers[target.buffer].data = data if data.size else None

    def add_tensor(self, name: str, shape: Sequence[int], dtype: str, constant: Array | None = None) -> int:
        """Adds a tensor and returns its index; a name that is taken gets a number.

        Args:
            name: Of the tensor.
            shape: Of the tensor; a leading -1 is an open batch, 1 as declared.
            dtype: Numpy's name of the element type.
            constant: Its values; without them it is an activation that an operator has to compute.
        """
        added = schema.TensorT()
        added.name = self._free_name(name)
        added.type = _TYPES[dtype]
        added.shape = np.array([max(size, 1) if size == -1 else size for size in shape], np.int32)
        if -1 in shape:
            added.shapeSignature = np.array(shape, np.int32)
        added.hasRank = True
        added.buffer = self._add_buffer()
        self.tensors.append(added)
        if constant is not None:
            self.set_constant(len(self.tensors) - 1, constant)
        return len(self.tensors) - 1

    def add_tensor_like(self, tensor: int, name: str) -> int:
        """Adds an activation of the same shape (an open batch included) and type and returns its index."""
        source = self.tensors[tensor]
        added = self.add_tensor(name, self.shape(tensor), self.dtype(tensor))
        self.tensors[added].shapeSignature = copy.copy(source.shapeSignature)
        return added

    def insert_operator(
        self, position: int, kind: str, version: int, inputs: Sequence[int], outputs: Sequence[int], options: Any = None
    ) -> Any:
        """Inserts a builtin operator before the one at ``position`` and returns it.

        Args:
            position: Where it runs; its inputs must be computed before.
            kind: TFLite's name (RESHAPE).
            version: Of the operator.
            inputs: Tensors it reads, -1 for an optional one left out.
            outputs: Tensors it computes.
            options: An object of the schema, as ``ReshapeOptionsT()``, where the kind has any.
        """
        operator = schema.OperatorT()
        operator.inputs, operator.outputs = list(inputs), list(outputs)
        self.set_kind(operator, kind, version, options)
        self.operators.insert(position, operator)
        self._links = None
        return operator

    def set_kind(self, operator: Operator, kind: str, version: int, options: Any = None) -> None:
        """Makes the operator one of another builtin kind, with the options of that kind; its tensors stay."""
        target = self._operator(operator)
        target.opcodeIndex = self._operator_code(kind, version)
        target.builtinOptions = options
        options_name = "NONE" if options is None else type(options).__name__.removesuffix("T")
        target.builtinOptionsType = _OPTION_TYPES[options_name]

    def remove_operator(self, operator: Operator) -> None:
        """Takes an operator out; its tensors stay."""
        del self.operators[self.position(operator)]
        self._links = None

    def replace_input(self, operator: Operator, old: int, new: int) -> None:
        """Makes the operator read ``new`` wherever it read ``old``."""
        target = self._operator(operator)
        target.inputs = [new if tensor == old else tensor for tensor in target.inputs]
        self._links = None

    def replace_output(self, operator: Operator, old: int, new: int) -> None:
        """Makes the operator compute ``new`` instead of ``old``."""
        target = self._operator(operator)
        target.outputs = [new if tensor == old else tensor for tensor in target.outputs]
        self._links = None

    def set_inputs(self, operator: Operator, inputs: Sequence[int]) -> None:
        """Gives the operator another list of inputs."""
        self._operator(operator).inputs = list(inputs)
        self._links = None

    def set_range(self, tensor: int, low: float, high: float) -> None:
        """Writes the range that the quantizer maps onto the integers."""
        quantization = self.tensors[tensor].quantization or schema.QuantizationParametersT()
        quantization.min, quantization.max = np.array([low], np.float32), np.array([high], np.float32)
        self.tensors[tensor].quantization = quantization

    def set_ranges(self, ranges: Mapping[str, tuple[float, float]]) -> None:
        """Writes the ranges of the tensors of those names; names that the graph does not have are passed over."""
        for tensor in range(len(self.tensors)):
            if (limits := ranges.get(self.name(tensor))) is not None:
                self.set_range(tensor, *limits)

    def clear_range(self, tensor: int) -> None:
        """Takes the range away again: the quantizer then knows nothing about the tensor."""
        quantization = self.tensors[tensor].quantization
        if quantization is not None:
            quantization.min = quantization.max = None

    def remove_unused(self) -> None:
        """Drops operators that no output needs, and tensors, buffers and operator codes that nothing uses.

        Indices from before are void afterwards.
        """
        self._remove_unused_operators()
        self._remove_unused_tensors()
        self._remove_unused_operator_codes()
        self._remove_unused_buffers()
        self._links = None

    def set_interface(self, inputs: Sequence[int], outputs: Sequence[int]) -> None:
        """Says which tensors of a graph that is being built are fed and read."""
        self._graph.inputs, self._graph.outputs = list(inputs), list(outputs)

    def cut_off(self, outputs: Sequence[int]) -> None:
        """Makes these tensors the model's outputs, under their own names, and drops what they do not need.

        Signatures go: they speak of the old outputs. Indices from before are void afterwards.
        """
        self._graph.outputs = list(outputs)
        self._model.signatureDefs = None
        self.remove_unused()

    def position(self, operator: Operator) -> int:
        """Where an operator stands now.

        Raises:
            ValueError: It is not part of the graph.
        """
        if isinstance(operator, int):
            return operator
        for position, candidate in enumerate(self.operators):
            if candidate is operator:
                return position
        raise ValueError("the operator is not part of the graph")

    # Inside

    def _operator(self, operator: Operator) -> Any:
        return self.operators[operator] if isinstance(operator, (int, np.integer)) else operator

    def _bytes(self, tensor: int) -> Array | None:
        data = self._model.buffers[self.tensors[tensor].buffer].data
        return None if data is None or len(data) == 0 else np.asarray(data, np.uint8)

    def _linked(self) -> tuple[dict[int, int], dict[int, list[int]]]:
        if self._links is None:
            producers: dict[int, int] = {}
            consumers: dict[int, list[int]] = {}
            for position, operator in enumerate(self.operators):
                producers.update(dict.fromkeys(operator.outputs, position))
                for tensor in dict.fromkeys(operator.inputs):
                    if tensor >= 0:
                        consumers.setdefault(tensor, []).append(position)
            self._links = producers, consumers
        return self._links

    def _name_uniquely(self) -> None:
        """Renames nameless tensors and later bearers of a name; inputs and outputs keep theirs first."""
        taken: set[str] = set()
        interface = list(dict.fromkeys([*self._graph.inputs, *self._graph.outputs]))
        for index in [*interface, *sorted(set(range(len(self.tensors))) - set(interface))]:
            name = _unique(self.name(index) or f"tensor_{index}", taken)
            self.tensors[index].name = name
            taken.add(name)

    def _free_name(self, name: str) -> str:
        return _unique(name, {self.name(index) for index in range(len(self.tensors))})

    def _add_buffer(self) -> int:
        self._model.buffers.append(schema.BufferT())
        return len(self._model.buffers) - 1

    def _num_users(self, buffer: int) -> int:
        tensors = sum(int(tensor.buffer == buffer) for graph in self._model.subgraphs for tensor in graph.tensors)
        return tensors + sum(int(entry.buffer == buffer) for entry in self._model.metadata or [])

    def _operator_code(self, kind: str, version: int) -> int:
        builtin = int(vars(schema.BuiltinOperator)[kind])
        for index, code in enumerate(self._model.operatorCodes):
            if max(code.builtinCode, code.deprecatedBuiltinCode) == builtin and code.version == version:
                return index
        added = schema.OperatorCodeT()
        added.builtinCode, added.version = builtin, version
        added.deprecatedBuiltinCode = min(builtin, _PLACEHOLDER_KIND_LIMIT)
        self._model.operatorCodes.append(added)
        return len(self._model.operatorCodes) - 1

    def _remove_unused_operators(self) -> None:
        needed = set(self._graph.outputs)
        kept = []
        for operator in reversed(self.operators):
            has_effect = not operator.outputs or any(
                tensor >= 0 and self.tensors[tensor].isVariable for tensor in operator.inputs
            )
            if has_effect or needed.intersection(operator.outputs):
                kept.append(operator)
                needed.update(operator.inputs)
        self._graph.operators = kept[::-1]

    def _remove_unused_tensors(self) -> None:
        used = {*self._graph.inputs, *self._graph.outputs}
        for operator in self.operators:
            used.update(operator.inputs, operator.outputs, _integers(operator.intermediates))
        new_index = {old: new for new, old in enumerate(sorted(used - {-1}))}
        new_index[-1] = -1
        self._graph.tensors = [self.tensors[old] for old in sorted(used - {-1})]
        self._graph.inputs = [new_index[tensor] for tensor in self._graph.inputs]
        self._graph.outputs = [new_index[tensor] for tensor in self._graph.outputs]
        for operator in self.operators:
            operator.inputs = [new_index[tensor] for tensor in operator.inputs]
            operator.outputs = [new_index[tensor] for tensor in operator.outputs]
            if operator.intermediates is not None:
                operator.intermediates = [new_index[tensor] for tensor in _integers(operator.intermediates)]
        for signature in self._model.signatureDefs or []:
            if signature.subgraphIndex == 0:
                for entry in [*(signature.inputs or []), *(signature.outputs or [])]:
                    entry.tensorIndex = new_index[entry.tensorIndex]

    def _remove_unused_operator_codes(self) -> None:
        operators = [operator for graph in self._model.subgraphs for operator in graph.operators]
        used = sorted({operator.opcodeIndex for operator in operators})
        new_index = {old: new for new, old in enumerate(used)}
        self._model.operatorCodes = [self._model.operatorCodes[old] for old in used]
        for operator in operators:
            operator.opcodeIndex = new_index[operator.opcodeIndex]

    def _remove_unused_buffers(self) -> None:
        users = [
            *(tensor for graph in self._model.subgraphs for tensor in graph.tensors),
            *(self._model.metadata or []),
        ]
        used = sorted({0, *(user.buffer for user in users), *_integers(self._model.metadataBuffer)})
        new_index = {old: new for new, old in enumerate(used)}
        self._model.buffers = [self._model.buffers[old] for old in used]
        for user in users:
            user.buffer = new_index[user.buffer]
        if self._model.metadataBuffer is not None:
            self._model.metadataBuffer = [new_index[old] for old in _integers(self._model.metadataBuffer)]


class _AligningBuilder(flatbuffers.Builder):
    """Aligns vectors of bytes as the schema asks."""

    def StartVector(self, elemSize: int, numElems: int, alignment: int) -> Any:
        wanted = max(alignment, _BUFFER_ALIGNMENT) if elemSize == 1 else alignment
        return super().StartVector(elemSize, numElems, wanted)


def _integers(values: Any) -> list[int]:
    return [] if values is None or isinstance(values, int) else [int(value) for value in values]


def _text(value: bytes | str | None) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value or ""


def _unique(name: str, taken: set[str]) -> str:
    if name not in taken:
        return name
    number = 2
    while f"{name}_{number}" in taken:
        number += 1
    return f"{name}_{number}"
