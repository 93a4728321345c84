"""Takes tensors out of quantization: the operators around them compute in float, and nothing else changes.

A tensor is float when its producer and all its consumers are. TensorFlow's quantizer knows a list of operators to leave
alone, but still forces one scale on everything such an operator joins (measured: two branches in front of a float
CONCATENATION shared the wider branch's scale, which is what the island was to cure). So each operator of an island is
walled off before quantization: its other tensors pass through an operator that the quantizer leaves in float and cannot
see through, and that is taken out of the quantized file again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from components.errors import ConversionError
from components.repair.graph import FloatGraph

_FLOAT_ONLY_KINDS = ("CEIL", "FLOOR", "ROUND")
"""Operators with one input and no options that no quantizer of TensorFlow's knows or folds into its neighbors. What such
an operator computes takes no part in any result: it only stands in a file on its way through the quantizer."""


@dataclass(frozen=True)
class Walled:
    """A float graph whose islands are walled off.

    Attributes:
        graph: Ready to be quantized.
        float_nodes: Names by which the quantizer knows the operators to leave alone.
        wall_kind: Kind of the operators that ``remove_walls`` has to find again; the model itself has none of it.
        num_walls: How many there are.
    """

    graph: FloatGraph
    float_nodes: tuple[str, ...]
    wall_kind: str
    num_walls: int


def island_operators(graph: FloatGraph, float_tensors: Iterable[str]) -> list[int]:
    """Positions of the operators that must compute in float for these tensors to be float: producers and consumers.

    Raises:
        KeyError: The graph has no tensor of that name.
    """
    positions: set[int] = set()
    for name in float_tensors:
        tensor = graph.tensor(name)
        positions.update(graph.consumers(tensor))
        if (producer := graph.producer(tensor)) is not None:
            positions.add(producer)
    return sorted(positions)


def wall_off(graph: FloatGraph, float_tensors: Iterable[str]) -> Walled:
    """Returns a copy of the graph in which the quantizer leaves these tensors, and only these, in float.

    Args:
        graph: A float model with ranges.
        float_tensors: Names of activation tensors; an input or output of the model keeps float32 at its door.

    Raises:
        KeyError: The graph has no tensor of that name.
    """
    walled = graph.copy()
    operators = [walled.operators[position] for position in island_operators(walled, float_tensors)]
    inside = _tensors_inside(walled, operators, float_tensors)
    for tensor in inside:
        walled.clear_range(tensor)
    builder = _WallBuilder(walled, _free_kind(walled))
    for operator in operators:
        for tensor in dict.fromkeys(operator.inputs):
            if walled.is_activation(tensor) and tensor not in inside:
                walled.replace_input(operator, tensor, builder.before(tensor))
        outputs = [tensor for tensor in operator.outputs if walled.is_activation(tensor) and tensor not in inside]
        for tensor in outputs if len(operator.outputs) > 1 else ():  # one output alone has its own scale anyway
            builder.behind(operator, tensor)
    nodes = [*operators, *builder.walls]
    names = tuple(walled.name(operator.outputs[0]) for operator in nodes if operator.outputs)
    return Walled(walled, names, builder.kind, len(builder.walls))


def remove_walls(quantized: bytes, walled: Walled) -> bytes:
    """Takes the walls out of a quantized file.

    Raises:
        ConversionError: The quantizer did not leave them as they were.
    """
    graph = FloatGraph.parse(quantized)
    walls = [operator for operator in graph.operators if graph.kind(operator) == walled.wall_kind]
    if len(walls) != walled.num_walls:
        raise ConversionError(
            f"TensorFlow's quantizer kept {len(walls)} of {walled.num_walls} marks around the operators that stay float. "
            "Nothing was written; report this with the model, and convert without float operators until then."
        )
    for wall in walls:
        before, behind = wall.inputs[0], wall.outputs[0]
        producer = graph.producer(before)
        graph.remove_operator(wall)
        if behind in graph.outputs and producer is not None:
            graph.replace_output(producer, before, behind)
            before, behind = behind, before
        for position in graph.consumers(behind):
            graph.replace_input(position, behind, before)
    graph.remove_unused()
    return graph.pack()


@dataclass(frozen=True)
class Hidden:
    """A float graph whose island operators go under a name that no quantizer knows.

    Attributes:
        graph: Ready to be quantized.
        disguise: Their kind in it; the model itself has none of it.
        operators: What they were, in order: kind, version and options.
    """

    graph: FloatGraph
    disguise: str
    operators: tuple[tuple[str, int, Any], ...]


def hide(graph: FloatGraph, float_tensors: Iterable[str]) -> Hidden:
    """Returns a copy of the graph whose island operators are disguised, for the quantizer that takes no list of them.

    Raises:
        KeyError: The graph has no tensor of that name.
    """
    hidden = graph.copy()
    island = set(island_operators(hidden, float_tensors))
    operators = [hidden.operators[position] for position in sorted(island)]
    for tensor in _tensors_inside(hidden, operators, float_tensors):
        hidden.clear_range(tensor)
    disguise = _free_kind(hidden)
    originals = tuple((hidden.kind(each), hidden.version(each), hidden.options(each)) for each in operators)
    for operator in operators:
        hidden.set_kind(operator, disguise, 1)
    hidden.remove_unused()  # kinds that only hidden operators had: the quantizer looks each one up
    return Hidden(hidden, disguise, originals)


def reveal(quantized: bytes, hidden: Hidden) -> bytes:
    """Gives the disguised operators of a quantized file their own kind back.

    Raises:
        ConversionError: The quantizer did not leave them as they were.
    """
    graph = FloatGraph.parse(quantized)
    disguised = [operator for operator in graph.operators if graph.kind(operator) == hidden.disguise]
    if len(disguised) != len(hidden.operators):
        raise ConversionError(
            f"TensorFlow's quantizer kept {len(disguised)} of {len(hidden.operators)} operators that stay float. "
            "Nothing was written; report this with the model, and convert without float operators until then."
        )
    for operator, (kind, version, options) in zip(disguised, hidden.operators, strict=True):
        graph.set_kind(operator, kind, version, options)
    graph.remove_unused()
    return graph.pack()


def _tensors_inside(graph: FloatGraph, operators: list[Any], float_tensors: Iterable[str]) -> set[int]:
    """The tensors to be float, and those that are anyway because everything around them is."""
    inside = {graph.tensor(name) for name in float_tensors}
    positions = {graph.position(operator) for operator in operators}
    for operator in operators:
        for tensor in operator.outputs:
            consumers = graph.consumers(tensor)
            if tensor not in graph.outputs and consumers and positions.issuperset(consumers):
                inside.add(tensor)
    return inside


class _WallBuilder:
    """Inserts walls: one per tensor, however many operators of islands read it."""

    def __init__(self, graph: FloatGraph, kind: str) -> None:
        self.kind = kind
        self._graph = graph
        self._behind: dict[int, int] = {}
        self.walls: list[Any] = []

    def before(self, tensor: int) -> int:
        """What an island's operator reads instead of the tensor."""
        if tensor not in self._behind:
            producer = self._graph.producer(tensor)
            behind = self._graph.add_tensor_like(tensor, f"{self._graph.name(tensor)}_into_island")
            self._insert(0 if producer is None else producer + 1, tensor, behind)
            self._behind[tensor] = behind
        return self._behind[tensor]

    def behind(self, operator: Any, tensor: int) -> None:
        """Makes the tensor come out of a wall instead of the operator itself."""
        inner = self._graph.add_tensor_like(tensor, f"{self._graph.name(tensor)}_in_island")
        self._graph.replace_output(operator, tensor, inner)
        self._insert(self._graph.position(operator) + 1, inner, tensor)

    def _insert(self, position: int, before: int, behind: int) -> None:
        self.walls.append(self._graph.insert_operator(position, self.kind, 1, [before], [behind]))


def _free_kind(graph: FloatGraph) -> str:
    taken = {graph.kind(operator) for operator in graph.operators}
    for kind in _FLOAT_ONLY_KINDS:
        if kind not in taken:
            return kind
    raise ConversionError(
        f"the model has operators of all of {', '.join(_FLOAT_ONLY_KINDS)}, one of which marks operators that stay float. "
        "Convert it without float operators."
    )
