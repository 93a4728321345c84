"""Float islands: groups of operators that pass float activations to each other, inside a model or as the whole of it."""

from __future__ import annotations

from dataclasses import dataclass

from edgeproof_edge.flatbuffer.graph import Graph, Operator


@dataclass(frozen=True)
class FloatIsland:
    """Operators that compute in float and share float activations.

    Attributes:
        operators: Their names in graph order.
        tensors: Names of all float activations they read or write, in graph order.
    """

    operators: tuple[str, ...]
    tensors: tuple[str, ...]


def float_islands(graph: Graph) -> tuple[FloatIsland, ...]:
    """Groups the float operators of a subgraph; two belong together where both touch one float activation."""
    members: dict[int, list[Operator]] = {}
    leaders = _Leaders()
    weights = {out.index for op in graph.operators if op.unpacks_weights for out in op.outputs if out is not None}
    floats = [operator for operator in graph.operators if operator.computes_in_float]
    touched = [_float_activations(operator, weights) for operator in floats]
    for indices in touched:
        for index in indices[1:]:
            leaders.join(indices[0], index)
    for operator, indices in zip(floats, touched, strict=True):
        # One that touches nothing but unpacked weights stands alone, under a key no tensor has.
        key = leaders.find(indices[0]) if indices else -1 - len(members)
        members.setdefault(key, []).append(operator)
    names: dict[int, list[str]] = {}
    for index in sorted({index for indices in touched for index in indices}):
        names.setdefault(leaders.find(index), []).append(graph.tensors[index].name)
    return tuple(
        FloatIsland(tuple(operator.name for operator in operators), tuple(names.get(key, ())))
        for key, operators in members.items()
    )


def _float_activations(operator: Operator, weights: set[int]) -> list[int]:
    return [tensor.index for tensor in operator.activations if tensor.is_float and tensor.index not in weights]


class _Leaders:
    """Disjoint sets of tensor indices, each known by one of its members."""

    def __init__(self) -> None:
        self._parents: dict[int, int] = {}

    def find(self, index: int) -> int:
        while (parent := self._parents.get(index, index)) != index:
            self._parents[index] = self._parents.get(parent, parent)  # halves the way for the next one
            index = parent
        return index

    def join(self, first: int, second: int) -> None:
        self._parents[self.find(second)] = self.find(first)
