"""Reads out of a saved_model.pb what a call of a signature keeps and what a row costs, without TensorFlow.

Only what the signature's outputs are computed from counts: every SavedModel assigns its variables when it is restored.
The fields declared here have the numbers of TensorFlow's meta_graph.proto, graph.proto, function.proto and
attr_value.proto; protobuf skips the rest.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from google.protobuf import descriptor_pb2

from components.saved_models.signatures import message_class

_Field = descriptor_pb2.FieldDescriptorProto
#: Operators that change a variable, of TensorFlow 2 and of 1.
_ASSIGNING = frozenset(
    {"AssignVariableOp", "AssignAddVariableOp", "AssignSubVariableOp", "Assign", "AssignAdd", "AssignSub"}
)
_SCATTERING = ("ResourceScatter", "ScatterUpdate", "ScatterAdd", "ScatterSub", "ScatterNdUpdate", "ScatterNdAdd")
#: Bytes of an element: activations are float32, with few exceptions.
_ITEM_BYTES = 4
_SHAPES = "_output_shapes"
_MESSAGES: dict[str, list[tuple[str, int, Any, bool]]] = {
    "SavedModel": [("meta_graphs", 2, "MetaGraph", True)],
    "MetaGraph": [("graph", 2, "Graph", False), ("signatures", 5, "SignatureEntry", True)],
    "Graph": [("nodes", 1, "Node", True), ("library", 2, "Library", False)],
    "Library": [("functions", 1, "Function", True)],
    "Function": [("signature", 1, "Named", False), ("nodes", 3, "Node", True)],
    "Node": [
        ("name", 1, _Field.TYPE_STRING, False),
        ("op", 2, _Field.TYPE_STRING, False),
        ("inputs", 3, _Field.TYPE_STRING, True),
        ("attributes", 5, "AttributeEntry", True),
    ],
    "AttributeEntry": [("key", 1, _Field.TYPE_STRING, False), ("value", 2, "Attribute", False)],
    "Attribute": [("list", 1, "AttributeList", False), ("function", 10, "Named", False)],
    "AttributeList": [("shapes", 7, "Shape", True), ("functions", 9, "Named", True)],
    "Shape": [("dims", 2, "Dim", True), ("is_unknown", 3, _Field.TYPE_BOOL, False)],
    "Dim": [("size", 1, _Field.TYPE_INT64, False)],
    "Named": [("name", 1, _Field.TYPE_STRING, False)],
    "SignatureEntry": [("key", 1, _Field.TYPE_STRING, False), ("value", 2, "Signature", False)],
    "Signature": [("outputs", 2, "TensorEntry", True)],
    "TensorEntry": [("value", 2, "Named", False)],
}


@dataclass(frozen=True)
class GraphFacts:
    """What a call of a signature does beside computing its outputs.

    Attributes:
        assigns_variables: Whether it changes a variable that the next call may read.
        bytes_per_row: Activations of one row that are alive at the same time, at most; 0 where the file has no shapes.
    """

    assigns_variables: bool = False
    bytes_per_row: int = 0


def read_graph_facts(data: bytes, signature_key: str) -> GraphFacts:
    """Reads the facts of one signature.

    Args:
        data: Content of a saved_model.pb.
        signature_key: Key of the signature.

    Raises:
        DecodeError: The bytes are no SavedModel.
    """
    model = _message_class()()
    model.ParseFromString(data)
    graph = model.meta_graphs[0]
    signature = next((entry.value for entry in graph.signatures if entry.key == signature_key), None)
    outputs = [entry.value.name for entry in signature.outputs] if signature is not None else []
    functions = {function.signature.name: function.nodes for function in graph.graph.library.functions}
    reached = list(_reached(graph.graph.nodes, outputs, functions))
    return GraphFacts(
        assigns_variables=any(_assigns(node.op) for nodes in reached for node in nodes),
        bytes_per_row=max(map(_largest_live_set, reached), default=0),
    )


def _reached(nodes: Iterable[Any], outputs: Iterable[str], functions: Mapping[str, Any]) -> Iterator[list[Any]]:
    """The nodes that the outputs are computed from, and those of every function that is called on the way."""
    main = _ancestors(nodes, outputs)
    yield main
    pending = [name for node in main for name in _called(node)]
    entered: set[str] = set()
    while pending:
        name = pending.pop()
        if name in entered or name not in functions:
            continue
        entered.add(name)
        body = list(functions[name])
        pending += [called for node in body for called in _called(node)]
        yield body


def _ancestors(nodes: Iterable[Any], outputs: Iterable[str]) -> list[Any]:
    """In the order of the file."""
    by_name = {node.name: node for node in nodes}
    pending, seen = [_node_name(name) for name in outputs], set()
    while pending:
        name = pending.pop()
        if name not in seen and name in by_name:
            seen.add(name)
            pending += [_node_name(tensor) for tensor in by_name[name].inputs]
    return [node for name, node in by_name.items() if name in seen]


def _node_name(tensor: str) -> str:
    return tensor.lstrip("^").partition(":")[0]


def _called(node: Any) -> list[str]:
    values = [entry.value for entry in node.attributes]
    functions = [value.function for value in values] + [listed for value in values for listed in value.list.functions]
    return [function.name for function in functions if function.name]


def _assigns(operator: str) -> bool:
    return operator in _ASSIGNING or operator.startswith(_SCATTERING)


def _largest_live_set(nodes: list[Any]) -> int:
    """Bytes of one row that are alive at once where the nodes run in their order and a tensor dies after its last use."""
    sizes = {node.name: _bytes_per_row(node) for node in nodes}
    last_use = {_node_name(tensor): place for place, node in enumerate(nodes) for tensor in node.inputs}
    dying: dict[int, list[str]] = {}
    for name, place in last_use.items():
        dying.setdefault(place, []).append(name)
    alive = largest = 0
    for place, node in enumerate(nodes):
        alive += sizes[node.name]
        largest = max(largest, alive)
        alive -= sum(sizes.get(name, 0) for name in dying.get(place, ()))
    return largest


def _bytes_per_row(node: Any) -> int:
    """Of a node's outputs whose first dimension is open: the batch."""
    shapes = [shape for entry in node.attributes if entry.key == _SHAPES for shape in entry.value.list.shapes]
    rows = [[dim.size for dim in shape.dims] for shape in shapes if not shape.is_unknown and shape.dims]
    return sum(_ITEM_BYTES * math.prod(max(1, size) for size in sizes[1:]) for sizes in rows if sizes[0] == -1)


@lru_cache(maxsize=1)
def _message_class() -> Any:
    return message_class("edgeproof_saved_model_graph", _MESSAGES)
