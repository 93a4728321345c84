"""Which channels (last axis) an operator that takes a tensor apart gives to each of its outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.repair.graph import FloatGraph


@dataclass(frozen=True)
class Selection:
    """What a SPLIT, SPLIT_V, SLICE or STRIDED_SLICE selects.

    Attributes:
        source: The tensor it takes apart.
        channels: Channels of the source, per output.
        takes_all_else: Whether each output holds its channels at all positions, in the source's own shape.
    """

    source: int
    channels: tuple[slice, ...]
    takes_all_else: bool


def selected_channels(graph: FloatGraph, operator: Any) -> Selection | None:
    """Reads what the operator selects; None where that is not constant or the last axis does not stay last."""
    readers = {
        "SLICE": _read_slice,
        "STRIDED_SLICE": _read_strided_slice,
        "SPLIT": _read_split,
        "SPLIT_V": _read_split,
    }
    reader = readers.get(graph.kind(operator))
    return reader(graph, operator) if reader is not None else None


def _read_slice(graph: FloatGraph, operator: Any) -> Selection | None:
    source, output = operator.inputs[0], operator.outputs[0]
    begins, sizes = _integers(graph, operator.inputs[1]), _integers(graph, operator.inputs[2])
    shape = graph.shape(source)
    if begins is None or sizes is None or not shape or begins.size != len(shape):
        return None
    first = int(begins[-1])
    last = shape[-1] if sizes[-1] < 0 else first + int(sizes[-1])
    return Selection(source, (slice(first, last),), _takes_all_else(graph, source, output, begins[:-1]))


def _read_strided_slice(graph: FloatGraph, operator: Any) -> Selection | None:
    source, output, options = operator.inputs[0], operator.outputs[0], graph.options(operator)
    begins, ends, strides = (_integers(graph, tensor) for tensor in operator.inputs[1:4])
    shape = graph.shape(source)
    if begins is None or ends is None or strides is None or not shape or begins.size > len(shape):
        return None
    if options.ellipsisMask or options.newAxisMask or (strides < 1).any():
        return None
    axis = len(shape) - 1
    if begins.size <= axis:
        channels = slice(0, shape[-1])
    elif options.shrinkAxisMask >> axis & 1:
        return None
    else:
        begin = None if options.beginMask >> axis & 1 else int(begins[axis])
        end = None if options.endMask >> axis & 1 else int(ends[axis])
        channels = slice(*slice(begin, end, int(strides[axis])).indices(shape[-1]))
    takes_all_else = (
        not options.shrinkAxisMask
        and bool((strides[:axis] == 1).all())
        and all(options.beginMask >> i & 1 or begins[i] == 0 for i in range(min(axis, begins.size)))
        and _takes_all_else(graph, source, output, np.zeros(axis))
    )
    return Selection(source, (channels,), takes_all_else)


def _read_split(graph: FloatGraph, operator: Any) -> Selection | None:
    is_equal = graph.kind(operator) == "SPLIT"
    source, axis_tensor = operator.inputs[1 if is_equal else 0], operator.inputs[0 if is_equal else 2]
    axes, shape = _integers(graph, axis_tensor), graph.shape(source)
    if axes is None or axes.size != 1 or not shape:
        return None
    if axes[0] % len(shape) != len(shape) - 1:
        return Selection(source, (slice(0, shape[-1]),) * len(operator.outputs), False)
    ends = np.cumsum([graph.shape(output)[-1] for output in operator.outputs]).tolist()
    begins = [0, *ends[:-1]]
    return Selection(source, tuple(slice(b, e) for b, e in zip(begins, ends, strict=True)), True)


def _takes_all_else(graph: FloatGraph, source: int, output: int, begins: NDArray[Any]) -> bool:
    """Whether every axis but the last is taken from its start, whole (an open batch is 1 in both shapes)."""
    return graph.shape(source)[:-1] == graph.shape(output)[:-1] and not np.any(begins)


def _integers(graph: FloatGraph, tensor: int) -> NDArray[np.int64] | None:
    values = graph.constant(tensor) if tensor >= 0 else None
    return None if values is None else values.reshape(-1).astype(np.int64)
