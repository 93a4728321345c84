"""The facts about a .tflite file: operators, types, float islands, crossings, inputs and outputs."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

from edgeproof_edge.flatbuffer.float_islands import FloatIsland, float_islands
from edgeproof_edge.flatbuffer.graph import CAST_OPERATORS, FLOAT_DTYPES, INTEGER_CODE_DTYPES, Operator, Tensor
from edgeproof_edge.flatbuffer.interface import interface_of
from edgeproof_edge.flatbuffer.reading import read_model
from edgeproof_edge.flatbuffer.requantization import RequantizationScale, refused_requantizations
from edgeproof_edge.tensors import TensorSpec

FLEX_PREFIX = "Flex"


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

    @property
    def has_float_activation(self) -> bool:
        """Whether it computes in float: its outputs are."""
        return bool(FLOAT_DTYPES.intersection(self.output_dtypes))


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
        float_islands: The operators with a float activation, grouped by the float activations they share.
        refused_requantizations: Requantization scales that XNNPACK's kernels are not made for, in graph order.
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
    float_islands: tuple[FloatIsland, ...] = ()
    refused_requantizations: tuple[RequantizationScale, ...] = ()

    @property
    def num_operators(self) -> int:
        """Operators in all subgraphs."""
        return sum(use.count for use in self.operators)

    @property
    def computing_operators(self) -> tuple[OperatorUse, ...]:
        """Operators that do more than change how numbers are stored."""
        return tuple(use for use in self.operators if use.name not in CAST_OPERATORS)

    @property
    def num_computing_operators(self) -> int:
        """How many of them there are, in all subgraphs."""
        return sum(use.count for use in self.computing_operators)

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


def inspect(data: bytes) -> Inspection:
    """Reads operators, types, crossings, inputs and outputs from the bytes of a .tflite file.

    Raises:
        ModelFileError: The bytes are no TFLite file, or a damaged one.
    """
    model = read_model(data)
    operators = [operator for graph in model.graphs for operator in graph.operators]
    float_names = [operator.name for operator in operators if operator.computes_in_float]
    custom = {operator.name for operator in operators if operator.is_custom}
    flex = {name for name in custom if name.startswith(FLEX_PREFIX)}
    interface = interface_of(model)
    return Inspection(
        size_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        operators=_count_operators(operators),
        float_operators=tuple(sorted(set(float_names))),
        num_float_operators=len(float_names),
        crossings=_crossings(operators),
        custom_operators=tuple(sorted(custom - flex)),
        flex_operators=tuple(sorted(flex)),
        inputs=tuple(bound.spec for bound in interface.inputs),
        outputs=tuple(bound.spec for bound in interface.outputs),
        signature_key=interface.signature_key,
        minimum_runtime=model.minimum_runtime,
        float_islands=tuple(island for graph in model.graphs for island in float_islands(graph)),
        refused_requantizations=refused_requantizations(operators),
    )


def _count_operators(operators: list[Operator]) -> tuple[OperatorUse, ...]:
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


def _dtypes(tensors: tuple[Tensor | None, ...]) -> tuple[str, ...]:
    return tuple("none" if tensor is None else tensor.dtype for tensor in tensors)


def _crossings(operators: list[Operator]) -> tuple[Crossing, ...]:
    """QUANTIZE also rescales int8 to int8, and DEQUANTIZE also widens float16 weights: neither is a crossing."""
    casts = [(operator.name, operator.activations) for operator in operators if operator.is_cast]
    pairs = [(name, tensors[0], tensors[1]) for name, tensors in casts if len(tensors) == 2]
    return tuple(Crossing(name, source.name, target.name) for name, source, target in pairs if _cross(source, target))


def _cross(source: Tensor, target: Tensor) -> bool:
    return (source.is_float and target.dtype in INTEGER_CODE_DTYPES) or (
        target.is_float and source.dtype in INTEGER_CODE_DTYPES
    )
