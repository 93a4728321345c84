"""Which class measures which figure: the one list of measurements."""

from __future__ import annotations

from collections.abc import Mapping

from components.evaluator.counting.metric import Metric
from components.evaluator.measurements.classes import RightAnswers
from components.evaluator.measurements.measurement import Measurement, MeasurementOptions
from components.evaluator.measurements.two_classes import AreaUnderCurve, F1Score
from components.evaluator.measurements.values import ErrorOfValues
from components.evaluator.report.gate_report import GateReport

MEASUREMENTS: Mapping[Metric, type[Measurement]] = {
    Metric.TOP1: RightAnswers,
    Metric.TOPK: RightAnswers,
    Metric.F1: F1Score,
    Metric.AUC: AreaUnderCurve,
    Metric.MAE: ErrorOfValues,
    Metric.RMSE: ErrorOfValues,
}


def measurement_of(metric: Metric, options: MeasurementOptions | None = None) -> Measurement:
    """The measurement of a figure."""
    return MEASUREMENTS[metric](metric, options or MeasurementOptions())


def measurement_in(report: GateReport) -> Measurement:
    """The measurement that a report was made with, for its rows and words."""
    if report.rules is None:  # a report of before: its metric's name, such as top5, says it
        name = report.metric.name if report.metric is not None else Metric.TOP1.value
        is_ranked = name.startswith("top") and name != Metric.TOP1.value
        return measurement_of(Metric.TOPK if is_ranked else next(metric for metric in Metric if metric.value == name))
    options = MeasurementOptions(report.rules.answers_ranked, 0, report.decision_threshold, report.class_names)
    return measurement_of(report.rules.metric, options)
