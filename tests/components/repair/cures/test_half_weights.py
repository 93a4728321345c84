from __future__ import annotations

import numpy as np
import pytest
from edgeproof_edge.flatbuffer import inspect
from edgeproof_edge.microcontroller import missing_operators

from components.repair.cures.half_weights import halve_weights
from components.repair.running import predict
from tests.components.repair.small_graphs import SmallGraph

WIDE, NARROW = 64, 4
RANDOM = np.random.default_rng(3)
X = {"x": RANDOM.normal(size=(50, WIDE)).astype(np.float32)}


def two_layers(largest: float = 1.0) -> bytes:
    """A layer of many weights and one of few."""
    graph = SmallGraph(x=(1, WIDE))
    weights = RANDOM.normal(size=(WIDE, WIDE))
    weights[0, 0] = largest
    hidden = graph.dense(graph.inputs[0], weights, RANDOM.normal(size=WIDE), name="wide")
    return graph.finish(graph.dense(hidden, RANDOM.normal(size=(NARROW, WIDE)), name="narrow"))


def test_large_weights_take_half_the_bytes_and_answers_stay() -> None:
    model = two_layers()
    halved = halve_weights(model)
    assert len(halved) < len(model) - 1.8 * WIDE * WIDE
    (before,), (after,) = (predict(each, X).values() for each in (model, halved))
    assert 0 < np.abs(after - before).max() < 2e-3 * before.std()
    inspection = inspect(halved)
    assert inspection.num_computing_operators == inspect(model).num_computing_operators
    assert [use.count for use in inspection.operators if use.name == "DEQUANTIZE"] == [1]
    assert missing_operators(inspection) == ("DEQUANTIZE of float16",)


@pytest.mark.parametrize("largest", [1e5, np.inf], ids=["beyond-float16", "infinite"])
def test_weights_that_float16_cannot_hold_stay(largest: float) -> None:
    model = two_layers(largest)
    assert "DEQUANTIZE" not in {use.name for use in inspect(halve_weights(model)).operators}
