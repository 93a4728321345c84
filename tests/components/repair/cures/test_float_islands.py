"""The structure around islands, without a quantizer; test_private_tensorflow.py has TensorFlow's quantizers work on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from edgeproof_edge.interpreter import TFLiteModel

from components.errors import ConversionError
from components.repair.cures.float_islands import hide, island_operators, remove_walls, reveal, wall_off
from components.repair.graph import FloatGraph

MODELS = Path(__file__).parents[3] / "edge" / "models"


@pytest.fixture
def graph() -> FloatGraph:
    """Image -> CONV_2D -> HARD_SWISH -> MEAN -> [1, 4] -> SPLIT -> left, right -> CONCATENATION -> joined; with ranges."""
    graph = FloatGraph.parse((MODELS / "hard_swish.tflite").read_bytes())
    pooled = graph.outputs[0]
    axis = graph.add_tensor("axis", (), "int32", np.int32(1))
    halves = [graph.add_tensor(name, (-1, 2), "float32") for name in ("left", "right")]
    inner = graph.add_tensor_like(pooled, "pooled")
    graph.replace_output(2, pooled, inner)
    split, join = schema.SplitOptionsT(), schema.ConcatenationOptionsT()
    split.numSplits, join.axis = 2, 1
    graph.insert_operator(3, "SPLIT", 1, [axis, inner], halves, split)
    graph.insert_operator(4, "CONCATENATION", 1, halves, [pooled], join)
    for tensor in range(len(graph.tensors)):
        if graph.is_activation(tensor):
            graph.set_range(tensor, -1.0, 1.0)
    return graph


def kinds(graph: FloatGraph) -> list[str]:
    return [graph.kind(operator) for operator in graph.operators]


def test_an_island_is_the_producer_and_all_consumers(graph: FloatGraph) -> None:
    swished = graph.name(graph.operators[1].outputs[0])
    assert island_operators(graph, [swished]) == [1, 2]
    assert island_operators(graph, [graph.name(graph.inputs[0])]) == [0]
    assert island_operators(graph, ["left", "right"]) == [3, 4]
    assert island_operators(graph, []) == []
    with pytest.raises(KeyError):
        island_operators(graph, ["nowhere"])


def test_walls_stand_before_an_island_and_behind_operators_of_several_outputs(graph: FloatGraph) -> None:
    before = graph.pack()
    pooled = graph.name(graph.operators[2].outputs[0])
    walled = wall_off(graph, [pooled])
    assert graph.pack() == before
    wall = walled.wall_kind
    assert kinds(walled.graph) == ["CONV_2D", "HARD_SWISH", wall, "MEAN", "SPLIT", wall, wall, "CONCATENATION"]
    assert walled.num_walls == 3
    assert walled.graph.range_of(walled.graph.tensor(pooled)) is None
    assert walled.graph.range_of(walled.graph.tensor("left")) == (-1.0, 1.0)
    assert pooled in walled.float_nodes


def test_what_lies_between_operators_of_an_island_is_float_too(graph: FloatGraph) -> None:
    walled = wall_off(graph, [graph.name(graph.operators[2].outputs[0]), graph.name(graph.operators[0].outputs[0])])
    assert walled.graph.range_of(walled.graph.operators[1].outputs[0]) is None


@pytest.mark.parametrize("names", [["pooled"], ["left"], ["pooled", "left", "right"]])
def test_walls_are_taken_out_again(graph: FloatGraph, names: list[str]) -> None:
    walled = wall_off(graph, names)
    restored = remove_walls(walled.graph.pack(), walled)
    assert kinds(FloatGraph.parse(restored)) == kinds(graph)
    rows = {"image": np.random.default_rng(0).random((3, 8, 8, 3), dtype=np.float32)}
    expected, found = (TFLiteModel.load(data).predict(rows) for data in (graph.pack(), restored))
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)


def test_a_missing_wall_is_noticed(graph: FloatGraph) -> None:
    walled = wall_off(graph, ["pooled"])
    with pytest.raises(ConversionError, match="kept 0 of 3 marks"):
        remove_walls(graph.pack(), walled)


def test_hidden_operators_come_back_as_they_were(graph: FloatGraph) -> None:
    hidden = hide(graph, ["left"])
    assert kinds(hidden.graph).count(hidden.disguise) == 2
    assert "SPLIT" not in kinds(hidden.graph)
    assert reveal(hidden.graph.pack(), hidden) == _without_range(graph, ("left", "right"))
    with pytest.raises(ConversionError, match="kept 0 of 2 operators"):
        reveal(graph.pack(), hidden)


def _without_range(graph: FloatGraph, names: tuple[str, ...]) -> bytes:
    expected = graph.copy()
    for name in names:
        expected.clear_range(expected.tensor(name))
    expected.remove_unused()
    return expected.pack()


def test_a_model_with_the_usual_mark_gets_another(graph: FloatGraph) -> None:
    used = wall_off(graph, ["pooled"]).wall_kind
    extra = graph.add_tensor("extra", (1, 2), "float32")
    position = len(graph.operators) - 1
    graph.insert_operator(position, used, 1, [graph.tensor("left")], [extra])
    graph.replace_input(graph.operators[-1], graph.tensor("left"), extra)
    assert wall_off(graph, ["pooled"]).wall_kind != used
