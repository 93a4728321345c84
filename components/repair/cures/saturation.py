"""Cuts ranges to what the consumers of a tensor can tell apart.

Hard-swish is exactly 0 below -3 and a sigmoid is flat beyond about 8: what a tensor holds beyond that needs no int8 code
when *all* its consumers saturate there. A channel that training never woke, far below zero in front of a hard-swish,
would otherwise take most of the 256 codes.

Rules: 1. A range is only ever cut, never widened. 2. One consumer that does not saturate, or an output of the model,
keeps the whole range. 3. Through operators that only move or compare values the consumers behind them decide.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from components.repair.graph import FloatGraph

Range: TypeAlias = tuple[float, float]

UNBOUNDED: Range = (-math.inf, math.inf)
NOTHING: Range = (math.inf, -math.inf)
"""What a tensor without a consumer needs; the identity of ``_hull``."""

SIGMOID_LIMIT = 8.0
"""1 - sigmoid(8) = 0.0003, a twelfth of the step of an int8 output."""
TANH_LIMIT = SIGMOID_LIMIT / 2
"""tanh(x) = 2 sigmoid(2x) - 1."""
EXPONENTIAL_LIMIT = 8.0
"""exp(-8) = 0.0003: ELU is its floor of -1 there, and x sigmoid(x) is 0 to 0.003."""
GELU_LIMIT = 4.0
"""GELU(-4) = -0.0001."""

_SATURATES: dict[str, Range] = {
    "HARD_SWISH": (-3.0, math.inf),
    "LOGISTIC": (-SIGMOID_LIMIT, SIGMOID_LIMIT),
    "TANH": (-TANH_LIMIT, TANH_LIMIT),
    "RELU": (0.0, math.inf),
    "RELU6": (0.0, 6.0),
    "RELU_N1_TO_1": (-1.0, 1.0),
    "RELU_0_TO_1": (0.0, 1.0),
    "ELU": (-EXPONENTIAL_LIMIT, math.inf),
    "GELU": (-GELU_LIMIT, math.inf),
}

_FUSED: dict[int, Range] = {
    schema.ActivationFunctionType.RELU: _SATURATES["RELU"],
    schema.ActivationFunctionType.RELU6: _SATURATES["RELU6"],
    schema.ActivationFunctionType.RELU_N1_TO_1: _SATURATES["RELU_N1_TO_1"],
    schema.ActivationFunctionType.TANH: _SATURATES["TANH"],
}

#: Each output value is one of the input's values, and clipping before is clipping behind.
_MOVES_VALUES = frozenset(
    {
        "BATCH_TO_SPACE_ND",
        "CONCATENATION",
        "DEPTH_TO_SPACE",
        "EXPAND_DIMS",
        "GATHER",
        "GATHER_ND",
        "MAX_POOL_2D",
        "PACK",
        "REDUCE_MAX",
        "REDUCE_MIN",
        "RESHAPE",
        "RESIZE_NEAREST_NEIGHBOR",
        "SLICE",
        "SPACE_TO_DEPTH",
        "SPLIT",
        "SPLIT_V",
        "SQUEEZE",
        "STRIDED_SLICE",
        "TILE",
        "TRANSPOSE",
        "UNPACK",
    }
)


def cut_saturated_ranges(graph: FloatGraph, ranges: Mapping[str, Range]) -> dict[str, Range]:
    """Returns the ranges, each cut to what its tensor's consumers can tell apart.

    Args:
        graph: The float model.
        ranges: Lowest and highest value by tensor name; names that the graph does not have stay as they are.
    """
    needed = _Needed(graph)
    cut = dict(ranges)
    for tensor in range(len(graph.tensors)):
        if (name := graph.name(tensor)) in ranges and graph.is_activation(tensor):
            cut[name] = _clip(ranges[name], needed.of(tensor))
    return cut


class _Needed:
    """Finds the interval beyond which no consumer of a tensor notices a difference."""

    def __init__(self, graph: FloatGraph) -> None:
        self._graph = graph
        self._known: dict[int, Range] = {}

    def of(self, tensor: int) -> Range:
        if tensor not in self._known:
            self._known[tensor] = UNBOUNDED  # also the answer should a damaged graph lead back here
            self._known[tensor] = self._find(tensor)
        return self._known[tensor]

    def _find(self, tensor: int) -> Range:
        if tensor in self._graph.outputs:
            return UNBOUNDED
        consumers = self._graph.consumers(tensor)
        gated = self._sigmoid_gate(tensor, consumers)
        if gated is not None:
            return gated
        values = NOTHING
        for position in consumers:
            values = _hull(values, self._by_consumer(tensor, position))
        return UNBOUNDED if values == NOTHING else values

    def _by_consumer(self, tensor: int, position: int) -> Range:
        operator, kind = self._graph.operators[position], self._graph.kind(position)
        if kind in _SATURATES:
            return _SATURATES[kind]
        if kind in _MOVES_VALUES and not self._fused(position):
            values = NOTHING
            for output in operator.outputs:
                values = _hull(values, self.of(output))
            return values
        if kind in {"ADD", "MINIMUM", "MAXIMUM"}:
            return self._beside_constant(tensor, position, kind)
        return UNBOUNDED

    def _beside_constant(self, tensor: int, position: int, kind: str) -> Range:
        """X + c with a fused activation, or the greater or lesser of x and c."""
        others = [other for other in self._graph.operators[position].inputs if other != tensor]
        constant = self._graph.constant(others[0]) if len(others) == 1 else None
        if constant is None or constant.size == 0:
            return UNBOUNDED
        low, high = float(np.min(constant)), float(np.max(constant))
        if kind == "ADD":
            fused = _FUSED.get(self._fused(position), UNBOUNDED)
            behind = fused if self._fused(position) else self.of(self._graph.operators[position].outputs[0])
            return behind[0] - high, behind[1] - low
        return (low, math.inf) if kind == "MAXIMUM" else (-math.inf, high)

    def _sigmoid_gate(self, tensor: int, consumers: list[int]) -> Range | None:
        """X sigmoid(x), which TFLite has no operator for: 0 far below zero although the product alone is not."""
        if len(consumers) != 2:
            return None
        gates = [p for p in consumers if self._graph.kind(p) == "LOGISTIC"]
        products = [p for p in consumers if self._graph.kind(p) == "MUL" and not self._fused(p)]
        if len(gates) != 1 or len(products) != 1:
            return None
        gate = self._graph.operators[gates[0]].outputs[0]
        if set(self._graph.operators[products[0]].inputs) != {tensor, gate}:
            return None
        return -EXPONENTIAL_LIMIT, math.inf

    def _fused(self, position: int) -> int:
        return int(getattr(self._graph.options(position), "fusedActivationFunction", 0))


def _hull(first: Range, second: Range) -> Range:
    return min(first[0], second[0]), max(first[1], second[1])


def _clip(limits: Range, needed: Range) -> Range:
    low, high = (min(max(limit, needed[0]), needed[1]) for limit in limits)
    return low, high
