"""Finds the front end of a model that no 256 codes can hold: a spectrogram, which squares, roots and takes logarithms.

Each of its tensors spans orders of magnitude and is read by the next, so one in float alone cures nothing: the block is
float as a whole, from the inputs to the last of these operators that leaves enough of the model behind it.
"""

from __future__ import annotations

import numpy as np

from components.repair.graph import FloatGraph

#: Operators whose input or output spans orders of magnitude.
WIDE_OPERATORS = frozenset(
    {
        "COMPLEX_ABS",
        "DIV",
        "EXP",
        "IMAG",
        "LOG",
        "POW",
        "REAL",
        "RFFT2D",
        "RSQRT",
        "SQRT",
        "SQUARE",
        "SQUARED_DIFFERENCE",
    }
)
#: At least these among them make a front end; one division alone is a normalization, which other cures know.
TELLING_OPERATORS = frozenset({"LOG", "RFFT2D", "SQRT", "SQUARE", "COMPLEX_ABS", "POW", "RSQRT"})
#: Share of the weights that must lie behind the block, the part that int8 is for, unless half of the layers do.
MIN_SHARE_BEHIND = 0.25


def float_front(graph: FloatGraph) -> tuple[str, ...]:
    """Names of the tensors inside the block, inputs included; none where the model has no such front end."""
    ancestors = _ancestors(graph)
    block: set[int] = set()
    best: set[int] = set()
    is_telling = False
    for position in range(len(graph.operators)):
        if graph.kind(position) in WIDE_OPERATORS:
            block |= ancestors[position] | {position}
            is_telling = is_telling or graph.kind(position) in TELLING_OPERATORS
            if is_telling and _leaves_enough(graph, block):
                best = set(block)
    return tuple(graph.name(tensor) for tensor in _inside(graph, best))


def _ancestors(graph: FloatGraph) -> list[set[int]]:
    """Per operator, the operators that it needs."""
    known: list[set[int]] = []
    for operator in graph.operators:
        needed: set[int] = set()
        for tensor in operator.inputs:
            producer = graph.producer(tensor) if tensor >= 0 else None
            if producer is not None:
                needed |= known[producer] | {producer}
        known.append(needed)
    return known


def _leaves_enough(graph: FloatGraph, block: set[int]) -> bool:
    """Whether what lies behind the block is worth having in integers: by its weights, or by its layers.

    A filter bank may hold more numbers than all layers that were trained behind it.
    """
    sizes = [
        max((float(np.prod(graph.shape(t))) for t in operator.inputs if _is_matrix(graph, t)), default=0.0)
        for operator in graph.operators
    ]
    behind = [size for position, size in enumerate(sizes) if size and position not in block]
    num_layers = sum(size > 0 for size in sizes)
    return sum(behind) >= MIN_SHARE_BEHIND * sum(sizes) > 0 or 2 * len(behind) >= num_layers > 0


def _is_matrix(graph: FloatGraph, tensor: int) -> bool:
    return tensor >= 0 and graph.is_constant(tensor) and len(graph.shape(tensor)) >= 2


def _inside(graph: FloatGraph, block: set[int]) -> list[int]:
    """Activations that only the block computes and reads."""
    if not block:
        return []
    made = [tensor for position in sorted(block) for tensor in graph.operators[position].outputs]
    return [
        tensor
        for tensor in [*graph.inputs, *made]
        if graph.is_activation(tensor) and tensor not in graph.outputs and _is_read_by(graph, tensor, block)
    ]


def _is_read_by(graph: FloatGraph, tensor: int, block: set[int]) -> bool:
    consumers = graph.consumers(tensor)
    return bool(consumers) and block.issuperset(consumers)
