"""Every figure has a measurement, and every measurement keeps the promises of the seam."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from components.evaluator.counting.metric import LabelKind, Metric
from components.evaluator.counting.slices import Grouping, SliceKey
from components.evaluator.counting.tally import Tally
from components.evaluator.gate.judgement import judge
from components.evaluator.gate.thresholds import GateRules
from components.evaluator.measurements.measurement import BatchComparison, Measurement, MeasurementOptions
from components.evaluator.measurements.table import MEASUREMENTS, measurement_in, measurement_of
from components.evaluator.report.builder import Surroundings, build_report
from components.evaluator.report.gate_report import RuntimeRecord
from tests.components.evaluator.samples import evidence_of

NUM_ROWS = 900
KEYS = (SliceKey("part", "a"), SliceKey("part", "b"))
SURROUNDINGS = Surroundings(
    "b" * 64, RuntimeRecord(name="litert", version="2", kernels="xnnpack", num_threads=1), "tfx116"
)


def rules_of(metric: Metric) -> GateRules:
    return GateRules.of({"metric": metric.value, "top_k": 2 if metric is Metric.TOPK else None})


def rows_of(metric: Metric, noise: float) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Labels, a float model's outputs, and the same with a little noise."""
    random = np.random.default_rng(4)
    if metric.labels is LabelKind.VALUE:
        labels = random.normal(0, 10, NUM_ROWS)
        of_float = (labels + random.normal(0, 1, NUM_ROWS))[:, None]
        return labels, of_float, of_float + noise * random.normal(0, 0.1, of_float.shape)
    num_classes = 2 if metric in (Metric.F1, Metric.AUC) else 5
    labels = random.integers(0, num_classes, NUM_ROWS)
    of_float = np.eye(num_classes)[labels] + random.normal(0, 0.4, (NUM_ROWS, num_classes))
    return labels, of_float, of_float + noise * random.normal(0, 0.01, of_float.shape)


def measured(metric: Metric) -> Measurement:
    return measurement_of(metric, MeasurementOptions(top_k=rules_of(metric).answers_ranked))


def tally_of_rows(measurement: Measurement, rows: tuple[NDArray[Any], ...]) -> Tally:
    compared: BatchComparison = measurement.compare(*rows)
    grouping = Grouping(KEYS, np.arange(len(rows[0])) % 2)
    clipped = np.zeros(len(rows[0]), np.bool_)
    parts = compared.parts(grouping, clipped)
    return Tally(compared.statistics(clipped), slices=dict(zip(KEYS, parts, strict=True)))


def test_every_figure_is_measured() -> None:
    assert set(MEASUREMENTS) == set(Metric)


@pytest.mark.parametrize("metric", list(Metric), ids=lambda metric: metric.value)
def test_parts_add_up_to_the_whole_in_any_order(metric: Metric) -> None:
    measurement, rows = measured(metric), rows_of(metric, 1.0)
    halves = [
        tally_of_rows(measurement, tuple(array[part] for array in rows)) for part in (slice(0, 400), slice(400, None))
    ]
    whole = tally_of_rows(measurement, rows)
    for total in (halves[0] + halves[1], halves[1] + halves[0]):
        assert measurement.figure(total.whole) == measurement.figure(whole.whole)
        assert total.slices == whole.slices
        assert total.inconsistencies() == ()
    assert sum(part.num_examples for part in whole.slices.values()) == whole.num_examples == NUM_ROWS


@pytest.mark.parametrize("metric", list(Metric), ids=lambda metric: metric.value)
@pytest.mark.parametrize(
    ("spoil", "accepted"),
    [
        pytest.param(lambda of_float: of_float, True, id="itself"),
        pytest.param(lambda of_float: np.roll(of_float, 1, axis=0), False, id="rows-permuted"),
        pytest.param(lambda of_float: np.broadcast_to(of_float[:1], of_float.shape), False, id="constant"),
        pytest.param(lambda of_float: np.full_like(of_float, np.nan), False, id="nan"),
        pytest.param(lambda of_float: -of_float, False, id="the-other-way-round"),
    ],
)
def test_float_against_itself_is_accepted_and_a_spoilt_candidate_is_not(
    metric: Metric, spoil: Any, accepted: bool
) -> None:
    labels, of_float, _ = rows_of(metric, 0.0)
    tally = tally_of_rows(measured(metric), (labels, of_float, np.ascontiguousarray(spoil(of_float))))
    assert judge(evidence_of(tally, rules_of(metric))).accepted is accepted


@pytest.mark.parametrize("metric", list(Metric), ids=lambda metric: metric.value)
def test_the_report_shows_the_figure_and_the_slices(metric: Metric) -> None:
    evidence = evidence_of(tally_of_rows(measured(metric), rows_of(metric, 1.0)), rules_of(metric))
    report = build_report(judge(evidence), evidence, SURROUNDINGS)
    assert report.metric is not None
    assert report.metric.title in report.verdict.sentence
    measurement = measurement_in(report)
    assert type(measurement) is MEASUREMENTS[metric]
    assert {(row.name, row.value) for row in measurement.part_rows(report)} == {("part", "a"), ("part", "b")}
    assert measurement.tfma_figures(evidence.whole, is_whole=True)["example_count"] == (NUM_ROWS, NUM_ROWS)
