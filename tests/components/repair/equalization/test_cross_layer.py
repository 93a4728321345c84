from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from edgeproof_edge.interpreter import TFLiteModel

from components.repair.equalization import ChannelRanges, equalize, largest_difference
from components.repair.equalization.channel_streams import ChannelStreams
from components.repair.equalization.cross_layer import equalize_layers
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

#: Scales of eight channels, 1e-3 to 1e3: what a skewed BatchNorm leaves in the weights.
SKEW = np.logspace(-3, 3, 8)
RANDOM = np.random.default_rng(7)


def weights(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape)


def skewed_pair(between: Callable[[SmallGraph, int], int], activation: int = RELU) -> bytes:
    """conv, whose channels differ 1e6 fold -> `between` -> conv or dense that undoes it -> dense."""
    net = SmallGraph(image=(1, 8, 8, 2))
    first = net.conv(
        net.inputs[0], weights(8, 3, 3, 2) * SKEW[:, None, None, None], weights(8) * SKEW, activation, name="first"
    )
    middle = between(net, first)
    shape = net.graph.shape(middle)
    if len(shape) == 4:
        second = net.conv(middle, weights(4, 3, 3, 8) / SKEW, weights(4), RELU, name="second")
        return net.finish(net.dense(net.mean(second), weights(3, 4), name="logits"))
    positions = shape[-1] // 8
    undo = np.tile(SKEW, positions)
    return net.finish(net.dense(middle, weights(3, shape[-1]) / undo, name="logits"))


def flattened(net: SmallGraph, tensor: int) -> int:
    size = int(np.prod(net.graph.shape(tensor)))
    return net.reshape(tensor, (1, size))


CHAINS = {
    "directly": lambda _, t: t,
    "relu": lambda net, t: net.same_shape("RELU", t),
    "leaky-relu": lambda net, t: net.same_shape("LEAKY_RELU", t, "LeakyReluOptions", alpha=0.2),
    "max-pool": lambda net, t: net.max_pool(t),
    "pad": lambda net, t: net.pad(t, [(0, 0), (1, 1), (1, 1), (0, 0)]),
    "mean": lambda net, t: net.mean(t),
    "flatten": flattened,
    "pool-and-flatten": lambda net, t: flattened(net, net.max_pool(t)),
    "multiplied-by-a-constant": lambda net, t: net.elementwise("MUL", [t, net.constant(2.0)]),
    "added-to-a-constant": lambda net, t: net.elementwise("ADD", [t, net.constant(SKEW)], RELU),
}


@pytest.mark.parametrize("between", CHAINS.values(), ids=CHAINS.keys())
def test_channels_come_to_one_range_and_the_function_is_kept(between: Callable[[SmallGraph, int], int]) -> None:
    model = skewed_pair(between, NONE if between is CHAINS["leaky-relu"] else RELU)
    graph, changes = equalize(FloatGraph.parse(model), statistics_of(model))
    after = graph.pack()
    assert largest_difference(model, after, rows_for(model)) <= 1e-3
    uneven = [change for change in changes if "layers" in change.what and change.figure > 20]
    assert uneven
    assert all(change.figure_after < 6 for change in uneven)
    measured = ChannelRanges.read(graph, statistics_of(after))
    assert measured.imbalance(graph.tensor("first")) < 6


def test_ranges_are_kept_true_without_measuring_again() -> None:
    model = skewed_pair(CHAINS["pool-and-flatten"])
    graph = FloatGraph.parse(model)
    ranges = ChannelRanges.read(graph, statistics_of(model))
    equalize_layers(ChannelStreams(graph, ranges))
    measured = ChannelRanges.read(graph, statistics_of(graph.pack()))
    for tensor in range(len(graph.tensors)):
        if tensor in measured:
            np.testing.assert_allclose(ranges.high(tensor), measured.high(tensor), rtol=1e-3, atol=1e-5)


