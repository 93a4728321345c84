"""Fixes the open batch of a SavedModel at 1: TFLite has no recurrent layer of a Keras model whose batch is open.

A while loop collects its steps in a list of tensors, and TFLite wants the shape of an element before the model runs. Keras
writes it down with the batch as "any"; a device runs one row at a time, so 1 is what it will be. The SavedModel itself
stays as it is: a copy of its graph is changed, without tracing any Python again.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

NOTE = (
    "the batch was fixed at 1, because TFLite has no recurrent layer with an open one: devices feed one row at a time. "
    "Export the signature with shape [1, ...], or the layer with unroll=True, to decide it yourself"
)

_GRAPH_FILE = "saved_model.pb"
_OPEN = -1


def needs_fixed_batch(error: Exception) -> bool:
    """Whether the converter failed over a list of tensors of open shape."""
    text = str(error)
    return "TensorList" in text or "element_shape" in text


def with_fixed_batch(saved_model: Path, target: Path) -> bool:
    """Writes a copy of a SavedModel whose signatures take one row.

    Args:
        saved_model: Directory with ``saved_model.pb``.
        target: Directory to make; the variables are copied into it.

    Returns:
        Whether there was a list of tensors with an open batch in it; otherwise the copy is of no use.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    shutil.copytree(saved_model, target, ignore=shutil.ignore_patterns("fingerprint.pb"))
    model = saved_model_pb2.SavedModel()
    model.ParseFromString((saved_model / _GRAPH_FILE).read_bytes())
    num_fixed = sum(_fix(meta_graph) for meta_graph in model.meta_graphs)
    (target / _GRAPH_FILE).write_bytes(model.SerializeToString(deterministic=True))
    return num_fixed > 0


def _fix(meta_graph: Any) -> int:
    inputs = set()
    for signature in meta_graph.signature_def.values():
        inputs |= {tensor.name.split(":")[0] for tensor in signature.inputs.values()}
        for tensor in (*signature.inputs.values(), *signature.outputs.values()):
            _fix_first(tensor.tensor_shape)
    for node in meta_graph.graph_def.node:
        if node.name in inputs:
            _fix_first(node.attr["shape"].shape)
    functions = meta_graph.graph_def.library.function
    for function in functions:
        for attributes in function.arg_attr.values():
            attributes.attr.pop("_output_shapes", None)
    return sum(_fix_lists(nodes) for nodes in (meta_graph.graph_def.node, *(f.node_def for f in functions)))


def _fix_first(shape: Any) -> None:
    if shape.dim and shape.dim[0].size == _OPEN:
        shape.dim[0].size = 1


def _fix_lists(nodes: Iterable[Any]) -> int:
    """Fixes the element shapes of all lists of tensors among these nodes and returns how many were open."""
    import tensorflow as tf

    by_name = {node.name: node for node in nodes}
    num_fixed = 0
    for node in by_name.values():
        node.attr.pop("_output_shapes", None)
        if not node.op.startswith("TensorList"):
            continue
        for name in node.input:
            constant = by_name.get(name.split(":")[0])
            if constant is None or constant.op != "Const" or constant.attr["dtype"].type != tf.int32.as_datatype_enum:
                continue
            shape = tf.make_ndarray(constant.attr["value"].tensor)
            if shape.ndim == 1 and len(shape) and shape[0] == _OPEN:
                fixed = [1, *shape[1:].tolist()]
                constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(fixed, tf.int32))
                num_fixed += 1
    return num_fixed
