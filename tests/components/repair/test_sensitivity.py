from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from edgeproof_edge.interpreter import TFLiteModel
from numpy.typing import NDArray

from components.repair.goal import find_goal
from components.repair.graph import FloatGraph
from components.repair.range_statistics import measure
from components.repair.sensitivity import (
    MAX_PROBE_ROWS,
    Item,
    multiply_adds,
    num_probe_rows,
    rank,
    rounded_weight,
    tensors_to_free,
    weights,
)

MODELS = Path(__file__).parents[2] / "edge" / "models"
ROWS = {"x": np.random.default_rng(0).normal(size=(120, 8)).astype(np.float32)}


def dense(scale_of_first_column: float = 1.0) -> FloatGraph:
    """x [1, 8] -> FULLY_CONNECTED -> SOFTMAX -> probs [1, 4]; column 0 of x may be of another scale."""
    graph = FloatGraph.parse((MODELS / "float32.tflite").read_bytes())
    tensor = graph.operators[0].inputs[1]
    values = graph.constant(tensor)
    assert values is not None
    values[:, 0] /= scale_of_first_column
    graph.set_constant(tensor, values)
    return graph


def ranked(graph: FloatGraph, rows: dict[str, NDArray[np.float32]]) -> tuple[Item, ...]:
    model = graph.pack()
    name = TFLiteModel.load(model).inputs[0].name
    fed = {name: rows["x"]}
    goal = find_goal(fed, TFLiteModel.load(model).predict(fed))
    statistics = measure(model, fed)
    return rank(graph, statistics.ranges(), statistics, fed, goal)


def test_every_activation_and_weight_is_ranked_once() -> None:
    graph = dense()
    items = ranked(graph, ROWS)
    logits, probs = (graph.name(operator.outputs[0]) for operator in graph.operators)
    weight = graph.name(graph.operators[0].inputs[1])
    found = {(item.tensor, item.is_weight) for item in items}
    assert found == {(graph.name(graph.inputs[0]), False), (logits, False), (probs, False), (weight, True)}
    assert [item.divergence for item in items] == sorted((item.divergence for item in items), reverse=True)


def test_an_input_of_awkward_scale_is_the_culprit() -> None:
    rows = {"x": ROWS["x"] * np.array([1e5, 1, 1, 1, 1, 1, 1, 1], np.float32)}
    graph = dense(1e5)
    worst, second, *_ = ranked(graph, rows)
    assert not worst.is_weight or worst.divergence > 0
    assert {worst.tensor, second.tensor} == {graph.name(graph.inputs[0]), graph.name(graph.operators[0].inputs[1])}


def test_of_a_wide_model_the_coarsest_tensors_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("components.repair.sensitivity.MAX_ITEMS", 2)
    rows = {"x": ROWS["x"] * np.array([1e5, 1, 1, 1, 1, 1, 1, 1], np.float32)}
    graph = dense(1e5)
    weight = graph.name(graph.operators[0].inputs[1])
    assert {item.tensor for item in ranked(graph, rows)} == {graph.name(graph.inputs[0]), weight}


def test_the_graph_is_left_as_it_was() -> None:
    graph = dense()
    before = graph.pack()
    ranked(graph, ROWS)
    assert graph.pack() == before


def test_an_activation_is_freed_by_itself_and_a_weight_by_what_is_computed_with_it() -> None:
    graph = dense()
    logits = graph.name(graph.operators[0].outputs[0])
    weight = graph.name(graph.operators[0].inputs[1])
    assert tensors_to_free(graph, Item("any", False, 1.0)) == ("any",)
    assert tensors_to_free(graph, Item(weight, True, 1.0)) == (logits,)


def test_biases_are_no_weights() -> None:
    graph = dense()
    assert weights(graph) == [(graph.operators[0].inputs[1], None)]


@pytest.mark.parametrize(
    ("axis", "rounded"),
    [
        pytest.param(0, [[1.0, 47 / 127], [100.0, 4700 / 127]], id="per-channel"),
        pytest.param(None, [[100 / 127, 0.0], [100.0, 4700 / 127]], id="per-tensor"),
    ],
)
def test_weights_are_rounded_like_int8(axis: int | None, rounded: list[list[float]]) -> None:
    values = np.array([[1.0, 0.37], [100.0, 37.0]], np.float32)
    np.testing.assert_allclose(rounded_weight(values, axis), rounded, rtol=1e-6)
    np.testing.assert_array_equal(rounded_weight(values * 0, axis), values * 0)


def test_a_ranking_is_bounded_by_the_model_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = dense()
    assert multiply_adds(graph) == 8 * 4 + 4
    assert num_probe_rows(graph, 1000) == MAX_PROBE_ROWS
    assert num_probe_rows(graph, 5) == 5
    monkeypatch.setattr("components.repair.sensitivity.PROBE_BUDGET", 1.0)
    assert num_probe_rows(graph, 1000) == 16


@pytest.mark.parametrize("name", sorted(path.stem for path in MODELS.glob("*.tflite")))
def test_nothing_makes_it_crash(name: str) -> None:
    graph = FloatGraph.parse((MODELS / f"{name}.tflite").read_bytes())
    multiply_adds(graph)
    assert all(graph.constant(tensor) is not None for tensor, _ in weights(graph))
