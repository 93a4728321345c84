from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from edgeproof_edge.interpreter import TFLiteModel
from numpy.typing import NDArray

from components.repair.diagnosis import Finding, diagnose
from components.repair.graph import FloatGraph
from components.repair.range_statistics import Statistics, measure

MODELS = Path(__file__).parents[2] / "edge" / "models"
ROWS = np.random.default_rng(0).normal(size=(400, 8)).astype(np.float32)
ONES = np.ones(8, np.float32)


def dense(gain: object = 1.0, offset: object = 0.0) -> FloatGraph:
    """x [1, 8] -> FULLY_CONNECTED -> SOFTMAX, whose channels have gains and offsets."""
    graph = FloatGraph.parse((MODELS / "float32.tflite").read_bytes())
    _, weight, bias = graph.operators[0].inputs
    weights, biases = graph.constant(weight), graph.constant(bias)
    assert weights is not None
    assert biases is not None
    graph.set_constant(weight, np.asarray(weights * np.reshape(gain, (-1, 1)), np.float32))
    graph.set_constant(bias, np.asarray(biases + offset, np.float32))
    return graph


def findings(graph: FloatGraph, rows: NDArray[np.float32], head: NDArray[np.float32] | None = None) -> list[Finding]:
    model = graph.pack()

    def seen(x: NDArray[np.float32]) -> Statistics:
        return measure(model, {TFLiteModel.load(model).inputs[0].name: x})

    half = len(rows) // 2
    return list(diagnose(graph, seen(rows[:half]), seen(rows[half:]), None if head is None else seen(head)))


def test_a_healthy_model_has_no_finding() -> None:
    assert findings(dense(), ROWS, ROWS[:100]) == []


def test_a_head_of_another_domain_is_found() -> None:
    (finding,) = findings(dense(), np.concatenate([ROWS, ROWS]), ROWS[:100] * 0.05)
    assert finding.name == "calibration domain"
    assert finding.figure > 0.1
    assert "first rows" in finding.remedy


def test_a_pool_that_does_not_cover_itself_is_found() -> None:
    (finding,) = findings(dense(), np.concatenate([ROWS * 0.05, ROWS]))
    assert finding.name == "calibration domain"
    assert "does not cover itself" in finding.remedy


def test_fault_codes_are_outliers() -> None:
    rows = ROWS.copy()
    rows[100, 0] = rows[300, 0] = -9999
    found = {finding.name: finding for finding in findings(dense(), rows)}
    assert found["outliers"].figure < 0.05
    assert "percentiles" in found["outliers"].remedy


def test_uneven_channels_are_found() -> None:
    (finding,) = findings(dense(gain=[1e-2, 1.0, 0.5, 1e3]), ROWS)
    assert finding.name == "channel imbalance"
    assert finding.figure > 100


def test_an_input_with_columns_of_many_scales_is_found() -> None:
    scales = np.geomspace(1e-2, 1e4, 8).astype(np.float32)
    names = [finding.name for finding in findings(dense(), ROWS * scales)]
    assert "input scale" in names


def test_constant_offsets_are_found() -> None:
    (finding,) = findings(dense(offset=[-900.0, 0.0, 900.0, 5.0]), ROWS)
    assert finding.name == "constant offsets"


@pytest.mark.parametrize("name", ["two_inputs", "hard_swish"])
def test_other_operators_do_not_crash_it(name: str) -> None:
    model = (MODELS / f"{name}.tflite").read_bytes()
    loaded = TFLiteModel.load(model)
    rows = {s.name: np.random.default_rng(0).random((20, *s.shape[1:])).astype(s.dtype) for s in loaded.inputs}
    diagnose(FloatGraph.parse(model), measure(model, rows), measure(model, rows))