def test_a_depthwise_convolution_takes_gains_on_both_sides_with_a_channel_multiplier() -> None:
    net = SmallGraph(image=(1, 6, 6, 2))
    first = net.conv(net.inputs[0], weights(4, 1, 1, 2) * SKEW[:4, None, None, None], activation=RELU, name="first")
    undone = weights(1, 3, 3, 8) / np.repeat(SKEW[:4], 2) * SKEW
    second = net.depthwise(first, undone, weights(8) * SKEW, RELU, SAME, name="second")
    model = net.finish(net.dense(net.mean(net.conv(second, weights(3, 1, 1, 8) / SKEW)), weights(3, 3)))
    graph, _ = equalize(FloatGraph.parse(model), statistics_of(model))
    assert largest_difference(model, graph.pack(), rows_for(model)) <= 1e-3
    measured = ChannelRanges.read(graph, statistics_of(graph.pack()))
    assert measured.imbalance(graph.tensor("first")) < 2  # nothing but depthwise reads it: exactly even
    assert measured.imbalance(graph.tensor("second")) < 6


def test_a_grouped_convolution_undoes_each_gain_in_its_own_group() -> None:
    net = SmallGraph(image=(1, 5, 5, 2))
    first = net.conv(net.inputs[0], weights(8, 1, 1, 2) * SKEW[:, None, None, None], activation=RELU, name="first")
    by_group = np.repeat(SKEW.reshape(2, 4), 3, axis=0)[:, None, None, :]
    second = net.conv(first, weights(6, 3, 3, 4) / by_group, activation=RELU, name="second")
    model = net.finish(net.dense(net.mean(second), weights(2, 6)))
    graph, _ = equalize(FloatGraph.parse(model), statistics_of(model))
    assert largest_difference(model, graph.pack(), rows_for(model)) <= 1e-3
    measured = ChannelRanges.read(graph, statistics_of(graph.pack()))
    assert measured.imbalance(graph.tensor("first")) < 6


@pytest.mark.parametrize(
    "between",
    [
        pytest.param(lambda net, t: net.same_shape("HARD_SWISH", t), id="hard-swish"),
        pytest.param(lambda net, t: net.same_shape("LOGISTIC", t), id="sigmoid"),
        pytest.param(lambda net, t: net.same_shape("RELU6", t), id="relu6"),
        pytest.param(lambda net, t: net.same_shape("EXP", t, "ExpOptions"), id="an-operator-nobody-knows"),
    ],
)
def test_a_function_that_is_not_homogeneous_stops_the_chain(between: Callable[[SmallGraph, int], int]) -> None:
    net = SmallGraph(x=(1, 4))
    hidden = net.dense(net.inputs[0], weights(8, 4) * np.logspace(-1, 0.5, 8)[:, None], name="hidden")
    model = net.finish(net.dense(between(net, hidden), weights(3, 8)))
    graph, changes = equalize(FloatGraph.parse(model), statistics_of(model))
    assert changes == ()
    assert graph.pack() == FloatGraph.parse(model).pack()


def test_relu6_fused_into_a_layer_stops_the_chain_at_its_output_only() -> None:
    net = SmallGraph(image=(1, 6, 6, 2))
    first = net.conv(net.inputs[0], weights(8, 1, 1, 2) * SKEW[:, None, None, None], activation=RELU, name="first")
    second = net.conv(first, weights(4, 1, 1, 8) / SKEW, activation=RELU6, name="second")
    model = net.finish(net.dense(net.mean(second), weights(3, 4)))
    graph, changes = equalize(FloatGraph.parse(model), statistics_of(model))
    assert [change.tensor for change in changes] == ["first"]
    assert largest_difference(model, graph.pack(), rows_for(model)) <= 1e-3


def test_a_transposed_convolution_takes_gains_on_both_sides() -> None:
    net = SmallGraph(image=(1, 4, 4, 2))
    first = net.conv(net.inputs[0], weights(8, 1, 1, 2) * SKEW[:, None, None, None], activation=RELU, name="first")
    size = net.constant([1, 8, 8, 8], "int32")
    kernel = net.constant(weights(8, 2, 2, 8) * SKEW[::-1][:, None, None, None] / SKEW)
    wide = net.operator(
        "TRANSPOSE_CONV", [size, kernel, first], (1, 8, 8, 8), "TransposeConvOptions", name="wide", strideW=2, strideH=2
    )
    model = net.finish(net.dense(net.mean(wide), weights(3, 8) / SKEW[::-1]))
    graph, _ = equalize(FloatGraph.parse(model), statistics_of(model))
    assert largest_difference(model, graph.pack(), rows_for(model)) <= 1e-3
    measured = ChannelRanges.read(graph, statistics_of(graph.pack()))
    assert all(measured.imbalance(graph.tensor(name)) < 6 for name in ("first", "wide"))


