"""Estimates of what accelerators would run of a model: rules applied to the file, for targets that nobody has here.

Every result says that it is an estimate and where its rules come from. Only the accelerator's own compiler or driver
decides: `ethos_u` and `load_test` are such verdicts, these are not. A caveat that the rules cannot check is part of the
result (`assumption`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from enum import Enum
from typing import Any

from edgeproof_edge.examinations import delegate_tables as tables
from edgeproof_edge.examinations.delegate_tables import OperatorLimits
from edgeproof_edge.flatbuffer.graph import Graph, Operator, Tensor
from edgeproof_edge.flatbuffer.reading import read_model

EDGE_TPU_MAX_DIMENSIONS = 3
"""Only the innermost three dimensions of a tensor may be larger than 1 there."""

_CONVOLUTIONS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"})
_WEIGHTS_INPUT = 1
TYPE_CHANGES = frozenset({"CAST", "QUANTIZE", "DEQUANTIZE"})
"""Operators that change only how numbers are stored."""

Objection = Callable[[Operator], "str | None"]
"""Why an operator stays on the CPU; None where nothing speaks against it."""


class Target(str, Enum):
    """An accelerator whose verdict is estimated."""

    EDGE_TPU = "Edge TPU"
    NNAPI = "NNAPI"
    GPU = "GPU delegate"
    CORE_ML = "Core ML"


class Compiler(str, Enum):
    """Compilers that put an accelerator's program into a custom operator, by the name of that operator."""

    EDGE_TPU = "edgetpu-custom-op"
    ETHOS_U = "ethos-u"

    @property
    def chip(self) -> str:
        """What the program is for."""
        return Target.EDGE_TPU.value if self is Compiler.EDGE_TPU else "Ethos-U"


class Share(str, Enum):
    """How much of a model runs on an accelerator."""

    ALL = "all"
    PART = "part"
    NONE = "none"

    @classmethod
    def of(cls, num_accelerated: int, num_operators: int) -> Share:
        """The share that `num_accelerated` of `num_operators` are."""
        if num_accelerated == 0:
            return cls.NONE
        return cls.ALL if num_accelerated == num_operators else cls.PART


@dataclass(frozen=True)
class CpuOperator:
    """Operators of one name that stay on the CPU for one reason."""

    name: str
    count: int
    reason: str


@dataclass(frozen=True)
class Estimate:
    """What an accelerator would probably run.

    Attributes:
        target: The accelerator.
        verdict: How much of the model.
        cpu_operators: What stays on the CPU and why, in graph order.
        reason: The verdict in words.
        assumption: What the rules take for granted.
        source: Where the rules come from.
        is_estimate: Always true; there so that the JSON says it.
    """

    target: Target
    verdict: Share
    cpu_operators: tuple[CpuOperator, ...]
    reason: str
    assumption: str
    source: str
    is_estimate: bool = True

    def to_json(self) -> dict[str, Any]:
        """The estimate as JSON-ready values."""
        return asdict(self)


def estimate(data: bytes) -> tuple[Estimate, ...]:
    """Estimates the verdict of every target on the main subgraph of a .tflite file.

    Raises:
        ModelFileError: The bytes are no TFLite file, or a damaged one.
    """
    graph = read_model(data).graphs[0]
    estimates = (_edge_tpu(graph), _nnapi(graph), _gpu(graph), _core_ml(graph))
    compiler = compiled_for(graph)
    return estimates if compiler is None else tuple(_bound_to(compiler, estimate) for estimate in estimates)


def compiled_for(graph: Graph) -> Compiler | None:
    """The accelerator whose compiler made this file; None for a file that any runtime may take."""
    names = {operator.name for operator in graph.operators if operator.is_custom}
    return next((compiler for compiler in Compiler if compiler.value in names), None)


def _already_compiled(graph: Graph) -> Estimate:
    objections = [
        (operator, None if operator.name == Compiler.EDGE_TPU.value else "left on the CPU by the compiler")
        for operator in graph.operators
    ]
    counted = _summed_up(Target.EDGE_TPU, objections, "the chip has the compiler's version", tables.EDGE_TPU_SOURCE)
    return replace(counted, reason=f"compiled for the Edge TPU already: {counted.reason}")


def _bound_to(compiler: Compiler, estimate: Estimate) -> Estimate:
    """What a compiled file is to another accelerator: nothing."""
    if estimate.target.value == compiler.chip:
        return estimate
    reason = f"the file is compiled for the {compiler.chip} and runs nowhere else; give the file it was made from"
    return replace(estimate, verdict=Share.NONE, cpu_operators=(), reason=reason)


# --- One rule set per target ------------------------------------------------------------------------------------------


def _edge_tpu(graph: Graph) -> Estimate:
    if compiled_for(graph) is Compiler.EDGE_TPU:
        return _already_compiled(graph)
    batch = ", with the batch fixed to 1" if _has_open_batch(graph) else ""
    assumption = f"sizes and options pass the compiler's checks{batch}"
    objections = _objections(graph, _edge_tpu_objection)
    if any(_has_open_dimensions(tensor) for operator in graph.operators for tensor in operator.activations):
        objections = [(operator, "the compiler takes no open dimensions") for operator, _ in objections]
    cut = _after_first_objection(objections, _border_casts(graph))
    return _summed_up(Target.EDGE_TPU, cut, assumption, tables.EDGE_TPU_SOURCE)


def _edge_tpu_objection(operator: Operator) -> str | None:
    objection = _table_objection(operator, tables.EDGE_TPU)
    if objection is not None:
        return objection
    if any(max(tensor.shape[:-EDGE_TPU_MAX_DIMENSIONS], default=1) > 1 for tensor in operator.activations):
        return f"more than {EDGE_TPU_MAX_DIMENSIONS} dimensions larger than 1"
    weights = _weights(operator)
    return "weights that are not constant" if weights is not None and not weights.is_constant else None


