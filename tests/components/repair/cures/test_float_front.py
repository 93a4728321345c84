from __future__ import annotations

import numpy as np

from components.repair.cures.float_front import float_front
from tests.components.repair.small_graphs import SmallGraph


def spectrum_and_layer(num_outputs: int, wide_kind: str = "LOG") -> SmallGraph:
    """X -> Dense (a filter bank) -> square -> sqrt -> log -> Dense of so many outputs."""
    graph = SmallGraph(x=[1, 8])
    bands = graph.operator(
        "FULLY_CONNECTED", [graph.inputs[0], graph.constant(np.eye(8)), -1], [1, 8], "FullyConnectedOptions"
    )
    power = graph.operator("SQUARE", [bands], [1, 8], name="power")
    size = graph.operator("SQRT", [power], [1, 8], name="size")
    level = graph.operator(wide_kind, [size], [1, 8], name="level")
    weights = graph.constant(np.ones((num_outputs, 8)))
    scores = graph.operator(
        "FULLY_CONNECTED", [level, weights, -1], [1, num_outputs], "FullyConnectedOptions", name="scores"
    )
    graph.graph.set_interface(graph.inputs, [scores])
    return graph


def test_a_spectrogram_is_one_block_from_the_input_to_the_logarithm() -> None:
    graph = spectrum_and_layer(32).graph
    front = float_front(graph)
    assert set(front) == {"x", "fully_connected", "power", "size"}


def test_a_filter_bank_of_many_numbers_leaves_the_layers_behind_it() -> None:
    assert float_front(spectrum_and_layer(1).graph) != ()


def test_a_front_end_without_layers_behind_it_is_none() -> None:
    graph = spectrum_and_layer(4).graph
    level = graph.tensor("level")
    graph.set_interface(graph.inputs, [level])
    graph.remove_unused()
    assert float_front(graph) == ()


def test_a_plain_model_has_no_front_end() -> None:
    graph = SmallGraph(x=[1, 8])
    out = graph.operator(
        "FULLY_CONNECTED", [graph.inputs[0], graph.constant(np.eye(8)), -1], [1, 8], "FullyConnectedOptions"
    )
    graph.graph.set_interface(graph.inputs, [out])
    assert float_front(graph.graph) == ()
