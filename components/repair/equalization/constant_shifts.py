"""Takes constant offsets out of activations and gives them back in the biases of whatever consumes them.

int8 maps one range, which holds 0, to 256 codes for all channels: offsets of hundreds leave a signal of one with no
codes. An offset can go where nothing between producer and consumers bends or pads: a shift does not pass through ReLU,
and a convolution that pads its input with zeros would see another edge; such a stream is left alone, by name.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ai_edge_litert.schema_py_generated import ActivationFunctionType

from components.repair.equalization.channel_lines import keeps_channels
from components.repair.equalization.channel_ranges import Change, ChannelRanges, Vector
from components.repair.equalization.linear_operators import LinearOperator, fused_activation
from components.repair.equalization.slices import selected_channels
from components.repair.graph import FloatGraph

_log = logging.getLogger(__name__)

LEAST_OFFSET = 4.0
"""Offsets are moved where some channel uses less than a quarter of its own range: 2 of 8 bits, which no gain gives back."""


@dataclass
class _Route:
    """Where one producer's offset goes.

    Attributes:
        offsets: Per tensor it reaches, the offset of each channel there.
        absorbed: Consumers and what each of their biases has to make up for.
        obstacle: Why it cannot go at all; None where it can.
    """

    offsets: dict[int, Vector]
    absorbed: list[tuple[LinearOperator, Vector]] = field(default_factory=list)
    obstacle: str | None = None


def absorb_shifts(graph: FloatGraph, ranges: ChannelRanges) -> tuple[Change, ...]:
    """Centers the channels of every producer whose offsets can be moved and are worth it."""
    changes = []
    for operator in list(graph.operators):
        producer = LinearOperator.read(graph, operator)
        if producer is None or not _is_worth_it(producer, ranges):
            continue
        tensor = producer.output
        route = _trace(graph, tensor, (ranges.low(tensor) + ranges.high(tensor)) / 2)
        if route.obstacle is not None:
            _log.info("constant offsets of %s stay: %s", graph.name(tensor), route.obstacle)
            continue
        before = ranges.offset(tensor)
        _apply(producer, route, ranges)
        after = ranges.offset(tensor)
        changes.append(Change(graph.name(tensor), "constant offsets moved into the consumers' biases", before, after))
    return tuple(changes)


def _is_worth_it(producer: LinearOperator, ranges: ChannelRanges) -> bool:
    return (
        producer.source is not None
        and producer.activation == ActivationFunctionType.NONE
        and producer.output in ranges
        and ranges.offset(producer.output) >= LEAST_OFFSET
    )


def _apply(producer: LinearOperator, route: _Route, ranges: ChannelRanges) -> None:
    producer.add_to_bias(-route.offsets[producer.output])
    for consumer, addend in route.absorbed:
        consumer.add_to_bias(addend)
    for tensor, offset in route.offsets.items():
        if tensor in ranges:
            ranges.shift(tensor, offset)


def _trace(graph: FloatGraph, tensor: int, offset: Vector) -> _Route:
    """Follows an offset from its producer to all its consumers."""
    route = _Route({tensor: offset})
    for operator in graph.operators[(graph.producer(tensor) or 0) + 1 :]:
        if not route.offsets.keys() & set(operator.inputs):
            continue
        linear = LinearOperator.read(graph, operator)
        obstacle = _absorb(linear, route) if linear is not None else _pass_on(graph, operator, route)
        if obstacle is not None:
            route.obstacle = f"{graph.kind(operator)} {graph.name(operator.outputs[0])} {obstacle}"
            return route
    reached = [graph.name(output) for output in graph.outputs if output in route.offsets]
    if reached:
        route.obstacle = f"{reached[0]} is an output of the model"
    return route


def _absorb(linear: LinearOperator, route: _Route) -> str | None:
    if linear.source not in route.offsets:
        return "looks them up"
    if linear.is_padded:
        return "pads its input with zeros"
    route.absorbed.append((linear, linear.response(route.offsets[linear.source])))
    return None


def _pass_on(graph: FloatGraph, operator: Any, route: _Route) -> str | None:
    """Adds the operator's outputs to the route, or says why not."""
    reader = _READERS.get(graph.kind(operator))
    if reader is None or fused_activation(graph, operator) != ActivationFunctionType.NONE:
        return "is not a shift of a shifted input"
    shift = reader(graph, operator, route.offsets)
    if shift is None:
        return "does not keep the offsets apart"
    for output, offset in zip(operator.outputs, shift, strict=True):
        if offset.size != graph.shape(output)[-1]:
            return "does not keep the offsets apart"
        route.offsets[output] = offset
    return None


