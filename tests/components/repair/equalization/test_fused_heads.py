from __future__ import annotations

import numpy as np
import pytest
from edgeproof_edge.interpreter import TFLiteModel

from components.repair.equalization import equalize, largest_difference
from components.repair.graph import FloatGraph
from tests.components.repair.small_graphs import RELU, SmallGraph, rows_for, statistics_of

RANDOM = np.random.default_rng(9)


def fused_head(net: SmallGraph, box_scale: float = 500.0) -> int:
    """Ten class logits and four box coordinates in one Dense."""
    weights = RANDOM.normal(size=(14, 8))
    weights[10:] *= box_scale
    hidden = net.dense(net.inputs[0], RANDOM.normal(size=(8, 4)), activation=RELU, name="hidden")
    return net.dense(hidden, weights, RANDOM.normal(size=14), name="head")


def kinds(graph: FloatGraph) -> list[str]:
    return [graph.kind(operator) for operator in graph.operators]


def strided(net: SmallGraph, head: int) -> list[int]:
    return [net.columns(head, 0, 10, "classes"), net.columns(head, 10, 14, "boxes")]


def sliced(net: SmallGraph, head: int) -> list[int]:
    bounds = [([0, 0], [1, 10], "classes"), ([0, 10], [-1, 4], "boxes")]
    return [
        net.operator(
            "SLICE",
            [head, net.constant(begin, "int32"), net.constant(size, "int32")],
            (1, abs(size[1])),
            "SliceOptions",
            name=name,
        )
        for begin, size, name in bounds
    ]


def split(net: SmallGraph, head: int) -> list[int]:
    outputs = [net.graph.add_tensor(name, (1, size), "float32") for name, size in (("classes", 10), ("boxes", 4))]
    net.operator(
        "SPLIT_V",
        [head, net.constant([10, 4], "int32"), net.constant(1, "int32")],
        (1, 1),
        "SplitVOptions",
        numSplits=2,
    )
    operator = net.graph.operators[-1]
    operator.outputs = outputs
    return outputs


@pytest.mark.parametrize("take_apart", [strided, sliced, split])
def test_a_dense_that_is_taken_apart_becomes_one_per_part(take_apart: object) -> None:
    net = SmallGraph(x=(1, 4))
    outputs = take_apart(net, fused_head(net))  # type: ignore[operator]
    model = net.finish(*outputs)
    graph, changes = equalize(FloatGraph.parse(model), statistics_of(model))
    (change,) = [change for change in changes if change.tensor == "head"]
    assert change.figure > 50
    assert kinds(graph) == ["FULLY_CONNECTED"] * 3
    assert [spec.name for spec in TFLiteModel.load(graph.pack()).outputs] == ["classes", "boxes"]
    assert largest_difference(model, graph.pack(), rows_for(model)) <= 1e-3
    assert largest_difference(model, graph.pack(), rows_for(model, count=3)) <= 1e-3


def test_parts_of_one_scale_stay_together() -> None:
    net = SmallGraph(x=(1, 4))
    model = net.finish(*strided(net, fused_head(net, box_scale=1.0)))
    graph, _ = equalize(FloatGraph.parse(model), statistics_of(model))
    assert kinds(graph).count("STRIDED_SLICE") == 2


def test_a_head_that_is_an_output_itself_or_is_read_whole_stays() -> None:
    for read_whole in (False, True):
        net = SmallGraph(x=(1, 4))
        head = fused_head(net)
        whole = net.same_shape("TANH", head) if read_whole else head
        model = net.finish(*strided(net, head), whole)
        graph, _ = equalize(FloatGraph.parse(model), statistics_of(model))
        assert kinds(graph).count("STRIDED_SLICE") == 2
        assert largest_difference(model, graph.pack(), rows_for(model)) <= 1e-3


def test_a_convolutional_head_is_split_too_and_its_parts_go_on() -> None:
    net = SmallGraph(image=(1, 4, 4, 3))
    weights = RANDOM.normal(size=(6, 1, 1, 3))
    weights[4:] *= 300
    head = net.conv(net.inputs[0], weights, RANDOM.normal(size=6), RELU, name="head")
    outputs = [net.graph.add_tensor(f"part{part}", (1, 4, 4, 3), "float32") for part in range(2)]
    net.operator("SPLIT", [net.constant(3, "int32"), head], (1, 1), "SplitOptions", numSplits=2)
    net.graph.operators[-1].outputs = outputs
    model = net.finish(*(net.dense(net.mean(part), RANDOM.normal(size=(2, 3))) for part in outputs))
    graph, changes = equalize(FloatGraph.parse(model), statistics_of(model))
    assert changes[0].tensor == "head"
    assert "SPLIT" not in kinds(graph)
    assert largest_difference(model, graph.pack(), rows_for(model)) <= 1e-3
