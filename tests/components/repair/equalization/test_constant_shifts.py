from __future__ import annotations

import logging

import numpy as np
import pytest

from components.repair.equalization import ChannelRanges, equalize, largest_difference
from components.repair.equalization.constant_shifts import absorb_shifts
from components.repair.graph import FloatGraph
from tests.components.repair.small_graphs import (
    RELU,
    SAME,
    VALID,
    SmallGraph,
    rows_for,
    statistics_of,
)

OFFSETS = np.array([900, -900, 500, 0, -300, 900.0])
RANDOM = np.random.default_rng(3)


def weights(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape)


def stem(net: SmallGraph) -> int:
    return net.conv(net.inputs[0], weights(6, 1, 1, 2), OFFSETS, name="stem")


def undone(kernel: np.ndarray) -> np.ndarray:
    """Biases that make up for the offsets at the input of a convolution without padding."""
    return -(kernel * OFFSETS).sum((1, 2, 3))


def test_offsets_of_a_residual_stream_go_into_the_consumers_biases() -> None:
    net = SmallGraph(image=(1, 6, 6, 2))
    stream = stem(net)
    inner_weights = weights(4, 1, 1, 6)
    inner = net.conv(stream, inner_weights, undone(inner_weights), RELU, SAME, name="inner")
    branch = net.conv(inner, weights(6, 1, 1, 4), -OFFSETS / 2, name="branch")
    total = net.elementwise("ADD", [stream, branch], name="sum")
    model = net.finish(net.dense(net.mean(total), weights(3, 6), name="logits"))
    graph = FloatGraph.parse(model)
    ranges = ChannelRanges.read(graph, statistics_of(model))
    changes = absorb_shifts(graph, ranges)
    assert [change.tensor for change in changes] == ["stem", "branch"]
    assert all(change.figure > 20 and change.figure_after < 4 for change in changes)
    assert largest_difference(model, graph.pack(), rows_for(model)) <= 1e-3
    measured = ChannelRanges.read(graph, statistics_of(graph.pack()))
    assert measured.imbalance(graph.tensor("sum")) < 4
    np.testing.assert_allclose(ranges.high(graph.tensor("sum")), measured.high(graph.tensor("sum")), atol=1e-3)


@pytest.mark.parametrize(
    ("size", "stride", "padding", "moves"),
    [
        pytest.param(3, 1, SAME, False, id="a-3x3-that-pads-with-zeros-does-not"),
        pytest.param(3, 1, VALID, True, id="a-3x3-without-padding-does"),
        pytest.param(1, 1, SAME, True, id="a-1x1-has-nothing-to-pad"),
        pytest.param(2, 2, SAME, True, id="a-2x2-in-steps-of-2-has-nothing-to-pad"),
        pytest.param(3, 2, SAME, False, id="a-3x3-in-steps-of-2-pads-one-edge"),
    ],
)
def test_an_offset_moves_only_into_what_does_not_pad(
    size: int, stride: int, padding: int, moves: bool, caplog: pytest.LogCaptureFixture
) -> None:
    net = SmallGraph(image=(1, 6, 6, 2))
    kernel = weights(4, size, size, 6)
    consumer = net.conv(stem(net), kernel, undone(kernel), RELU, padding, stride, name="consumer")
    model = net.finish(net.dense(net.mean(consumer), weights(3, 4)))
    graph = FloatGraph.parse(model)
    with caplog.at_level(logging.INFO):
        changes = absorb_shifts(graph, ChannelRanges.read(graph, statistics_of(model)))
    assert bool(changes) is moves
    assert ("offsets of stem stay: CONV_2D consumer pads its input with zeros" in caplog.text) is not moves
    assert largest_difference(model, graph.pack(), rows_for(model)) <= 1e-3


def test_offsets_pass_pooling_flattening_slicing_joining_and_factors() -> None:
    net = SmallGraph(image=(1, 4, 4, 2))
    scaled = net.elementwise("MUL", [net.max_pool(stem(net)), net.constant(np.linspace(-1, 2, 6))])
    flat = net.reshape(scaled, (1, 24))
    other = net.dense(net.mean(net.inputs[0]), weights(3, 2), [100, 200, -300], name="other")
    joined = net.concatenate([net.columns(flat, 3, 20), other])
    shifted = net.elementwise("SUB", [net.constant(weights(20)), joined])
    model = net.finish(net.dense(shifted, weights(3, 20), name="logits"))
    graph = FloatGraph.parse(model)
    changes = absorb_shifts(graph, ChannelRanges.read(graph, statistics_of(model)))
    assert [change.tensor for change in changes] == ["stem", "other"]
    assert largest_difference(model, graph.pack(), rows_for(model)) <= 1e-3


@pytest.mark.parametrize("kind", ["RELU", "LOGISTIC", "HARD_SWISH"])
def test_an_offset_stays_before_what_bends_it(kind: str) -> None:
    net = SmallGraph(image=(1, 4, 4, 2))
    model = net.finish(net.dense(net.mean(net.same_shape(kind, stem(net))), weights(3, 6)))
    graph = FloatGraph.parse(model)
    assert absorb_shifts(graph, ChannelRanges.read(graph, statistics_of(model))) == ()


def test_an_offset_stays_where_the_tensor_is_also_an_output() -> None:
    net = SmallGraph(image=(1, 4, 4, 2))
    features = stem(net)
    model = net.finish(net.dense(net.mean(features), weights(3, 6)), features)
    graph, _ = equalize(FloatGraph.parse(model), statistics_of(model))
    assert largest_difference(model, graph.pack(), rows_for(model)) <= 1e-3


def test_a_producer_and_a_consumer_without_bias_get_one() -> None:
    net = SmallGraph(x=(1, 4))
    bias = net.constant(np.array([50, -800, 900, 0, 3]))
    first = net.operator(
        "FULLY_CONNECTED",
        [net.inputs[0], net.constant(weights(5, 4)), bias],
        (1, 5),
        "FullyConnectedOptions",
        name="one",
    )
    second = net.operator(
        "FULLY_CONNECTED", [first, net.constant(weights(3, 5)), -1], (1, 3), "FullyConnectedOptions", name="two"
    )
    model = net.finish(second)
    graph = FloatGraph.parse(model)
    changes = absorb_shifts(graph, ChannelRanges.read(graph, statistics_of(model)))
    assert [change.tensor for change in changes] == ["one"]
    assert largest_difference(model, graph.pack(), rows_for(model)) <= 1e-3


def test_a_bias_that_two_layers_share_is_changed_for_one() -> None:
    net = SmallGraph(x=(1, 4))
    bias = net.constant(OFFSETS)
    layers = [
        net.operator(
            "FULLY_CONNECTED", [net.inputs[0], net.constant(weights(6, 4)), bias], (1, 6), "FullyConnectedOptions"
        )
        for _ in range(2)
    ]
    model = net.finish(net.dense(layers[0], weights(3, 6)), layers[1])
    graph = FloatGraph.parse(model)
    assert len(absorb_shifts(graph, ChannelRanges.read(graph, statistics_of(model)))) == 1
    assert largest_difference(model, graph.pack(), rows_for(model)) <= 1e-3