def _nnapi(graph: Graph) -> Estimate:
    def objection(operator: Operator) -> str | None:
        weights = _weights(operator)
        if operator.name == "FULLY_CONNECTED" and weights is not None and weights.num_scales > 1:
            return "one scale per channel"
        return _table_objection(operator, tables.NNAPI)

    assumption = "the phone's driver takes them, too; NNAPI is deprecated since Android 15"
    return _summed_up(Target.NNAPI, _objections(graph, objection), assumption, tables.NNAPI_SOURCE)


def _gpu(graph: Graph) -> Estimate:
    objections = _objections(graph, lambda operator: _table_objection(operator, tables.GPU))
    assumption = "their options are supported; 8-bit models are computed in float there"
    return _summed_up(Target.GPU, objections, assumption, tables.GPU_SOURCE)


def _core_ml(graph: Graph) -> Estimate:
    unpacked = {out.index for op in graph.operators if op.unpacks_weights for out in op.outputs if out is not None}

    def objection(operator: Operator) -> str | None:
        weights = _weights(operator)
        if weights is None or any(not tensor.is_float for tensor in operator.activations):
            return _table_objection(operator, tables.CORE_ML)
        if not weights.is_float:
            return f"{weights.dtype} weights"
        if not (weights.is_constant or weights.index in unpacked):
            return "weights that are not constant"
        return _table_objection(operator, tables.CORE_ML)

    assumption = "their options are supported, on a device with a Neural Engine (A12 and newer)"
    return _summed_up(Target.CORE_ML, _objections(graph, objection), assumption, tables.CORE_ML_SOURCE)


# --- What they share --------------------------------------------------------------------------------------------------


def _objections(graph: Graph, objection: Objection) -> list[tuple[Operator, str | None]]:
    """Every operator that computes something, in graph order, with what speaks against it."""
    return [(operator, objection(operator)) for operator in graph.operators if not operator.unpacks_weights]


def _table_objection(operator: Operator, table: Mapping[str, OperatorLimits]) -> str | None:
    limits = table.get(operator.name)
    if limits is None or operator.is_custom:
        return "not supported"
    foreign = sorted({tensor.dtype for tensor in _streams(operator)} - limits.dtypes)
    if foreign:
        return f"{' and '.join(foreign)} data"
    if limits.max_version is not None and operator.version > limits.max_version:
        return f"version {operator.version}, supported up to {limits.max_version}"
    return None


def _streams(operator: Operator) -> list[Tensor]:
    """What flows in and out; the state that a recurrent operator keeps (int16 in 8-bit models) is its own affair."""
    if "LSTM" not in operator.name:
        return operator.activations
    return [tensor for tensor in (*operator.inputs[:1], *operator.outputs) if tensor is not None]


def _after_first_objection(
    objections: list[tuple[Operator, str | None]], borders: set[int]
) -> list[tuple[Operator, str | None]]:
    """The Edge TPU compiler maps one piece: what comes behind the first operator it cannot map stays on the CPU.

    Casts between the float inputs and outputs of the model and its integer inside stay there too, but cut nothing.
    """
    is_cut = False
    result: list[tuple[Operator, str | None]] = []
    for operator, objection in objections:
        result.append((operator, objection or ("behind the first one that stays" if is_cut else None)))
        is_cut = is_cut or (objection is not None and id(operator) not in borders)
    return result


def _border_casts(graph: Graph) -> set[int]:
    """Identities of the operators that only change the type of numbers between the model's doors and its inside.

    A uint8 image may pass CAST and QUANTIZE, and a result DEQUANTIZE and CAST.
    """
    positions: set[int] = set()
    for doors, operators in ((set(graph.inputs), graph.operators), (set(graph.outputs), graph.operators[::-1])):
        for operator in operators:
            sides = (
                (operator.inputs, operator.outputs)
                if operators is graph.operators
                else (operator.outputs, operator.inputs)
            )
            outer, inner = ([tensor.index for tensor in side if tensor is not None] for side in sides)
            if operator.name in TYPE_CHANGES and outer and doors.issuperset(outer):
                positions.add(id(operator))
                doors.update(inner)
    return positions


def _summed_up(target: Target, objections: list[tuple[Operator, str | None]], assumption: str, source: str) -> Estimate:
    staying = Counter((operator.name, objection) for operator, objection in objections if objection is not None)
    cpu_operators = tuple(CpuOperator(name, count, reason or "") for (name, reason), count in staying.items())
    num_cpu = sum(staying.values())
    verdict = Share.of(len(objections) - num_cpu, len(objections))
    return Estimate(target, verdict, cpu_operators, _in_words(num_cpu, len(objections)), assumption, source)


def _in_words(num_cpu: int, num_operators: int) -> str:
    if num_operators == 0:
        return "the model has no operators"
    if num_cpu == 0:
        return "every operator is supported"
    return f"{num_cpu} of {num_operators} operators stay on the CPU"


def _weights(operator: Operator) -> Tensor | None:
    has_weights = operator.name in _CONVOLUTIONS and len(operator.inputs) > _WEIGHTS_INPUT
    return operator.inputs[_WEIGHTS_INPUT] if has_weights else None


def _has_open_batch(graph: Graph) -> bool:
    return any(_is_open(graph.tensors[index].open_shape[:1]) for index in graph.inputs)


def _has_open_dimensions(tensor: Tensor) -> bool:
    """Whether more than the batch is open."""
    return _is_open(tensor.open_shape[1:])


def _is_open(sizes: Iterable[int]) -> bool:
    return -1 in tuple(sizes)
