from __future__ import annotations

import numpy as np
import pytest

from components.repair.equalization import ChannelRanges, equalize, largest_difference
from components.repair.equalization.channel_streams import ChannelStreams
from components.repair.equalization.concat_branches import equalize_branches
from components.repair.graph import FloatGraph
from components.repair.range_statistics import measure
from tests.components.repair.small_graphs import RELU, SmallGraph, rows_for, statistics_of

RANDOM = np.random.default_rng(5)


def weights(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape)


def test_branches_of_different_scale_come_to_one_range() -> None:
    net = SmallGraph(image=(1, 6, 6, 2))
    small = net.conv(net.inputs[0], weights(4, 1, 1, 2), weights(4), RELU, name="small")
    large = net.conv(net.inputs[0], weights(4, 1, 1, 2) * 1e4, weights(4), RELU, name="large")
    joined = net.concatenate([net.max_pool(small), net.max_pool(large)])
    undo = np.repeat([1, 1e4], 4)
    model = net.finish(net.dense(net.mean(net.conv(joined, weights(5, 3, 3, 8) / undo)), weights(3, 5)))
    graph = FloatGraph.parse(model)
    ranges = ChannelRanges.read(graph, statistics_of(model))
    (change,) = equalize_branches(ChannelStreams(graph, ranges))
    assert change.tensor == "joined"
    after = ChannelRanges.read(graph, statistics_of(graph.pack()))
    joined_range = after.largest(graph.tensor("joined"))
    assert 0.2 < joined_range[:4].max() / joined_range[4:].max() < 5
    assert largest_difference(model, graph.pack(), rows_for(model)) <= 1e-3
    graph, _ = equalize(FloatGraph.parse(model), statistics_of(model))
    assert largest_difference(model, graph.pack(), rows_for(model)) <= 1e-3


def test_a_branch_keeps_its_own_proportions() -> None:
    net = SmallGraph(x=(1, 4))
    small = net.dense(net.inputs[0], weights(3, 4), name="small")
    large = net.dense(net.inputs[0], weights(3, 4) * 1e3, name="large")
    model = net.finish(net.dense(net.concatenate([small, large]), weights(3, 6) / np.repeat([1, 1e3], 3)))
    graph = FloatGraph.parse(model)
    before = {name: graph.constant(graph.tensor(f"{name}/weights")) for name in ("small", "large")}
    equalize_branches(ChannelStreams(graph, ChannelRanges.read(graph, statistics_of(model))))
    for name, old in before.items():
        new = graph.constant(graph.tensor(f"{name}/weights"))
        assert new is not None
        assert old is not None
        np.testing.assert_allclose(new / old, np.full_like(old, (new / old)[0, 0]), rtol=1e-5)


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_the_others_come_to_a_branch_that_cannot_be_scaled(scale: float) -> None:
    net = SmallGraph(x=(1, 4), y=(1, 3))
    hidden = net.dense(net.inputs[0], weights(5, 4) * scale, activation=RELU, name="hidden")
    gate = net.same_shape("TANH", net.inputs[1])
    joined = net.concatenate([gate, hidden])
    model = net.finish(net.dense(joined, weights(3, 8) / np.repeat([1, scale], [3, 5])))
    graph, changes = equalize(FloatGraph.parse(model), statistics_of(model))
    assert [change.tensor for change in changes if "branches" in change.what] == ["joined"]
    after = ChannelRanges.read(graph, statistics_of(graph.pack())).largest(graph.tensor("joined"))
    assert 0.2 < after[3:].max() / after[:3].max() < 5
    assert largest_difference(model, graph.pack(), rows_for(model)) <= 1e-3


def test_a_factor_behind_a_locked_branch_takes_up_the_gain() -> None:
    net = SmallGraph(x=(1, 4))
    one = net.elementwise(
        "MUL", [net.same_shape("LOGISTIC", net.dense(net.inputs[0], weights(4, 4))), net.constant(1e3)]
    )
    other = net.dense(net.inputs[0], weights(4, 4), activation=RELU)
    model = net.finish(net.dense(net.concatenate([one, other]), weights(3, 8) / np.repeat([1e3, 1], 4)))
    graph, changes = equalize(FloatGraph.parse(model), statistics_of(model))
    assert any("branches" in change.what and change.figure_after < 6 for change in changes)
    assert largest_difference(model, graph.pack(), rows_for(model)) <= 1e-3


def test_a_concatenation_that_is_read_by_something_unknown_is_left_alone() -> None:
    net = SmallGraph(x=(1, 4))
    one, other = (net.dense(net.inputs[0], weights(3, 4) * scale) for scale in (1, 1e3))
    model = net.finish(net.same_shape("SOFTMAX", net.concatenate([one, other]), "SoftmaxOptions", beta=1.0))
    graph, changes = equalize(FloatGraph.parse(model), statistics_of(model))
    assert changes == ()
    assert graph.pack() == FloatGraph.parse(model).pack()


def test_dense_blocks_that_join_a_join_keep_their_function() -> None:
    net = SmallGraph(image=(1, 5, 5, 2))
    features, scales = net.conv(net.inputs[0], weights(3, 1, 1, 2), activation=RELU), [1.0] * 3
    for step, scale in enumerate((1e2, 1e-2)):
        fresh = net.conv(features, weights(3, 1, 1, len(scales)) / np.array(scales) * scale, activation=RELU)
        features, scales = net.concatenate([features, fresh], name=f"joined{step}"), [*scales, *[scale] * 3]
    model = net.finish(net.dense(net.mean(features), weights(3, 9) / np.array(scales)))
    graph, _ = equalize(FloatGraph.parse(model), statistics_of(model))
    assert largest_difference(model, graph.pack(), rows_for(model)) <= 1e-3
    after = ChannelRanges.read(graph, statistics_of(graph.pack()))
    assert after.imbalance(graph.tensor("joined1")) < 6


def test_embedding_tables_take_gains_of_their_columns() -> None:
    net = SmallGraph(x=(1, 4))
    ids = net.feed("ids", (1, 3), "int32")
    table = net.constant(weights(10, 4), name="table")
    looked_up = net.operator("GATHER", [table, ids], (1, 3, 4), "GatherOptions", axis=0, batchDims=0)
    dense = net.dense(net.inputs[0], weights(5, 4) * 1e3, activation=RELU)
    joined = net.concatenate([net.reshape(looked_up, (1, 12)), dense])
    model = net.finish(net.dense(joined, weights(3, 17) / np.repeat([1, 1e3], [12, 5])))
    random = np.random.default_rng(0)
    rows = {"x": random.normal(size=(32, 4)).astype(np.float32), "ids": random.integers(0, 10, (32, 3), np.int32)}
    graph, changes = equalize(FloatGraph.parse(model), measure(model, rows))
    assert any("branches" in change.what and change.figure_after < 6 for change in changes)
    assert largest_difference(model, graph.pack(), rows) <= 1e-3
