"""Splits a layer whose channels are taken apart at once into one layer per part.

Class logits and box pixels computed by one Dense share one activation scale, and one weight scale too; taken apart
before they are computed, each has its own. The numbers computed are the same.
"""

from __future__ import annotations

import copy
import logging

import numpy as np

from components.repair.equalization.channel_ranges import Change, ChannelRanges
from components.repair.equalization.linear_operators import LinearOperator
from components.repair.equalization.slices import selected_channels
from components.repair.graph import Array, FloatGraph

_log = logging.getLogger(__name__)

LEAST_RATIO = 4.0
"""Parts whose ranges differ by less than this factor (2 of 8 bits) stay together: each layer more costs time."""


def split_heads(graph: FloatGraph, ranges: ChannelRanges) -> tuple[Change, ...]:
    """Splits every Dense or convolution whose parts differ in range."""
    changes = []
    for operator in list(graph.operators):
        head = LinearOperator.read(graph, operator)
        if head is None or head.kind not in ("FULLY_CONNECTED", "CONV_2D") or head.output not in ranges:
            continue
        parts = _parts(graph, head)
        if len(parts) < 2:
            continue
        ratio = _ratio(head, parts, ranges)
        if ratio >= LEAST_RATIO:
            what = f"split into {len(parts)} layers, one for each part that is taken from it"
            changes.append(Change(graph.name(head.output), what, ratio, 1.0))
            _split(graph, head, parts, ranges)
    return tuple(changes)


def _parts(graph: FloatGraph, head: LinearOperator) -> dict[int, slice]:
    """Outputs of the operators that take the head apart, with their channels; none where it cannot be split."""
    consumers = graph.consumers(head.output)
    if head.output in graph.outputs or not consumers or head.num_groups() > 1:
        return {}
    parts: dict[int, slice] = {}
    for consumer in consumers:
        operator = graph.operators[consumer]
        selection = selected_channels(graph, operator)
        if selection is None or not selection.takes_all_else or selection.source != head.output:
            if parts:
                _log.info("%s stays whole: %s reads it otherwise", graph.name(head.output), graph.kind(operator))
            return {}
        parts.update(zip(operator.outputs, selection.channels, strict=True))
    return parts


def _ratio(head: LinearOperator, parts: dict[int, slice], ranges: ChannelRanges) -> float:
    """How many times larger the widest part's values, or weights, are than the narrowest's."""
    weights = head.largest_weights() if head.has_one_weight_scale else np.ones(head.num_outputs)
    return max(
        _spread([float(values[channels].max(initial=0.0)) for channels in parts.values()])
        for values in (ranges.largest(head.output), weights)
    )


def _spread(sizes: list[float]) -> float:
    positive = [size for size in sizes if size > 0]
    return max(positive) / min(positive) if positive else 1.0


def _split(graph: FloatGraph, head: LinearOperator, parts: dict[int, slice], ranges: ChannelRanges) -> None:
    apart = [graph.operators[consumer] for consumer in graph.consumers(head.output)]
    weights = _constant(graph, head.weights)
    bias = None if head.bias is None else _constant(graph, head.bias)
    for output, channels in parts.items():
        inputs = list(head.operator.inputs)
        inputs[1] = _add_constant(graph, f"{graph.name(output)}/weights", weights[channels])
        if bias is not None:
            inputs[2] = _add_constant(graph, f"{graph.name(output)}/bias", bias[channels])
        options = copy.copy(graph.options(head.operator))
        position = graph.position(head.operator)
        graph.insert_operator(position, head.kind, graph.version(head.operator), inputs, [output], options)
        ranges.select(output, head.output, channels)
    for operator in (*apart, head.operator):
        graph.remove_operator(operator)


def _constant(graph: FloatGraph, tensor: int) -> Array:
    values = graph.constant(tensor)
    assert values is not None
    return values


def _add_constant(graph: FloatGraph, name: str, values: Array) -> int:
    return graph.add_tensor(name, values.shape, "float32", np.ascontiguousarray(values))