def test_a_factor_per_channel_takes_up_what_differs_before_and_after_it() -> None:
    net = SmallGraph(image=(1, 6, 6, 2))
    first = net.conv(net.inputs[0], weights(8, 1, 1, 2), activation=RELU, name="first")
    scaled = net.elementwise("MUL", [first, net.constant(SKEW)], name="scaled")
    shifted = net.elementwise("ADD", [scaled, net.constant(SKEW * weights(8))], RELU, name="shifted")
    model = net.finish(net.dense(net.mean(shifted), weights(3, 8) / SKEW))
    graph, _ = equalize(FloatGraph.parse(model), statistics_of(model))
    assert largest_difference(model, graph.pack(), rows_for(model)) <= 1e-3
    measured = ChannelRanges.read(graph, statistics_of(graph.pack()))
    assert all(measured.imbalance(graph.tensor(name)) < 6 for name in ("first", "scaled", "shifted"))


def test_weights_that_two_layers_share_are_scaled_for_each_alone() -> None:
    net = SmallGraph(one=(1, 4), two=(1, 4))
    shared = net.constant(weights(8, 4) * SKEW[:, None], name="shared")
    bias = net.constant(np.zeros(8), name="shared_bias")
    outputs = []
    for number, source in enumerate(net.inputs):
        hidden = net.operator(
            "FULLY_CONNECTED", [source, shared, bias], (1, 8), "FullyConnectedOptions", fusedActivationFunction=RELU
        )
        undo = SKEW if number == 0 else np.ones(8)
        outputs.append(net.dense(hidden, weights(3, 8) / undo))
    model = net.finish(*outputs)
    graph, changes = equalize(FloatGraph.parse(model), statistics_of(model))
    assert len(changes) == 2
    assert largest_difference(model, graph.pack(), rows_for(model)) <= 1e-3


def test_inputs_and_outputs_of_the_graph_keep_their_values_with_several_outputs() -> None:
    net = SmallGraph(image=(1, 6, 6, 2))
    skew = SKEW[:, None, None, None]
    first = net.conv(net.inputs[0], weights(8, 1, 1, 2) * skew, activation=RELU, name="first")
    second = net.conv(first, weights(8, 1, 1, 8) / SKEW * skew, activation=RELU, name="features")
    model = net.finish(net.dense(net.mean(second), weights(3, 8) / SKEW, name="logits"), second)
    graph, changes = equalize(FloatGraph.parse(model), statistics_of(model))
    assert [change.tensor for change in changes] == ["first"]
    assert [spec.name for spec in TFLiteModel.load(graph.pack()).outputs] == ["logits", "features"]
    assert largest_difference(model, graph.pack(), rows_for(model)) <= 1e-3


def test_channels_that_never_woke_keep_their_gain() -> None:
    net = SmallGraph(x=(1, 4))
    bias = np.where(np.arange(8) < 2, -1e6, 0.0)
    hidden = net.dense(net.inputs[0], weights(8, 4) * SKEW[:, None], bias, RELU, name="hidden")
    model = net.finish(net.dense(hidden, weights(3, 8) / SKEW))
    graph, _ = equalize(FloatGraph.parse(model), statistics_of(model))
    kept = graph.constant(graph.tensor("hidden/bias"))
    assert kept is not None
    np.testing.assert_array_equal(kept[:2], np.float32([-1e6, -1e6]))
    assert largest_difference(model, graph.pack(), rows_for(model)) <= 1e-3


def test_the_given_graph_is_not_touched_and_equal_input_gives_equal_bytes() -> None:
    model = skewed_pair(CHAINS["relu"])
    graph, statistics = FloatGraph.parse(model), statistics_of(model)
    before = graph.pack()
    one, other = equalize(graph, statistics)[0], equalize(graph, statistics)[0]
    assert graph.pack() == before
    assert one.pack() == other.pack() != before
