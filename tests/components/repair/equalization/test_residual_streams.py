from __future__ import annotations

import numpy as np

from components.repair.equalization import ChannelRanges, equalize, largest_difference
from components.repair.graph import FloatGraph
from tests.components.repair.small_graphs import (
    NONE,
    RELU,
    RELU6,
    SAME,
    SmallGraph,
    rows_for,
    statistics_of,
)

#: Scales of eight channels of a stream, as a skewed training leaves them.
SKEW = np.logspace(-2, 2, 8)
RANDOM = np.random.default_rng(11)


def weights(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape)


def residual_net(stem_activation: int = NONE) -> tuple[SmallGraph, int]:
    """Two residual blocks on a stream of eight skewed channels; gives the net and the stream's end."""
    net = SmallGraph(image=(1, 6, 6, 2))
    by_output, by_input = SKEW[:, None, None, None], SKEW
    stream = net.conv(
        net.inputs[0], weights(8, 3, 3, 2) * by_output, weights(8) * SKEW, stem_activation, SAME, name="stem"
    )
    for block in ("one", "two"):
        inner = net.conv(stream, weights(4, 3, 3, 8) / by_input, weights(4), RELU, SAME, name=f"{block}/inner")
        branch = net.conv(inner, weights(8, 1, 1, 4) * by_output, weights(8) * SKEW, name=f"{block}/branch")
        stream = net.elementwise("ADD", [stream, branch], name=f"{block}/sum")
    return net, stream


def test_a_stream_has_one_gain_per_channel_from_its_stem_to_its_last_consumer() -> None:
    net, stream = residual_net()
    model = net.finish(net.dense(net.mean(stream), weights(3, 8) / SKEW, name="logits"))
    graph, changes = equalize(FloatGraph.parse(model), statistics_of(model))
    after = graph.pack()
    assert largest_difference(model, after, rows_for(model)) <= 1e-3
    (stream_change,) = [change for change in changes if "residual" in change.what]
    assert stream_change.figure > 20 > 6 > stream_change.figure_after
    measured = ChannelRanges.read(graph, statistics_of(after))
    for name in ("stem", "one/sum", "two/sum"):
        assert measured.imbalance(graph.tensor(name)) < 8


def test_a_gain_passes_squeeze_and_excite_through_its_main_branch() -> None:
    net, stream = residual_net()
    squeezed = net.reshape(net.mean(stream), (1, 1, 1, 8))
    reduced = net.conv(squeezed, weights(2, 1, 1, 8) / SKEW, activation=RELU, name="reduce")
    gate = net.same_shape("LOGISTIC", net.conv(reduced, weights(8, 1, 1, 2), name="expand"))
    gated = net.elementwise("MUL", [stream, gate], name="gated")
    model = net.finish(net.dense(net.mean(gated), weights(3, 8) / SKEW, name="logits"))
    graph, changes = equalize(FloatGraph.parse(model), statistics_of(model))
    assert largest_difference(model, graph.pack(), rows_for(model)) <= 1e-3
    assert any("residual" in change.what and change.figure_after < 6 for change in changes)
    measured = ChannelRanges.read(graph, statistics_of(graph.pack()))
    assert measured.imbalance(graph.tensor("gated")) < 8


def test_a_hard_sigmoid_gate_is_left_as_it_is() -> None:
    net, stream = residual_net()
    squeezed = net.reshape(net.mean(stream), (1, 1, 1, 8))
    expanded = net.conv(squeezed, weights(8, 1, 1, 8) / SKEW, name="expand")
    clipped = net.elementwise("ADD", [expanded, net.constant(3.0)], RELU6)
    gate = net.elementwise("MUL", [clipped, net.constant(1 / 6)])
    gated = net.elementwise("MUL", [gate, stream], name="gated")
    model = net.finish(net.dense(net.mean(gated), weights(3, 8) / SKEW, name="logits"))
    graph, _ = equalize(FloatGraph.parse(model), statistics_of(model))
    assert largest_difference(model, graph.pack(), rows_for(model)) <= 1e-3
    measured = ChannelRanges.read(graph, statistics_of(graph.pack()))
    assert measured.imbalance(graph.tensor("gated")) < 8


def test_swish_locks_the_stream_it_is_in() -> None:
    net, stream = residual_net()
    swish = net.elementwise("MUL", [stream, net.same_shape("LOGISTIC", stream)], name="swish")
    model = net.finish(net.dense(net.mean(swish), weights(3, 8) / SKEW, name="logits"))
    graph, changes = equalize(FloatGraph.parse(model), statistics_of(model))
    assert not any("residual" in change.what for change in changes)
    assert largest_difference(model, graph.pack(), rows_for(model)) <= 1e-3


def test_a_sum_with_relu6_or_with_an_input_of_the_graph_locks_the_stream() -> None:
    net = SmallGraph(image=(1, 6, 6, 8))
    branch = net.conv(net.inputs[0], weights(8, 1, 1, 8) * SKEW[:, None, None, None], name="branch")
    total = net.elementwise("ADD", [net.inputs[0], branch], name="sum")
    clipped = net.elementwise("ADD", [net.conv(total, weights(8, 1, 1, 8)), total], RELU6, name="clipped")
    model = net.finish(net.dense(net.mean(clipped), weights(3, 8), name="logits"))
    graph, changes = equalize(FloatGraph.parse(model), statistics_of(model))
    assert changes == ()
    assert graph.pack() == FloatGraph.parse(model).pack()


def test_the_model_still_takes_batches() -> None:
    net, stream = residual_net(RELU)
    model = net.finish(net.dense(net.mean(stream), weights(3, 8) / SKEW, name="logits"))
    graph, _ = equalize(FloatGraph.parse(model), statistics_of(model))
    assert largest_difference(model, graph.pack(), rows_for(model, count=5)) <= 1e-3


def test_channels_that_padding_adds_join_the_stream() -> None:
    net = SmallGraph(image=(1, 6, 6, 2))
    narrow = net.conv(net.inputs[0], weights(4, 1, 1, 2) * SKEW[2:6, None, None, None], name="narrow")
    shortcut = net.pad(narrow, [(0, 0), (0, 0), (0, 0), (2, 2)])
    branch = net.conv(narrow, weights(8, 1, 1, 4) / SKEW[2:6] * SKEW[:, None, None, None], name="branch")
    total = net.elementwise("ADD", [shortcut, branch], RELU, name="sum")
    model = net.finish(net.dense(net.mean(total), weights(3, 8) / SKEW, name="logits"))
    graph, changes = equalize(FloatGraph.parse(model), statistics_of(model))
    assert any("residual" in change.what for change in changes)
    assert largest_difference(model, graph.pack(), rows_for(model)) <= 1e-3
    measured = ChannelRanges.read(graph, statistics_of(graph.pack()))
    assert measured.imbalance(graph.tensor("sum")) < 8
