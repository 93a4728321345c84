"""Which channels of a graph's activations must have the same gain, and which can have none.

A channel of an activation and the channels that its values reach unmixed (through ReLU, pooling, reshaping, adding,
concatenating) are one *line*: they have one gain, or none. A line starts and ends in constant weights or factors, which
take the gain up. It is *locked* (its gain is 1) where it touches an input or output of the graph, a function that is
not homogeneous (sigmoid, hard-swish, ReLU6, softmax), or an operator that is not understood.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert.schema_py_generated import ActivationFunctionType
from numpy.typing import NDArray

from components.repair.equalization.channel_ranges import ChannelRanges
from components.repair.equalization.linear_operators import LinearOperator, fused_activation
from components.repair.equalization.slices import selected_channels
from components.repair.graph import FloatGraph

Lines = NDArray[np.int64]

_SAME_CHANNELS = frozenset(
    (
        "ABS",
        "AVERAGE_POOL_2D",
        "BATCH_TO_SPACE_ND",
        "LEAKY_RELU",
        "MAX_POOL_2D",
        "NEG",
        "RELU",
        "RESIZE_BILINEAR",
        "RESIZE_NEAREST_NEIGHBOR",
        "SPACE_TO_BATCH_ND",
    )
)
"""One activation in, one out; multiplying a channel by a positive number multiplies it in the output."""
_REDUCTIONS = frozenset(("MEAN", "REDUCE_MAX", "REDUCE_MIN", "SUM"))
_RESHAPES = frozenset(("EXPAND_DIMS", "RESHAPE", "SQUEEZE"))
_SUMS = frozenset(("ADD", "ADD_N", "MAXIMUM", "MINIMUM", "SUB"))
_PADS = frozenset(("MIRROR_PAD", "PAD", "PADV2"))
_SLICES = frozenset(("SLICE", "SPLIT", "SPLIT_V", "STRIDED_SLICE"))


@dataclass(frozen=True)
class ScaledConstant:
    """A constant that takes up gains: an addend has that of the sum, a factor what its output's is more than its input's."""

    operator: Any
    slot: int
    output: int
    source: int | None = None


class DisjointSets:
    """Union-find over 0..size-1; sets can be added to, and locked."""

    def __init__(self, size: int = 0) -> None:
        self._parents = list(range(size))
        self._locked = [False] * size  # true of a set where it is of its root

    def __len__(self) -> int:
        return len(self._parents)

    def add(self, count: int) -> Lines:
        first = len(self._parents)
        self._parents.extend(range(first, first + count))
        self._locked.extend([False] * count)
        return np.arange(first, first + count)

    def find(self, member: int) -> int:
        parents = self._parents
        while parents[member] != member:
            parents[member] = parents[parents[member]]
            member = parents[member]
        return member

    def join(self, one: int, other: int) -> None:
        first, second = sorted((self.find(one), self.find(other)))
        self._parents[second] = first
        self._locked[first] = self._locked[first] or self._locked[second]

    def join_all(self, members: Lines) -> None:
        for member in np.unique(members)[1:].tolist():
            self.join(int(members[0]), member)

    def lock(self, members: Lines) -> None:
        for member in members.tolist():
            self._locked[self.find(member)] = True

    def are_locked(self, members: Lines) -> bool:
        return all(self._locked[self.find(member)] for member in members.tolist())


class LineBuilder:
    """Walks the operators in the order in which they run and gives every channel a line."""

    def __init__(self, graph: FloatGraph, ranges: ChannelRanges, linear: dict[int, LinearOperator]) -> None:
        self._graph = graph
        self._ranges = ranges
        self._linear = linear
        self._union = DisjointSets()
        self._lines: dict[int, Lines] = {}
        self.scaled_constants: list[ScaledConstant] = []
        self.summed: set[int] = set()

    def build(self) -> tuple[dict[int, Lines], NDArray[np.bool_]]:
        for tensor in self._graph.inputs:
            self._union.lock(self._lines_of(tensor))
        for operator in self._graph.operators:
            self._read(operator)
        for tensor in self._graph.outputs:
            self._union.lock(self._lines_of(tensor))
        roots = np.array([self._union.find(line) for line in range(len(self._union))], np.int64)
        used, numbers = np.unique(roots, return_inverse=True)
        is_locked = np.array([self._union.are_locked(used[[at]]) for at in range(used.size)], np.bool_)
        lines = {tensor: numbers[lines] for tensor, lines in self._lines.items() if lines.size}
        return lines, is_locked

    def _read(self, operator: Any) -> None:
        """Gives the operator's outputs their lines."""
        route = None
        if fused_activation(self._graph, operator) in (ActivationFunctionType.NONE, ActivationFunctionType.RELU):
            reader = self._reader(operator)
            route = reader(operator) if reader is not None else None
        elif id(operator) in self._linear:  # RELU6 and the like: the output is locked, the input is not
            self._union.lock(self._lines_of(operator.outputs[0]))
            return
        if route is None:
            self._lock_around(operator)
        elif len(operator.outputs) == 1:
            self._give(operator.outputs[0], route)

    def _reader(self, operator: Any) -> Callable[[Any], Lines | None] | None:
        kind = self._graph.kind(operator)
        if id(operator) in self._linear:
            return self._read_linear
        readers: dict[str, Callable[[Any], Lines | None]] = {
            **dict.fromkeys(_SAME_CHANNELS, self._read_same),
            **dict.fromkeys(_REDUCTIONS, self._read_reduction),
            **dict.fromkeys(_RESHAPES, self._read_reshape),
            **dict.fromkeys(_SUMS, self._read_sum),
            **dict.fromkeys(_PADS, self._read_pad),
            **dict.fromkeys(_SLICES, self._read_slice),
            "CONCATENATION": self._read_concatenation,
            "MUL": self._read_product,
            "PRELU": self._read_prelu,
            "TRANSPOSE": self._read_transpose,
        }
        return readers.get(kind)

    # One operator each: the lines of its output; None where channels are mixed, or it is not understood.

    def _read_linear(self, operator: Any) -> Lines | None:
        lines = self._lines_of(operator.outputs[0])
        if self._has_twin(operator):
            self._union.lock(lines)
        return lines

    def _has_twin(self, operator: Any) -> bool:
        """Whether another operator reads the same weights and input: gains of their outputs would store the weights twice."""
        source, weights = operator.inputs[:2]
        return any(
            list(self._graph.operators[p].inputs[:2]) == [source, weights]
            for p in self._graph.consumers(weights)
            if self._graph.operators[p] is not operator
        )

    def _read_same(self, operator: Any) -> Lines | None:
        return self._lines_of(operator.inputs[0])

    def _read_prelu(self, operator: Any) -> Lines | None:
        return self._read_same(operator) if self._graph.constant(operator.inputs[1]) is not None else None

    def _read_reduction(self, operator: Any) -> Lines | None:
        return self._read_same(operator) if keeps_channels(self._graph, operator) else None

    def _read_transpose(self, operator: Any) -> Lines | None:
        return self._read_same(operator) if keeps_channels(self._graph, operator) else None

    def _read_reshape(self, operator: Any) -> Lines | None:
        """Channel j of the output holds the inputs' channels that are j modulo the sizes' common divisor."""
        graph, output = self._graph, operator.outputs[0]
        before, size = self._lines_of(operator.inputs[0]), graph.shape(output)[-1:]
        signature = graph.tensors[output].shapeSignature
        if not before.size or not size or (signature is not None and len(signature) and signature[-1] < 0):
            return None
        common = math.gcd(before.size, size[0])
        for channel in range(common):
            self._union.join_all(before[channel::common])
        return np.tile(before[:common], size[0] // common)

    def _read_pad(self, operator: Any) -> Lines | None:
        graph = self._graph
        before, amounts = self._lines_of(operator.inputs[0]), graph.constant(operator.inputs[1])
        if amounts is None or not before.size:
            return None
        if graph.kind(operator) == "PADV2":
            values = graph.constant(operator.inputs[2])
            if values is None or np.any(values):
                return None
        low, high = (int(amount) for amount in amounts.reshape(-1, 2)[-1])
        if not low and not high:
            return before
        if graph.kind(operator) == "MIRROR_PAD":
            return None
        return np.concatenate([self._union.add(low), before, self._union.add(high)])

    def _read_slice(self, operator: Any) -> Lines | None:
        selections = selected_channels(self._graph, operator)
        if selections is None:
            return None
        before = self._lines_of(selections.source)
        if not before.size:
            return None
        for output, channels in zip(operator.outputs, selections.channels, strict=True):
            self._give(output, before[channels])
        return self._lines[operator.outputs[0]]

    def _read_concatenation(self, operator: Any) -> Lines | None:
        graph, output = self._graph, operator.outputs[0]
        rank = len(graph.shape(output))
        parts = [self._lines_of(tensor) for tensor in operator.inputs]
        if not all(part.size for part in parts):
            return None
        if graph.options(operator).axis % rank == rank - 1:
            return np.concatenate(parts)
        return self._join_equal(parts)

    def _read_sum(self, operator: Any) -> Lines | None:
        """All addends have the gain of the sum; constant ones are multiplied by it."""
        graph, output = self._graph, operator.outputs[0]
        activations = [tensor for tensor in operator.inputs if graph.is_activation(tensor)]
        constants = [slot for slot, tensor in enumerate(operator.inputs) if tensor not in activations]
        if not activations or any(graph.constant(operator.inputs[slot]) is None for slot in constants):
            return None
        joined = self._join_equal([self._lines_of(tensor) for tensor in activations], graph.shape(output)[-1])
        if joined is None or (constants and not self._has_width(joined, constants, operator)):
            return None
        if len(activations) > 1:
            self.summed.add(output)
        self.scaled_constants.extend(ScaledConstant(operator, slot, output) for slot in constants)
        return joined

    def _read_product(self, operator: Any) -> Lines | None:
        """A constant factor is a layer of its own; through a gate (squeeze-excite), which is locked, a gain passes."""
        graph, output = self._graph, operator.outputs[0]
        activations = [tensor for tensor in operator.inputs if graph.is_activation(tensor)]
        if len(activations) == 2:
            return self._read_gate(operator)
        slots = [slot for slot, tensor in enumerate(operator.inputs) if tensor not in activations]
        if len(activations) != 1 or graph.constant(operator.inputs[slots[0]]) is None:
            return None
        before, after = self._lines_of(activations[0]), self._lines_of(output)
        if before.size not in (1, after.size) or not before.size or not self._has_width(after, slots, operator):
            return None
        self.scaled_constants.append(ScaledConstant(operator, slots[0], output, activations[0]))
        return after

    def _read_gate(self, operator: Any) -> Lines | None:
        graph, size = self._graph, self._graph.shape(operator.outputs[0])[-1]
        main, gate = operator.inputs
        if main == gate:
            return None
        gate_score, main_score = (
            (self._union.are_locked(self._lines_of(tensor)), -math.prod(graph.shape(tensor))) for tensor in (gate, main)
        )
        if main_score > gate_score:
            main, gate = gate, main
        self._union.lock(self._lines_of(gate))
        before = self._lines_of(main)
        if before.size != size:
            return None
        self.summed.add(operator.outputs[0])
        return before

    # Lines

    def _lines_of(self, tensor: int) -> Lines:
        """A tensor's lines, new ones at its first use; none where it has no channels. What was not measured is locked."""
        if tensor < 0:
            return np.empty(0, np.int64)
        if tensor not in self._lines:
            shape = self._graph.shape(tensor)
            is_numeric = self._graph.dtype(tensor) == "float32"
            self._lines[tensor] = self._union.add(shape[-1] if is_numeric and shape else 0)
            if not self._graph.is_activation(tensor) or tensor not in self._ranges:
                self._union.lock(self._lines[tensor])
        return self._lines[tensor]

    def _give(self, tensor: int, lines: Lines) -> None:
        if lines.size != (self._graph.shape(tensor) or (0,))[-1]:
            self._union.lock(lines)
            self._union.lock(self._lines_of(tensor))
            return
        self._lines[tensor] = lines
        if tensor not in self._ranges:
            self._union.lock(lines)

    def _lock_around(self, operator: Any) -> None:
        for tensor in (*operator.inputs, *operator.outputs):
            if tensor >= 0 and not self._graph.is_constant(tensor):
                self._union.lock(self._lines_of(tensor))

    def _join_equal(self, parts: Sequence[Lines], size: int | None = None) -> Lines | None:
        """Makes the parts' lines one, channel by channel; a part of one channel is broadcast."""
        width = size or max(part.size for part in parts)
        if any(part.size not in (1, width) for part in parts):
            return None
        wide = [np.broadcast_to(part, width) for part in parts]
        for part in wide[1:]:
            for line, neighbor in zip(wide[0].tolist(), part.tolist(), strict=True):
                self._union.join(line, neighbor)
        return np.array(wide[0])

    def _has_width(self, lines: Lines, slots: Sequence[int], operator: Any) -> bool:
        """Whether constants can be given one value per channel: they have one for all, or one for each."""
        shapes = [self._graph.shape(operator.inputs[slot]) for slot in slots]
        return all(not shape or shape[-1] in (1, lines.size) for shape in shapes)


def keeps_channels(graph: FloatGraph, operator: Any) -> bool:
    """Whether a reduction leaves the last axis alone, or a transposition leaves it last."""
    axes, rank = graph.constant(operator.inputs[1]), len(graph.shape(operator.inputs[0]))
    if axes is None or not rank:
        return False
    if graph.kind(operator) == "TRANSPOSE":
        return int(axes.reshape(-1)[-1]) == rank - 1
    return bool((axes.reshape(-1) % rank != rank - 1).all())
