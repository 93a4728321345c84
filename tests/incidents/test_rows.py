"""The gate counts what a device would: random graphs whose rows may mix, against plain TensorFlow and LiteRT at batch 1."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.data.examples import Batch
from components.evaluator.counting.class_statistics import ClassStatistics
from components.evaluator.counting.metric import Metric
from components.evaluator.measurements.measurement import MeasurementOptions
from components.evaluator.measurements.table import measurement_of
from components.evaluator.scoring.both_models import Candidate, Scorer, ScoringPlan
from tests.incidents.row_graphs import RandomGraph, edge_reference, float_reference

NUM_ROWS = 48
PLAN = ScoringPlan(measurement_of(Metric.TOP1, MeasurementOptions()))
#: A variable behind a normalization over the batch, an open batch that is normalized as a whole, and rows that are so much alike then that
#: a few of them show nothing.
FEW = (2, 3, 129)


def converted(directory: Path, rows: dict[str, Any], *, to_int8: bool) -> bytes:
    """The file that TensorFlow's own converter makes."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(str(directory), signature_keys=["edge"])
    if to_int8:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: (
            {name: array[row : row + 1] for name, array in rows.items()} for row in range(40)
        )
    return bytes(converter.convert())


def check_counts(seed: int, directory: Path, *, to_int8: bool) -> None:
    graph = RandomGraph(seed)
    rows = graph.rows(NUM_ROWS)
    saved_model = graph.save(directory)
    tflite = converted(saved_model, rows, to_int8=to_int8)
    of_float = float_reference(saved_model, rows)
    of_candidate = edge_reference(tflite, rows, is_stream=graph.is_stream)
    labels = of_float.argmax(axis=1)

    scorer = Scorer(saved_model, Candidate("memory", tflite, ""), PLAN)
    outputs = scorer.predict(Batch(rows, labels))
    np.testing.assert_allclose(outputs.of_float, of_float, rtol=1e-3, atol=1e-4, err_msg=str(graph.layers))
    np.testing.assert_allclose(outputs.of_candidate, of_candidate, rtol=1e-4, atol=1e-5, err_msg=str(graph.layers))
    statistics = scorer.tally(outputs).whole
    assert isinstance(statistics, ClassStatistics)
    counts = statistics.counts
    assert counts.num_correct_float == NUM_ROWS
    assert counts.num_correct_candidate == int((of_candidate.argmax(axis=1) == labels).sum()), graph.layers
    use = scorer.row_uses[1]
    assert use.num_probe_rows <= 0.05 * 10_000


@pytest.mark.tfx
@pytest.mark.parametrize("seed", FEW)
def test_the_gate_counts_what_a_device_would(seed: int, tmp_path: Path) -> None:
    check_counts(seed, tmp_path / "m", to_int8=bool(seed % 2))


@pytest.mark.exhaustive
@pytest.mark.parametrize("seed", range(100, 129))
def test_the_gate_counts_what_a_device_would_for_many_graphs(seed: int, tmp_path: Path) -> None:
    check_counts(seed, tmp_path / "m", to_int8=bool(seed % 2))
