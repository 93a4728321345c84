from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from components.repair.cures.saturation import cut_saturated_ranges
from components.repair.graph import FloatGraph

MODELS = Path(__file__).parents[3] / "edge" / "models"
WIDE = (-240.0, 90.0)
RELU6 = schema.ActivationFunctionType.RELU6


@pytest.fixture
def graph() -> FloatGraph:
    """x -> FULLY_CONNECTED -> "logits" -> SOFTMAX -> probs; the tests put operators behind "logits"."""
    graph = FloatGraph.parse((MODELS / "float32.tflite").read_bytes())
    graph.tensors[logits(graph)].name = "logits"
    return graph


def logits(graph: FloatGraph) -> int:
    return int(graph.operators[0].outputs[0])


def behind(graph: FloatGraph, kind: str, *inputs: int, options: Any = None) -> int:
    """Adds an operator on some tensors, with a new output that the softmax reads from then on."""
    output = graph.add_tensor_like(logits(graph), f"after {kind}")
    graph.insert_operator(len(graph.operators) - 1, kind, 1, inputs, [output], options)
    softmax = graph.operators[-1]
    graph.set_inputs(softmax, [output])
    return output


def cut(graph: FloatGraph, name: str = "logits") -> tuple[float, float]:
    return cut_saturated_ranges(graph, {name: WIDE, "elsewhere": WIDE})[name]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        pytest.param("HARD_SWISH", (-3.0, 90.0), id="hard-swish-is-zero-below-minus-3"),
        pytest.param("LOGISTIC", (-8.0, 8.0), id="sigmoid-is-flat-beyond-8"),
        pytest.param("TANH", (-4.0, 4.0), id="tanh-is-flat-beyond-4"),
        pytest.param("RELU", (0.0, 90.0), id="relu"),
        pytest.param("RELU6", (0.0, 6.0), id="relu6"),
        pytest.param("ABS", WIDE, id="an-operator-that-does-not-saturate"),
    ],
)
def test_ranges_are_cut_where_the_only_consumer_saturates(
    graph: FloatGraph, kind: str, expected: tuple[float, float]
) -> None:
    behind(graph, kind, logits(graph))
    assert cut(graph) == expected
    assert cut_saturated_ranges(graph, {"elsewhere": WIDE}) == {"elsewhere": WIDE}


def test_one_consumer_that_sees_everything_keeps_the_range(graph: FloatGraph) -> None:
    swish = behind(graph, "HARD_SWISH", logits(graph))
    behind(graph, "ADD", swish, logits(graph), options=schema.AddOptionsT())
    assert cut(graph) == WIDE


def test_two_consumers_keep_what_either_needs(graph: FloatGraph) -> None:
    swish = behind(graph, "HARD_SWISH", logits(graph))
    sigmoid = behind(graph, "LOGISTIC", logits(graph))
    behind(graph, "MUL", swish, sigmoid, options=schema.MulOptionsT())
    assert cut(graph) == (-8.0, 90.0)


def test_operators_that_move_values_are_looked_through(graph: FloatGraph) -> None:
    moved = behind(graph, "TRANSPOSE", logits(graph), graph.add_tensor("order", (2,), "int32", np.array([0, 1])))
    behind(graph, "RELU6", moved)
    assert cut(graph) == (0.0, 6.0)


def test_a_shift_before_a_fused_relu6_is_a_hard_sigmoid(graph: FloatGraph) -> None:
    options = schema.AddOptionsT()
    options.fusedActivationFunction = RELU6
    behind(graph, "ADD", logits(graph), graph.add_tensor("three", (), "float32", np.float32(3)), options=options)
    assert cut(graph) == (-3.0, 3.0)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [pytest.param("MAXIMUM", (2.0, 90.0), id="maximum"), pytest.param("MINIMUM", (-240.0, 5.0), id="minimum")],
)
def test_comparing_with_constants_bounds_one_side(graph: FloatGraph, kind: str, expected: tuple[float, float]) -> None:
    limits = graph.add_tensor("limits", (2,), "float32", np.array([2, 5], np.float32))
    behind(graph, kind, logits(graph), limits, options=schema.MaximumMinimumOptionsT())
    assert cut(graph) == expected


def test_a_value_times_its_own_sigmoid_is_zero_far_below(graph: FloatGraph) -> None:
    gate = behind(graph, "LOGISTIC", logits(graph))
    behind(graph, "MUL", logits(graph), gate, options=schema.MulOptionsT())
    assert cut(graph) == (-8.0, 90.0)


def test_outputs_of_the_model_keep_their_range(graph: FloatGraph) -> None:
    name = graph.name(graph.outputs[0])
    assert cut(graph, name) == WIDE


def test_a_tensor_wholly_in_saturation_keeps_a_point(graph: FloatGraph) -> None:
    behind(graph, "HARD_SWISH", logits(graph))
    cut_range = cut_saturated_ranges(graph, {"logits": (-240.0, -10.0)})["logits"]
    assert cut_range == (-3.0, -3.0)
    assert not any(math.isinf(limit) for limit in cut_range)
