"""What the passes are for: int8 models of graphs whose ranges are the problem, before and after, by TensorFlow's quantizer."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from edgeproof_edge.interpreter import TFLiteModel

from components.repair.cures.bias_correction import correct_biases
from components.repair.equalization import equalize, largest_difference
from components.repair.graph import FloatGraph
from components.repair.range_statistics import measure
from components.tflite_converter.private_tensorflow import quantize_flatbuffer
from tests.components.repair.small_graphs import RELU, SAME, SmallGraph, rows_for

pytestmark = pytest.mark.tfx

NUM_CHANNELS = 16
SKEW = np.logspace(-1.8, 1.8, NUM_CHANNELS)
OFFSETS = np.resize([2000.0, -2000.0, 0.0, 900.0], NUM_CHANNELS)


def classifier(make_features: Callable[[SmallGraph, np.random.Generator], int]) -> bytes:
    random = np.random.default_rng(4)
    net = SmallGraph(image=(1, 8, 8, 3))
    return net.finish(net.dense(make_features(net, random), random.normal(size=(10, 16)), name="logits"))


def skewed_layers(net: SmallGraph, random: np.random.Generator) -> int:
    def draw(*shape: int) -> np.ndarray:
        return random.normal(size=shape)

    order = random.permutation(NUM_CHANNELS)
    skew, other = SKEW[order][:, None, None, None], SKEW[::-1]
    first = net.conv(net.inputs[0], draw(16, 3, 3, 3) * skew, draw(16) * SKEW[order], RELU, SAME)
    second = net.depthwise(first, draw(1, 3, 3, 16) / SKEW[order] * other, draw(16) * other, RELU, SAME)
    third = net.conv(second, draw(16, 1, 1, 16) / other, draw(16), RELU)
    return net.mean(third)


def skewed_stream(net: SmallGraph, random: np.random.Generator) -> int:
    skew = SKEW[:, None, None, None]
    stream = net.conv(net.inputs[0], random.normal(size=(16, 3, 3, 3)) * skew, padding=SAME)
    for _ in range(2):
        inner = net.conv(stream, random.normal(size=(16, 1, 1, 16)) / SKEW / 4, random.normal(size=16), RELU)
        stream = net.elementwise("ADD", [stream, net.conv(inner, random.normal(size=(16, 1, 1, 16)) * skew / 4)])
    return net.mean(net.conv(stream, random.normal(size=(16, 1, 1, 16)) / SKEW, activation=RELU))


def offset_stream(net: SmallGraph, random: np.random.Generator) -> int:
    stream = net.conv(net.inputs[0], random.normal(size=(16, 3, 3, 3)), OFFSETS, padding=SAME)
    weights = random.normal(size=(16, 1, 1, 16)) / 4
    inner = net.conv(stream, weights, -(weights * OFFSETS).sum((1, 2, 3)), RELU)
    total = net.elementwise("ADD", [stream, net.conv(inner, random.normal(size=(16, 1, 1, 16)) / 4, -OFFSETS)])
    return net.mean(net.conv(total, random.normal(size=(16, 1, 1, 16)), activation=RELU))


def branches_of_two_scales(net: SmallGraph, random: np.random.Generator) -> int:
    one = net.conv(net.inputs[0], random.normal(size=(8, 3, 3, 3)), activation=RELU, padding=SAME)
    other = net.conv(net.inputs[0], random.normal(size=(8, 1, 1, 3)) * 1e3, activation=RELU)
    weights = random.normal(size=(16, 1, 1, 16)) / np.repeat([1, 1e3], 8)
    return net.mean(net.conv(net.concatenate([one, other]), weights, activation=RELU))


def as_int8(graph: FloatGraph, rows: dict[str, np.ndarray]) -> bytes:
    ranged = graph.copy()
    ranged.set_ranges(measure(graph.pack(), rows).ranges())
    return quantize_flatbuffer(ranged.pack(), input_type="int8", output_type="int8")


def share_kept(model: bytes, reference: bytes, rows: dict[str, np.ndarray]) -> float:
    """Share of the logits' variance over the rows that the int8 model still has; 0.0 or less where it knows nothing."""
    expected, found = (TFLiteModel.load(data).predict(rows)["logits"] for data in (reference, model))
    return 1.0 - float(np.mean((found - expected) ** 2) / np.mean((expected - expected.mean(0)) ** 2))


@pytest.mark.parametrize(
    "make_features",
    [skewed_layers, skewed_stream, offset_stream, branches_of_two_scales],
    ids=lambda make: make.__name__,
)
def test_int8_keeps_what_the_float_model_tells_rows_apart_by(
    make_features: Callable[[SmallGraph, np.random.Generator], int],
) -> None:
    model = classifier(make_features)
    rows, unseen = rows_for(model, 200), rows_for(model, 500, seed=1)
    graph, changes = equalize(FloatGraph.parse(model), measure(model, rows))
    assert changes
    assert largest_difference(model, graph.pack(), rows) <= 1e-3
    before = share_kept(as_int8(FloatGraph.parse(model), rows), model, unseen)
    after = share_kept(as_int8(graph, rows), model, unseen)
    assert before < 0 < 0.98 < after


def test_biases_are_found_again_in_what_tensorflow_quantized() -> None:
    model = classifier(skewed_layers)
    rows = rows_for(model, 100)
    graph = FloatGraph.parse(model)
    corrected = correct_biases(graph, measure(model, rows), as_int8(graph, rows), rows)
    changed = [
        graph.name(tensor)
        for tensor in range(len(graph.tensors))
        if not np.array_equal(graph.constant(tensor), corrected.constant(tensor))
    ]
    assert len(changed) == 4
    reference = TFLiteModel.load(model).predict(rows)["logits"].mean(0)
    errors = [
        np.abs(TFLiteModel.load(as_int8(each, rows)).predict(rows)["logits"].mean(0) - reference).max()
        for each in (graph, corrected)
    ]
    assert errors[1] < errors[0] / 2
