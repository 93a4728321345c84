"""Finds which tensor spoils an int8 model, and which activations must stay float to free it.

One item at a time is rounded to int8 in the float model, an activation or a weight, and the outputs are compared with
float's. Its neighbours stay float, so the culprit is named even where several things are broken; making one operator
float instead does nothing while its neighbours still round its tensors. To free a tensor, its producer and all of its
consumers compute in float.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from edgeproof_edge.errors import EdgeproofError
from numpy.typing import NDArray

from components.repair.goal import Goal
from components.repair.graph import FloatGraph
from components.repair.range_statistics import Statistics, TensorStatistics
from components.repair.running import predict

Array = NDArray[Any]
Range = tuple[float, float]

#: Rows that rank: the order of culprits is plain long before 200 rows.
MAX_PROBE_ROWS = 200
MIN_PROBE_ROWS = 16
#: Multiply-adds that one ranking may cost; 3e10 take about two seconds of one core.
PROBE_BUDGET = 3e10
#: Tensors looked at: each costs a file to build and to load, a tenth of a second for the widest models measured.
MAX_ITEMS = 64
#: Kinds whose weights have one scale per output channel, and the axis of that channel.
CHANNEL_AXES = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": -1, "TRANSPOSE_CONV": 0}
#: Kinds with a bias as third input; biases are int32 and lose nothing.
_WITH_BIAS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_CODES = 255
_LOWEST_CODE = -128


@dataclass(frozen=True)
class Item:
    """A tensor that was rounded alone.

    Attributes:
        tensor: Its name.
        is_weight: Whether it is a constant of the model.
        divergence: How far the outputs moved (see ``Goal.divergence``).
    """

    tensor: str
    is_weight: bool
    divergence: float


def rank(
    graph: FloatGraph, ranges: Mapping[str, Range], statistics: Statistics, rows: Mapping[str, Array], goal: Goal
) -> tuple[Item, ...]:
    """Rounds one tensor at a time and sorts them by what it did to the outputs, worst first.

    Args:
        graph: The float model; it is left as it is.
        ranges: Ranges of the activations by name; those without one are left out.
        statistics: What the activations hold; of wide models only the ``MAX_ITEMS`` that int8 rounds most are looked at.
        rows: Inputs ``[n, ...]``, in real-world units.
        goal: Made of the float model's outputs on these very rows.
    """
    suspects: list[tuple[float, str, int, bool, int | None]] = [
        (_coarseness(ranges[name], statistics[name]), name, tensor, False, None)
        for tensor in _activations(graph)
        if (name := graph.name(tensor)) in ranges and name in statistics
    ]
    suspects += [
        (_weight_coarseness(graph, tensor, axis), graph.name(tensor), tensor, True, axis)
        for tensor, axis in weights(graph)
    ]
    sensitivities = []
    for _, name, tensor, is_weight, axis in sorted(suspects, key=lambda suspect: (-suspect[0], suspect[1]))[:MAX_ITEMS]:
        if is_weight:
            model = _with_rounded_weight(graph, tensor, axis)
        else:
            model = _with_rounded_activation(graph, tensor, ranges[name])
        sensitivities.append(Item(name, is_weight, _probe(model, rows, goal)))
    return tuple(sorted(sensitivities, key=lambda item: (-item.divergence, item.tensor)))


def _coarseness(limits: Range, statistics: TensorStatistics) -> float:
    """Range of an activation / what its median channel moves."""
    widths = (statistics.channel_maximum - statistics.channel_minimum).astype(np.float64)
    moving = widths[widths > 0]
    return (limits[1] - limits[0]) / float(np.median(moving)) if len(moving) else 0.0


def _weight_coarseness(graph: FloatGraph, tensor: int, axis: int | None) -> float:
    """Error of rounding a weight / its median value, in steps of int8."""
    values = graph.constant(tensor)
    assert values is not None
    rounded = rounded_weight(values, axis)
    size = float(np.median(np.abs(values))) or float(np.abs(values).max()) or 1.0
    return float(np.sqrt(np.mean((rounded - values) ** 2))) * _CODES / size


def num_probe_rows(graph: FloatGraph, num_available: int) -> int:
    """Rows to rank with, so that a ranking stays within its budget."""
    num_items = min(MAX_ITEMS, len(_activations(graph)) + len(weights(graph)))
    return affordable_rows(graph, num_available, PROBE_BUDGET / max(1, num_items), MIN_PROBE_ROWS, MAX_PROBE_ROWS)


def affordable_rows(graph: FloatGraph, num_available: int, budget: float, least: int, most: int) -> int:
    """Rows that can run within a budget of multiply-adds; depends on the model only, never on the clock."""
    affordable = int(budget / max(1.0, multiply_adds(graph)))
    return min(num_available, max(least, min(most, affordable)))


def multiply_adds(graph: FloatGraph) -> float:
    """Multiply-adds of one row, roughly; other operators count one per value."""
    total = 0.0
    for position, operator in enumerate(graph.operators):
        values = float(sum(np.prod(graph.shape(t), dtype=np.float64) for t in operator.outputs))
        weight = operator.inputs[1] if len(operator.inputs) > 1 else -1
        if graph.kind(position) in _WITH_BIAS and weight >= 0 and graph.is_constant(weight):
            shape = graph.shape(weight)
            values *= float(np.prod(shape, dtype=np.float64)) / max(1, shape[CHANNEL_AXES.get(graph.kind(position), 0)])
        total += values
    return total


def tensors_to_free(graph: FloatGraph, item: Item) -> tuple[str, ...]:
    """Names of the activations whose operators must compute in float so that a tensor is not rounded.

    An activation itself; what is computed with a weight.
    """
    if not item.is_weight:
        return (item.tensor,)
    readers = graph.consumers(graph.tensor(item.tensor))
    return tuple(graph.name(graph.operators[position].outputs[0]) for position in readers)


def weights(graph: FloatGraph) -> list[tuple[int, int | None]]:
    """Float constants that int8 rounds (no biases, no scalars), with the axis that has one scale per channel."""
    floats: dict[int, int | None] = {}
    for position, operator in enumerate(graph.operators):
        kind = graph.kind(position)
        for place, tensor in enumerate(operator.inputs):
            is_bias = kind in _WITH_BIAS and place == 2
            if tensor >= 0 and not is_bias and _is_rounded_constant(graph, tensor):
                floats.setdefault(tensor, CHANNEL_AXES.get(kind))
    return list(floats.items())


def _is_rounded_constant(graph: FloatGraph, tensor: int) -> bool:
    return graph.dtype(tensor) == "float32" and graph.is_constant(tensor) and int(np.prod(graph.shape(tensor))) > 1


def _activations(graph: FloatGraph) -> list[int]:
    computed = [tensor for operator in graph.operators for tensor in operator.outputs]
    read = [t for t in graph.inputs if graph.consumers(t)]
    return [t for t in dict.fromkeys([*read, *computed]) if graph.is_activation(t)]


def _probe(model: bytes, rows: Mapping[str, Array], goal: Goal) -> float:
    """Divergence of a probed model; one that cannot run tells nothing and ranks last."""
    try:
        return goal.divergence(predict(model, rows))
    except EdgeproofError:
        return 0.0


def _with_rounded_activation(graph: FloatGraph, tensor: int, limits: Range) -> bytes:
    """The float model with the tensor sent through int8 and back."""
    probe = graph.copy()
    name, producer = probe.name(tensor), probe.producer(tensor)
    codes = probe.add_tensor(f"{name}/codes", probe.shape(tensor), "int8")
    probe.tensors[codes].shapeSignature = probe.tensors[tensor].shapeSignature
    probe.tensors[codes].quantization = _quantization(*limits)
    other = probe.add_tensor_like(tensor, f"{name}/float")
    if producer is None:
        for consumer in probe.consumers(tensor):
            probe.replace_input(consumer, tensor, other)
        source, target, position = tensor, other, 0
    else:  # outputs and signatures keep pointing at the tensor itself
        probe.replace_output(producer, tensor, other)
        source, target, position = other, tensor, producer + 1
    probe.insert_operator(position, "QUANTIZE", 1, [source], [codes])
    probe.insert_operator(position + 1, "DEQUANTIZE", 2, [codes], [target])
    return probe.pack()


def _quantization(low: float, high: float) -> Any:
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max((high - low) / _CODES, 1e-12)
    parameters = schema.QuantizationParametersT()
    parameters.scale = np.array([scale], np.float32)
    parameters.zeroPoint = np.array([int(np.clip(round(-low / scale), 0, _CODES)) + _LOWEST_CODE], np.int64)
    return parameters


def _with_rounded_weight(graph: FloatGraph, tensor: int, axis: int | None) -> bytes:
    probe = graph.copy()
    values = probe.constant(tensor)
    assert values is not None
    probe.set_constant(tensor, rounded_weight(values, axis))
    return probe.pack()


def rounded_weight(values: Array, axis: int | None) -> Array:
    """Weights after int8: symmetric, one scale per index of ``axis`` or one for all."""
    axes: Sequence[int] = range(values.ndim) if axis is None else sorted(set(range(values.ndim)) - {axis % values.ndim})
    scale = np.maximum(np.abs(values).max(axis=tuple(axes), keepdims=True) / 127, 1e-30)
    return np.asarray(np.clip(np.rint(values / scale), -127, 127) * scale, np.float32)
