"""The door of a model: its inputs and outputs under their public names, and the tensors that carry them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edgeproof_edge.flatbuffer.graph import Graph, Model, Signature, Tensor
from edgeproof_edge.flatbuffer.reading import read_model
from edgeproof_edge.rows import State
from edgeproof_edge.tensors import TensorSpec


@dataclass(frozen=True)
class BoundTensor:
    """An input or output under its public name, and the tensor of the main subgraph that carries it."""

    spec: TensorSpec
    tensor_index: int


@dataclass(frozen=True)
class GraphInterface:
    """The door of a model: what the interpreter is fed with and read from.

    Attributes:
        inputs: Inputs in graph order.
        outputs: Outputs in graph order; two names may stand for one tensor.
        signature_key: Key of the only signature, if there is exactly one and it describes the main subgraph.
        activation_bytes: Sum of all activations of the main subgraph at the declared batch; an upper bound of the
            arena.
        state: What the graph keeps from one invoke to the next.
        has_variable_tensors: Whether an operator keeps a tensor from one invoke to the next, beside variables or not.
        keeps_batch: Whether the file says that other batches give other values: a variable of fixed shape, beyond whose end a
            resized input would write, or a reduction over the rows.
    """

    inputs: tuple[BoundTensor, ...]
    outputs: tuple[BoundTensor, ...]
    signature_key: str | None
    activation_bytes: int
    state: State = State.NONE
    has_variable_tensors: bool = False
    keeps_batch: bool = False


def read_interface(data: bytes) -> GraphInterface:
    """Reads and checks the whole file, and returns its inputs and outputs with their tensor indices.

    Raises:
        ModelFileError: The bytes are no TFLite file, or a damaged one.
    """
    return interface_of(read_model(data))


def interface_of(model: Model) -> GraphInterface:
    """The inputs and outputs of a file that was read already."""
    main = model.graphs[0]
    signature = _only_signature(model)
    activation_bytes = sum(
        math.prod(tensor.shape) * _ITEM_BYTES.get(tensor.dtype, 8) for tensor in main.tensors if not tensor.is_constant
    )
    return GraphInterface(
        inputs=_bind(main, main.inputs, signature.inputs if signature else None),
        outputs=_bind(main, main.outputs, signature.outputs if signature else None),
        signature_key=signature.key if signature else None,
        activation_bytes=activation_bytes,
        state=_state(model),
        has_variable_tensors=_has_variable_tensors(model),
        keeps_batch=any(
            operator.name == "VAR_HANDLE" or operator.reduces_rows
            for graph in model.graphs
            for operator in graph.operators
        ),
    )


def _state(model: Model) -> State:
    """A variable that only a subgraph run once assigns is a constant."""
    if any(operator.name == "ASSIGN_VARIABLE" for graph in _running(model) for operator in graph.operators):
        return State.VARIABLES
    return State.TENSORS if _has_variable_tensors(model) else State.NONE


def _has_variable_tensors(model: Model) -> bool:
    return any(tensor.is_variable for graph in _running(model) for tensor in graph.tensors)


def _running(model: Model) -> list[Graph]:
    """The subgraphs that every invoke may run."""
    once = {operator.runs_once for graph in model.graphs for operator in graph.operators}
    return [graph for index, graph in enumerate(model.graphs) if index not in once]


def _only_signature(model: Model) -> Signature | None:
    """The signature that names the main subgraph's inputs and outputs: the only one, and complete."""
    if len(model.signatures) != 1:
        return None
    signature, main = model.signatures[0], model.graphs[0]
    is_complete = (
        signature.subgraph_index == 0
        and {index for _, index in signature.inputs} == set(main.inputs)
        and {index for _, index in signature.outputs} == set(main.outputs)
    )
    return signature if is_complete else None


def _bind(graph: Graph, indices: tuple[int, ...], names: tuple[tuple[str, int], ...] | None) -> tuple[BoundTensor, ...]:
    if names is None:
        named = [(graph.tensors[index].name, index) for index in dict.fromkeys(indices)]
    else:
        named = [(name, index) for wanted in dict.fromkeys(indices) for name, index in names if index == wanted]
    return tuple(BoundTensor(_spec(name, graph.tensors[index]), index) for name, index in named)


def _spec(name: str, tensor: Tensor) -> TensorSpec:
    return TensorSpec(name, tensor.open_shape, tensor.dtype, tensor.scale, tensor.zero_point)


_ITEM_BYTES = {
    dtype: np.dtype(dtype).itemsize
    for dtype in (
        "bool",
        "int8",
        "uint8",
        "int16",
        "uint16",
        "float16",
        "int32",
        "uint32",
        "float32",
        "int64",
        "float64",
    )
}
