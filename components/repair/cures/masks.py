"""Cuts the values of masks to what their consumers can tell apart.

An attention mask adds -1e9 in front of a softmax, a padded maximum pads with the lowest float32: any value below what it
is compared with does the same, and these take all 256 codes, or ask for scales that no kernel has. The constants behind
such a value are changed in the float graph; whether its function stayed is for the caller to check.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.repair.graph import FloatGraph
from components.repair.range_statistics import Statistics, TensorStatistics

Array = NDArray[Any]

SOFTMAX_DEPTH = 16.0
"""exp(-16) = 1e-7: what a softmax gives an entry so far below the lowest that is no mask."""
MIN_GAP = 10.0
"""A mask lies below all other values of its tensor by this many times their width."""
_DEPTHS: Mapping[str, float] = {"SOFTMAX": SOFTMAX_DEPTH, "MAX_POOL_2D": 0.0, "REDUCE_MAX": 0.0}
_PASSES_ON = frozenset(
    {"RESHAPE", "TRANSPOSE", "SQUEEZE", "EXPAND_DIMS", "CONCATENATION", "PAD", "BROADCAST_TO", "TILE"}
)


def cut_masks(graph: FloatGraph, statistics: Statistics) -> tuple[FloatGraph, tuple[str, ...]]:
    """Raises the constants that make a mask.

    Args:
        graph: A float graph; it stays as it is.
        statistics: What its activations were measured to hold.

    Returns:
        The changed copy, and the names of the tensors whose masks were cut; the graph itself and none where there are none.
    """
    changed = graph.copy()
    cutter = _Cutter(changed, statistics)
    names = []
    for position in range(len(changed.operators)):
        depth = _DEPTHS.get(changed.kind(position))
        tensor = changed.operators[position].inputs[0] if changed.operators[position].inputs else -1
        if depth is None or tensor < 0 or changed.name(tensor) not in statistics:
            continue
        floor = lowest_unmasked(statistics[changed.name(tensor)])
        if floor is not None and cutter.raise_to(tensor, floor - depth):
            names.append(changed.name(tensor))
    return (changed, tuple(names)) if names else (graph, ())


def lowest_unmasked(tensor: TensorStatistics) -> float | None:
    """The lowest value that belongs to no mask; None where no value lies far below all others."""
    low, high = tensor.held_ranges()
    gaps = low[1:] - high[:-1]
    if not len(gaps):
        return None
    widest = int(np.argmax(gaps))
    floor = float(low[widest + 1])
    width = max(tensor.maximum - floor, 1.0)
    return floor if gaps[widest] > MIN_GAP * width else None


class _Cutter:
    """Goes from a masked tensor back to the constants that make its mask."""

    def __init__(self, graph: FloatGraph, statistics: Statistics) -> None:
        self._graph = graph
        self._statistics = statistics

    def raise_to(self, tensor: int, floor: float) -> bool:
        """Raises what makes values of the tensor lie below a floor; False where nothing that could be was found."""
        if self._graph.is_constant(tensor):
            return self._change(tensor, lambda values: np.maximum(values, floor))
        position = self._graph.producer(tensor)
        if position is None or not self._reaches_below(tensor, floor):
            return False
        operator, kind = self._graph.operators[position], self._graph.kind(position)
        if kind == "PADV2":
            return self.raise_to(operator.inputs[2], floor)
        if kind in ("SELECT", "SELECT_V2"):
            return self._raise_each(operator.inputs[1:3], floor)
        if kind == "ADD":
            first, second = operator.inputs[:2]
            return self._raise_term(first, second, floor) or self._raise_term(second, first, floor)
        if kind == "SUB":
            return self._lower(operator.inputs[1], self._highest(operator.inputs[0]) - floor)
        if kind == "MUL":
            return self._scale(operator.inputs[:2], floor)
        return kind in _PASSES_ON and self._raise_each(operator.inputs, floor)

    def _raise_each(self, tensors: Sequence[int], floor: float) -> bool:
        raised = [self.raise_to(tensor, floor) for tensor in tensors if self._is_float(tensor)]
        return any(raised)

    def _raise_term(self, term: int, rest: int, floor: float) -> bool:
        """The term of a sum may be as low as the rest can be high above the floor."""
        lowest, highest = self._lowest(rest), self._highest(rest)
        bound = floor - highest
        return lowest > bound and self._lowest(term) < bound and self.raise_to(term, bound)

    def _lower(self, tensor: int, ceiling: float) -> bool:
        """Lowers a constant, or the factor of a product, that is subtracted."""
        if self._highest(tensor) <= ceiling:
            return False
        if self._graph.is_constant(tensor):
            return self._change(tensor, lambda values: np.minimum(values, ceiling))
        position = self._graph.producer(tensor)
        if position is None or self._graph.kind(position) != "MUL":
            return False
        return self._scale(self._graph.operators[position].inputs[:2], ceiling)

    def _scale(self, operands: list[int], bound: float) -> bool:
        """Makes the constant factor of a product smaller, so that its extreme is the bound."""
        constants = [operand for operand in operands if self._graph.is_constant(operand)]
        others = [operand for operand in operands if not self._graph.is_constant(operand)]
        if len(constants) != 1 or len(others) != 1:
            return False
        factor = self._graph.constant(constants[0])
        reach = max(abs(self._lowest(others[0])), abs(self._highest(others[0])))
        if factor is None or factor.size != 1 or reach <= 0 or abs(float(factor.reshape(-1)[0])) <= abs(bound) / reach:
            return False
        return self._change(constants[0], lambda values: np.sign(values) * abs(bound) / reach)

    def _change(self, tensor: int, change: Callable[[Array], Array]) -> bool:
        values = self._graph.constant(tensor)
        if values is None or values.dtype.kind != "f":
            return False
        after = np.asarray(change(values), values.dtype)
        if np.array_equal(after, values):
            return False
        self._graph.set_constant(tensor, after)
        return True

    def _reaches_below(self, tensor: int, floor: float) -> bool:
        return self._lowest(tensor) < floor

    def _is_float(self, tensor: int) -> bool:
        return tensor >= 0 and self._graph.dtype(tensor) == "float32"

    def _lowest(self, tensor: int) -> float:
        return self._extreme(tensor, "minimum", np.min)

    def _highest(self, tensor: int) -> float:
        return self._extreme(tensor, "maximum", np.max)

    def _extreme(self, tensor: int, attribute: str, of: Callable[[Array], Any]) -> float:
        values = self._graph.constant(tensor)
        if values is not None and values.size:
            return float(of(values))
        name = self._graph.name(tensor)
        return float(getattr(self._statistics[name], attribute)) if name in self._statistics else 0.0
