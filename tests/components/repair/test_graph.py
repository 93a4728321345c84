from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from edgeproof_edge.errors import ModelFileError
from edgeproof_edge.interpreter import TFLiteModel
from numpy.typing import NDArray

from components.repair.graph import FloatGraph

MODELS = Path(__file__).parents[2] / "edge" / "models"
"""Small files made by tests/edge/models/make_models.py."""


def read(name: str) -> bytes:
    return (MODELS / f"{name}.tflite").read_bytes()


@pytest.fixture
def graph() -> FloatGraph:
    """x [1, 8] -> FULLY_CONNECTED -> SOFTMAX -> probs [1, 3]."""
    return FloatGraph.parse(read("float32"))


def predict(model: bytes, rows: NDArray[np.float32]) -> NDArray[np.float32]:
    loaded = TFLiteModel.load(model)
    return next(iter(loaded.predict({loaded.inputs[0].name: rows}).values()))


def rows_for(model: bytes) -> NDArray[np.float32]:
    shape = TFLiteModel.load(model).inputs[0].shape
    return np.random.default_rng(0).normal(size=(5, *shape[1:])).astype(np.float32)


@pytest.mark.parametrize("name", sorted(path.stem for path in MODELS.glob("*.tflite")))
def test_any_file_goes_through_unchanged(name: str) -> None:
    once = FloatGraph.parse(read(name)).pack()
    again = FloatGraph.parse(once)
    assert again.pack() == once
    assert again.copy().pack() == once
    again.remove_unused()
    FloatGraph.parse(again.pack())


@pytest.mark.parametrize("name", ["float32", "hard_swish", "batch_of_three", "float16"])
def test_a_repacked_model_computes_the_same(name: str) -> None:
    data = read(name)
    rows = rows_for(data)
    graph = FloatGraph.parse(data)
    np.testing.assert_array_equal(predict(graph.pack(), rows), predict(data, rows))
    graph.remove_unused()
    np.testing.assert_array_equal(predict(graph.pack(), rows), predict(data, rows))


def test_damaged_bytes_are_refused() -> None:
    with pytest.raises(ModelFileError):
        FloatGraph.parse(read("float32")[:200])


def test_operators_and_their_connections_are_read(graph: FloatGraph) -> None:
    dense, softmax = graph.operators
    assert [graph.kind(operator) for operator in graph.operators] == ["FULLY_CONNECTED", "SOFTMAX"]
    assert graph.kind(0) == "FULLY_CONNECTED"
    assert graph.version(dense) == 1
    assert graph.options(dense).fusedActivationFunction == schema.ActivationFunctionType.NONE
    assert graph.options(softmax).beta == 1.0
    logits = dense.outputs[0]
    assert graph.producer(logits) == 0
    assert graph.consumers(logits) == [1]
    assert graph.producer(graph.inputs[0]) is None
    assert graph.consumers(graph.outputs[0]) == []
    assert graph.is_activation(logits)
    assert not graph.is_activation(dense.inputs[1])
    assert not graph.is_activation(-1)
    assert graph.tensor(graph.name(logits)) == logits


def test_custom_operators_have_their_own_name() -> None:
    graph = FloatGraph.parse(read("flex"))
    assert any(graph.kind(operator).startswith("Flex") for operator in graph.operators)


def test_constants_are_decoded_as_copies(graph: FloatGraph) -> None:
    weights = graph.operators[0].inputs[1]
    values = graph.constant(weights)
    assert values is not None
    assert values.dtype == np.float32
    assert values.shape == graph.shape(weights)
    values[:] = 7
    assert not np.array_equal(graph.constant(weights), values)
    assert graph.constant(graph.inputs[0]) is None


def test_float16_constants_are_decoded() -> None:
    graph = FloatGraph.parse(read("float16"))
    halves = [graph.constant(index) for index in range(len(graph.tensors)) if graph.dtype(index) == "float16"]
    assert any(values is not None and values.dtype == np.float16 for values in halves)


