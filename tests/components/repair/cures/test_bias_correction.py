from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from edgeproof_edge.interpreter import TFLiteModel

from components.repair.cures import bias_correction
from components.repair.cures.bias_correction import correct_biases
from components.repair.graph import FloatGraph
from components.repair.range_statistics import measure
from tests.components.repair.small_graphs import RELU, SmallGraph, rows_for

NUM_LAYERS = 5


def dense_net(num_places: int = 1) -> bytes:
    """Five Dense layers whose weights have a few large values: what is left for the others is a coarse grid.

    With more places than one, a row is that many vectors, which lie in the first axis of all layers.
    """
    random = np.random.default_rng(2)
    net = SmallGraph(x=(1, num_places * 16))
    tensor = net.inputs[0] if num_places == 1 else net.reshape(net.inputs[0], (num_places, 16))
    for layer in range(NUM_LAYERS):
        weights = random.normal(size=(16, 16)) / 4
        weights[0] *= 60
        if layer:
            weights[:, 0] /= 60
        tensor = net.dense(tensor, weights, random.normal(size=16), RELU, name=f"layer{layer}")
    logits = net.dense(tensor, random.normal(size=(3, 16)), name="logits")
    return net.finish(logits if num_places == 1 else net.reshape(logits, (1, num_places * 3)))


def quantized_by_hand(graph: FloatGraph, rows: dict[str, np.ndarray]) -> bytes:
    """The int8 model of a graph of Dense layers: one scale per tensor, ranges from the rows."""
    graph = graph.copy()
    statistics = measure(graph.pack(), rows)
    scales = {}
    for tensor in [*graph.inputs, *(operator.outputs[0] for operator in graph.operators)]:
        low, high = statistics.range(graph.name(tensor))
        low, high = min(low, 0.0), max(high, 0.0)
        scales[tensor] = (high - low) / 255
        write_scale(graph, tensor, scales[tensor], round(-128 - low / scales[tensor]), schema.TensorType.INT8)
    for operator in graph.operators:
        if graph.kind(operator) == "RESHAPE":
            continue
        source, weights, bias = operator.inputs
        values, biases = graph.constant(weights), graph.constant(bias)
        assert values is not None
        assert biases is not None
        step = np.abs(values).max() / 127
        write_scale(graph, weights, step, 0, schema.TensorType.INT8)
        graph.set_constant(weights, np.rint(values / step))
        write_scale(graph, bias, step * scales[source], 0, schema.TensorType.INT32)
        graph.set_constant(bias, np.rint(biases / (step * scales[source])))
    return graph.pack()


def write_scale(graph: FloatGraph, tensor: int, scale: float, zero_point: int, element_type: int) -> None:
    quantization = schema.QuantizationParametersT()
    quantization.scale, quantization.zeroPoint = np.float32([scale]), np.int64([zero_point])
    graph.tensors[tensor].quantization, graph.tensors[tensor].type = quantization, element_type


def error_of_means(model: bytes, reference: bytes, rows: dict[str, np.ndarray]) -> float:
    ((_, expected),), ((_, found),) = (TFLiteModel.load(data).predict(rows).items() for data in (reference, model))
    return float(np.abs(found.mean(0) - expected.mean(0)).max() / expected.std())


@pytest.mark.parametrize("num_places", [1, 4])
def test_means_of_unseen_rows_come_closer_to_floats(num_places: int) -> None:
    model = dense_net(num_places)
    rows, unseen = rows_for(model, 200), rows_for(model, 500, seed=1)
    graph = FloatGraph.parse(model)
    before = quantized_by_hand(graph, rows)
    corrected = correct_biases(graph, measure(model, rows), before, rows)
    after = quantized_by_hand(corrected, rows)
    assert error_of_means(after, model, unseen) < 0.5 * error_of_means(before, model, unseen)
    assert graph.pack() == FloatGraph.parse(model).pack()


def test_the_first_rows_of_those_that_were_measured_will_do() -> None:
    model = dense_net()
    rows = rows_for(model, 200)
    first = {name: array[:50] for name, array in rows.items()}
    graph, quantized = FloatGraph.parse(model), quantized_by_hand(FloatGraph.parse(model), rows)
    by_all = correct_biases(graph, measure(model, rows), quantized, first)
    by_first = correct_biases(graph, measure(model, first), quantized, first)
    assert by_all.pack() == by_first.pack() != graph.pack()


def test_a_deep_model_is_corrected_where_it_is_off_the_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bias_correction, "MAX_PASSES", 2)
    monkeypatch.setattr(bias_correction, "MIN_PASSES", 1)
    model = dense_net()
    rows = rows_for(model, 64)
    graph = FloatGraph.parse(model)
    corrected = correct_biases(graph, measure(model, rows), quantized_by_hand(graph, rows), rows)
    changed = [
        name
        for name in [*(f"layer{layer}" for layer in range(NUM_LAYERS)), "logits"]
        if not np.array_equal(
            graph.constant(graph.tensor(f"{name}/bias")), corrected.constant(corrected.tensor(f"{name}/bias"))
        )
    ]
    assert len(changed) == 2


def test_a_model_without_int8_layers_is_left_alone() -> None:
    model = dense_net()
    rows = rows_for(model, 8)
    graph = FloatGraph.parse(model)
    assert correct_biases(graph, measure(model, rows), model, rows).pack() == graph.pack()


def test_a_graph_that_is_cut_off_gives_what_it_held_there() -> None:
    model = dense_net()
    graph = FloatGraph.parse(model)
    statistics = measure(model, rows_for(model))
    graph.cut_off([graph.tensor("layer2"), graph.tensor("layer0")])
    found = TFLiteModel.load(graph.pack()).predict(rows_for(model))
    assert list(found) == ["layer2", "layer0"]
    assert len(graph.operators) == 3
    np.testing.assert_allclose(found["layer2"].max(0), statistics["layer2"].channel_maximum, rtol=1e-4)
