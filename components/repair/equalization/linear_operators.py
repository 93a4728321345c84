"""Operators with constant weights: where their input and output channels sit in the weights.

A gain on a channel of the output multiplies that channel's weights and bias; a gain on a channel of the input divides
the weights that read it; what an offset of the input adds is known and goes into the bias.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert.schema_py_generated import ActivationFunctionType, Padding
from numpy.typing import NDArray

from components.repair.equalization.channel_ranges import Vector
from components.repair.graph import FloatGraph

Weights = NDArray[np.float64]

#: Kind -> positions of (activation, weights, bias) among the inputs; None where the kind has no such input.
_SLOTS: dict[str, tuple[int | None, int, int | None]] = {
    "CONV_2D": (0, 1, 2),
    "DEPTHWISE_CONV_2D": (0, 1, 2),
    "FULLY_CONNECTED": (0, 1, 2),
    "TRANSPOSE_CONV": (2, 1, 3),
    "GATHER": (None, 0, None),
    "EMBEDDING_LOOKUP": (None, 1, None),
}
_TABLES = ("GATHER", "EMBEDDING_LOOKUP")


@dataclass(frozen=True)
class LinearOperator:
    """An operator whose output is linear in each channel of constant weights.

    Attributes:
        graph: The graph it belongs to.
        operator: The operator.
        kind: Its name.
        source: The activation it multiplies with its weights; None for a table that is looked up.
        output: What it computes.
        num_inputs: Channels (last axis) of the source, 0 for a table.
        num_outputs: Channels of the output.
    """

    graph: FloatGraph
    operator: Any
    kind: str
    source: int | None
    output: int
    num_inputs: int
    num_outputs: int

    @classmethod
    def read(cls, graph: FloatGraph, operator: Any) -> LinearOperator | None:
        """The operator seen so; None where it is of another kind, or its weights are not what is understood."""
        kind = graph.kind(operator)
        if kind not in _SLOTS:
            return None
        source_slot, output = _SLOTS[kind][0], operator.outputs[0]
        source = None if source_slot is None else operator.inputs[source_slot]
        linear = cls(
            graph,
            operator,
            kind,
            source,
            output,
            num_inputs=0 if source is None else _last(graph, source),
            num_outputs=_last(graph, output),
        )
        return linear if linear._is_understood() else None

    @property
    def weights(self) -> int:
        """The constant tensor of its weights."""
        return int(self.operator.inputs[self._slot(1)])

    @property
    def bias(self) -> int | None:
        """The constant tensor of its biases; None without."""
        slot, inputs = _SLOTS[self.kind][2], self.operator.inputs
        return None if slot is None or len(inputs) <= slot or inputs[slot] < 0 else int(inputs[slot])

    @property
    def has_one_weight_scale(self) -> bool:
        """Whether int8 gives all its weights one scale, and not one per output channel."""
        return self.kind in ("FULLY_CONNECTED", *_TABLES)

    @property
    def activation(self) -> int:
        """The activation function fused into it, as the schema counts them."""
        return fused_activation(self.graph, self.operator)

    @property
    def is_padded(self) -> bool:
        """Whether it reads zeros beyond the edge of its input (or might)."""
        if self.kind == "FULLY_CONNECTED":
            return False
        options = self.graph.options(self.operator)
        if self.kind not in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            return True
        if options.padding == Padding.VALID:
            return False
        before, after = self.graph.shape(self._source())[1:3], self.graph.shape(self.output)[1:3]
        kernel = self.graph.shape(self.weights)[1:3]
        strides = (options.strideH, options.strideW)
        dilations = (options.dilationHFactor, options.dilationWFactor)
        sizes = zip(before, after, kernel, strides, dilations, strict=True)
        return any((m - 1) * stride + (size - 1) * dilation + 1 > n for n, m, size, stride, dilation in sizes)

    def demand(self) -> Vector | None:
        """Per input channel, how much the output that needs it most depends on it, 0..1.

        None for a depthwise convolution, where each output has one input and nothing else to compare it with.
        """
        weights = np.abs(self._read_weights())
        if self.kind == "DEPTHWISE_CONV_2D":
            return None
        by_output = weights.reshape(self.num_outputs, -1, weights.shape[-1])  # [outputs, positions, inputs per group]
        if self.kind == "FULLY_CONNECTED":
            by_output = weights.reshape(self.num_outputs, -1, self.num_inputs)
        largest = by_output.max(1)
        top = largest.max(1, keepdims=True)
        relative = np.divide(largest, top, out=np.zeros_like(largest), where=top > 0)
        return _vector(relative.reshape(self.num_groups(), -1, largest.shape[-1]).max(1).reshape(-1))

    def largest_weights(self) -> Vector:
        """Per output channel, the largest absolute weight."""
        weights = np.abs(self._read_weights())
        if self.kind == "DEPTHWISE_CONV_2D" or self.kind in _TABLES:
            return _vector(weights.reshape(-1, self.num_outputs).max(0))
        return _vector(weights.reshape(self.num_outputs, -1).max(1))

    def scale(self, input_gain: Vector | None, output_gain: Vector) -> None:
        """Makes the operator read an input that was multiplied, and compute an output that is.

        Args:
            input_gain: Per channel of the source; None where there is no source.
            output_gain: Per channel of the output.
        """
        weights = self._read_weights() * self._along_outputs(output_gain)
        if input_gain is not None:
            weights = weights / self._along_inputs(input_gain)
        self._write(self._slot(1), weights)
        if self.bias is not None:
            self._write(self._slot(2), self._constant(self.bias) * output_gain)

    def response(self, offset: Vector) -> Vector:
        """What an input that holds `offset` in each channel everywhere adds to each output; the input is not padded."""
        product = self._read_weights() * self._along_inputs(offset)
        if self.kind == "DEPTHWISE_CONV_2D":
            return _vector(product.reshape(-1, self.num_outputs).sum(0))
        return _vector(product.reshape(self.num_outputs, -1).sum(1))

    def add_to_bias(self, addend: Vector) -> None:
        """Adds to each output channel's bias; an operator without one gets one."""
        if self.bias is not None:
            self._write(self._slot(2), self._constant(self.bias) + addend)
            return
        slot = self._slot(2)
        name = self.graph.name(self.output) + "/bias"
        added = self.graph.add_tensor(name, addend.shape, "float32", addend.astype(np.float32))
        inputs = [*self.operator.inputs, *[-1] * (slot + 1 - len(self.operator.inputs))]
        inputs[slot] = added
        self.graph.set_inputs(self.operator, inputs)

    def _is_understood(self) -> bool:
        """Whether weights and bias are float constants of the shapes that the kind has."""
        graph = self.graph
        if self.kind in _TABLES:
            return self._is_column_table()
        if self.source is None or not graph.is_activation(self.source) or not graph.is_activation(self.output):
            return False
        if not _is_float_constant(graph, self.weights):
            return False
        if self.bias is not None and (
            not _is_float_constant(graph, self.bias) or graph.shape(self.bias) != (self.num_outputs,)
        ):
            return False
        return self._weights_fit(graph.shape(self.weights))

    def _is_column_table(self) -> bool:
        options = self.graph.options(self.operator)
        along_rows = self.kind == "EMBEDDING_LOOKUP" or (
            options is not None and options.axis == 0 and options.batchDims == 0
        )
        return (
            along_rows
            and _is_float_constant(self.graph, self.weights)
            and self.graph.is_activation(self.output)
            and len(self.graph.shape(self.weights)) >= 2
            and self.graph.shape(self.weights)[-1] == self.num_outputs
        )

    def _weights_fit(self, shape: tuple[int, ...]) -> bool:
        if self.num_inputs < 1 or self.num_outputs < 1 or 0 in shape:
            return False
        if self.kind == "FULLY_CONNECTED":
            is_plain = self.graph.options(self.operator).weightsFormat == 0
            return is_plain and len(shape) == 2 and shape[0] == self.num_outputs and shape[1] % self.num_inputs == 0
        if len(shape) != 4:
            return False
        if self.kind == "DEPTHWISE_CONV_2D":
            return shape[0] == 1 and shape[3] == self.num_outputs and self.num_outputs % self.num_inputs == 0
        groups_fit = self.num_inputs % shape[3] == 0 and self.num_outputs % (self.num_inputs // shape[3]) == 0
        return shape[0] == self.num_outputs and groups_fit and (self.kind == "CONV_2D" or shape[3] == self.num_inputs)

    def num_groups(self) -> int:
        if self.kind != "CONV_2D":
            return 1
        return self.num_inputs // self.graph.shape(self.weights)[3]

    def _along_inputs(self, values: Vector) -> Weights:
        """Values per input channel in a shape that multiplies the weights."""
        shape = self.graph.shape(self.weights)
        if self.kind == "FULLY_CONNECTED":
            return np.tile(values, shape[1] // self.num_inputs)[None, :]
        if self.kind == "DEPTHWISE_CONV_2D":
            return np.repeat(values, self.num_outputs // self.num_inputs)
        per_group = values.reshape(self.num_groups(), shape[3])
        return np.repeat(per_group, self.num_outputs // len(per_group), axis=0)[:, None, None, :]

    def _along_outputs(self, values: Vector) -> Weights:
        if self.kind == "DEPTHWISE_CONV_2D" or self.kind in _TABLES:
            return values
        return values.reshape(-1, *[1] * (len(self.graph.shape(self.weights)) - 1))

    def _slot(self, role: int) -> int:
        slot = _SLOTS[self.kind][role]
        assert slot is not None
        return slot

    def _source(self) -> int:
        assert self.source is not None
        return self.source

    def _read_weights(self) -> Weights:
        return self._constant(self.weights)

    def _constant(self, tensor: int) -> Weights:
        values = self.graph.constant(tensor)
        assert values is not None
        return values.astype(np.float64)

    def _write(self, slot: int, values: Weights) -> None:
        write_own_constant(self.graph, self.operator, slot, values)


def fused_activation(graph: FloatGraph, operator: Any) -> int:
    """The activation function fused into an operator (0 is none), as the schema counts them."""
    return int(getattr(graph.options(operator), "fusedActivationFunction", ActivationFunctionType.NONE))


def write_own_constant(graph: FloatGraph, operator: Any, slot: int, values: Weights) -> None:
    """Changes a constant for one operator only: one that others read too is copied first."""
    tensor = operator.inputs[slot]
    is_shared = len(graph.consumers(tensor)) > 1 or operator.inputs.count(tensor) > 1 or tensor in graph.outputs
    array = values.astype(np.float32)
    if not is_shared:
        graph.set_constant(tensor, array)
        return
    inputs = list(operator.inputs)
    inputs[slot] = graph.add_tensor(graph.name(tensor), array.shape, "float32", array)
    graph.set_inputs(operator, inputs)


def _is_float_constant(graph: FloatGraph, tensor: int) -> bool:
    return tensor >= 0 and graph.dtype(tensor) == "float32" and graph.constant(tensor) is not None


def _last(graph: FloatGraph, tensor: int) -> int:
    shape = graph.shape(tensor) if tensor >= 0 else ()
    return shape[-1] if shape else 0


def _vector(values: Weights) -> Vector:
    return np.asarray(values, np.float64)
