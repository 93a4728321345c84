from __future__ import annotations

import numpy as np
import pytest

from components.repair.cures.masks import cut_masks
from components.repair.equalization import largest_difference
from components.repair.graph import FloatGraph
from components.repair.range_statistics import measure
from tests.components.repair.small_graphs import SmallGraph

NUM_ROWS = 64
LOWEST_FLOAT = -3.4028235e38
SCORES = np.random.default_rng(0).normal(0, 3, (NUM_ROWS, 6)).astype(np.float32)
MASKS = (np.random.default_rng(1).random((NUM_ROWS, 6)) < 0.7).astype(np.float32)
MASKS[:, 0] = 1


def padded_maximum(padding: float) -> tuple[FloatGraph, dict[str, np.ndarray]]:
    graph = SmallGraph(image=[1, 4, 4, 2])
    paddings = graph.constant([[0, 0], [1, 1], [1, 1], [0, 0]], "int32")
    padded = graph.operator("PADV2", [graph.inputs[0], paddings, graph.constant(padding)], [1, 6, 6, 2], "PadV2Options")
    pooled = graph.operator(
        "MAX_POOL_2D",
        [padded],
        [1, 2, 2, 2],
        "Pool2DOptions",
        filterWidth=3,
        filterHeight=3,
        strideW=3,
        strideH=3,
        padding=1,
    )
    graph.graph.set_interface(graph.inputs, [pooled])
    return graph.graph, {"image": np.random.default_rng(2).normal(size=(NUM_ROWS, 4, 4, 2)).astype(np.float32)}


def attention(kind: str) -> tuple[FloatGraph, dict[str, np.ndarray]]:
    """Scores and a mask of 0 and 1; what is masked out gets -1e9 in one of the ways that models are written."""
    graph = SmallGraph(scores=[1, 6], mask=[1, 6])
    scores, mask = graph.inputs
    one, huge = graph.constant(1.0), graph.constant(1e9 if kind == "subtracted" else -1e9)
    absent = graph.operator("SUB", [one, mask], [1, 6], "SubOptions")
    penalty = graph.operator("MUL", [absent, huge], [1, 6], "MulOptions")
    masked = graph.operator("SUB" if kind == "subtracted" else "ADD", [scores, penalty], [1, 6], "AddOptions")
    probabilities = graph.operator("SOFTMAX", [masked], [1, 6], "SoftmaxOptions", beta=1.0)
    graph.graph.set_interface(graph.inputs, [probabilities])
    return graph.graph, {"scores": SCORES, "mask": MASKS}


@pytest.mark.parametrize("padding", [LOWEST_FLOAT, -65504.0, -1e9])
def test_a_padded_maximum_is_padded_with_the_lowest_value(padding: float) -> None:
    graph, rows = padded_maximum(padding)
    before = measure(graph.pack(), rows)
    cut, names = cut_masks(graph, before)
    assert len(names) == 1
    after = measure(cut.pack(), rows)
    assert after[names[0]].minimum == pytest.approx(rows["image"].min(), rel=0.05)
    assert largest_difference(graph.pack(), cut.pack(), rows) == 0.0


@pytest.mark.parametrize("kind", ["added", "subtracted"])
def test_a_mask_in_front_of_a_softmax_is_no_deeper_than_the_softmax_sees(kind: str) -> None:
    graph, rows = attention(kind)
    if kind == "subtracted":
        graph.set_kind(2, "SUB", 1, graph.options(0))
    cut, names = cut_masks(graph, measure(graph.pack(), rows))
    assert len(names) == 1
    after = measure(cut.pack(), rows)
    assert -100 < after[names[0]].minimum < rows["scores"].min()
    assert largest_difference(graph.pack(), cut.pack(), rows) < 1e-5


def test_a_model_without_a_mask_is_left_alone() -> None:
    graph, rows = padded_maximum(0.0)
    cut, names = cut_masks(graph, measure(graph.pack(), rows))
    assert cut is graph
    assert names == ()