def test_a_shared_buffer_is_copied_before_it_is_written(graph: FloatGraph) -> None:
    weights = graph.operators[0].inputs[1]
    twin = graph.add_tensor("twin", graph.shape(weights), "float32")
    graph.tensors[twin].buffer = graph.tensors[weights].buffer
    before = graph.constant(weights)
    assert before is not None
    graph.set_constant(twin, before * 2)
    np.testing.assert_array_equal(graph.constant(weights), before)
    np.testing.assert_array_equal(graph.constant(twin), before * 2)


def test_a_copy_is_independent(graph: FloatGraph) -> None:
    packed = graph.pack()
    other = graph.copy()
    weights = other.operators[0].inputs[1]
    other.set_constant(weights, np.zeros(other.shape(weights)))
    other.set_range(other.inputs[0], -1.0, 1.0)
    other.remove_operator(1)
    assert graph.pack() == packed
    assert other.pack() != packed


def test_changed_constants_change_what_is_computed(graph: FloatGraph) -> None:
    _, bias = graph.operators[0].inputs[1:]
    graph.set_constant(bias, np.array([0, 50, 0] + [0] * (graph.shape(bias)[0] - 3)))
    rows = rows_for(read("float32"))
    assert (predict(graph.pack(), rows).argmax(axis=1) == 1).all()


def test_an_operator_is_inserted_between_two(graph: FloatGraph) -> None:
    logits = graph.operators[0].outputs[0]
    scale = graph.add_tensor("scale", (), "float32", np.float32(0.5))
    scaled = graph.add_tensor_like(logits, graph.name(logits))
    inserted = graph.insert_operator(1, "MUL", 1, [logits, scale], [scaled], schema.MulOptionsT())
    softmax = graph.operators[2]
    graph.replace_input(softmax, logits, scaled)
    assert graph.position(inserted) == 1
    assert graph.name(scaled) != graph.name(logits)
    assert graph.shape(scaled) == graph.shape(logits)
    assert (graph.producer(scaled), graph.consumers(logits), graph.consumers(scaled)) == (1, [1], [2])

    model, rows = read("float32"), rows_for(read("float32"))
    probabilities = np.sqrt(predict(model, rows))
    expected = probabilities / probabilities.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(predict(graph.pack(), rows), expected, rtol=1e-5)


def test_ranges_are_written_read_and_cleared(graph: FloatGraph) -> None:
    logits = graph.operators[0].outputs[0]
    assert graph.range_of(logits) is None
    graph.set_range(logits, -2.5, 3.0)
    again = FloatGraph.parse(graph.pack())
    assert again.range_of(logits) == (-2.5, 3.0)
    again.clear_range(logits)
    assert FloatGraph.parse(again.pack()).range_of(logits) is None


def test_what_no_output_needs_is_removed(graph: FloatGraph) -> None:
    data, rows = graph.pack(), rows_for(graph.pack())
    sizes = len(graph.tensors)
    spare = graph.add_tensor("spare", (1, 3), "float32")
    graph.add_tensor("table", (100,), "float32", np.ones(100))
    graph.insert_operator(1, "LOGISTIC", 1, [graph.operators[0].outputs[0]], [spare])
    graph.remove_unused()
    assert len(graph.tensors) == sizes
    assert [graph.kind(operator) for operator in graph.operators] == ["FULLY_CONNECTED", "SOFTMAX"]
    np.testing.assert_array_equal(predict(graph.pack(), rows), predict(data, rows))
    assert len(graph.pack()) <= len(data)


def test_names_are_unique() -> None:
    graph = FloatGraph.parse(read("float32"))
    for tensor in graph.tensors:
        tensor.name = b"same"
    again = FloatGraph.parse(graph.pack())
    names = [again.name(index) for index in range(len(again.tensors))]
    assert len(set(names)) == len(names)
    assert again.name(again.inputs[0]) == "same"