_Offsets = dict[int, Vector]


def _same(graph: FloatGraph, operator: Any, offsets: _Offsets) -> list[Vector] | None:
    return [offsets[operator.inputs[0]]]


def _same_where_channels_are_kept(graph: FloatGraph, operator: Any, offsets: _Offsets) -> list[Vector] | None:
    return [offsets[operator.inputs[0]]] if keeps_channels(graph, operator) else None


def _reshaped(graph: FloatGraph, operator: Any, offsets: _Offsets) -> list[Vector] | None:
    offset, shape = offsets[operator.inputs[0]], graph.shape(operator.outputs[0])
    if not shape or shape[-1] % offset.size:
        return None
    return [np.tile(offset, shape[-1] // offset.size)]


def _selected(graph: FloatGraph, operator: Any, offsets: _Offsets) -> list[Vector] | None:
    selection = selected_channels(graph, operator)
    if selection is None:
        return None
    return [offsets[selection.source][channels] for channels in selection.channels]


def _concatenated(graph: FloatGraph, operator: Any, offsets: _Offsets) -> list[Vector] | None:
    rank = len(graph.shape(operator.outputs[0]))
    if graph.options(operator).axis % rank != rank - 1:
        return None
    return [np.concatenate([_offset_of(graph, tensor, offsets) for tensor in operator.inputs])]


def _added(graph: FloatGraph, operator: Any, offsets: _Offsets) -> list[Vector] | None:
    first, second = (_offset_of(graph, tensor, offsets) for tensor in operator.inputs)
    return [first - second if graph.kind(operator) == "SUB" else first + second]


def _multiplied(graph: FloatGraph, operator: Any, offsets: _Offsets) -> list[Vector] | None:
    """A factor per channel multiplies the offset; anything else would make it vary."""
    constants = [values for tensor in operator.inputs if (values := graph.constant(tensor)) is not None]
    if len(constants) != 1 or constants[0].size not in (1, graph.shape(operator.outputs[0])[-1]):
        return None
    factor = constants[0].reshape(-1).astype(np.float64)
    if constants[0].size > 1 and constants[0].shape[-1] == 1:
        return None
    (offset,) = (offsets[tensor] for tensor in operator.inputs if tensor in offsets)
    return [offset * factor]


def _offset_of(graph: FloatGraph, tensor: int, offsets: _Offsets) -> Vector:
    shape = graph.shape(tensor)
    return offsets.get(tensor, np.zeros(shape[-1] if shape else 1))


_READERS: dict[str, Callable[[FloatGraph, Any, _Offsets], list[Vector] | None]] = {
    **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"), _same),
    **dict.fromkeys(("MEAN", "REDUCE_MAX", "REDUCE_MIN", "TRANSPOSE"), _same_where_channels_are_kept),
    **dict.fromkeys(("EXPAND_DIMS", "RESHAPE", "SQUEEZE"), _reshaped),
    **dict.fromkeys(("SLICE", "SPLIT", "SPLIT_V", "STRIDED_SLICE"), _selected),
    **dict.fromkeys(("ADD", "SUB"), _added),
    "CONCATENATION": _concatenated,
    "MUL": _multiplied,
}
"""Operators whose outputs are shifted by known offsets where their inputs are. Pooling counts no padding."""
