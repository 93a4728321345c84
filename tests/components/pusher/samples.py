"""Reports as the nodes before the Pusher write them. No test itself."""

from __future__ import annotations

import hashlib
from typing import Any

from components.evaluator.counting.counts import Counts
from components.evaluator.report.gate_report import (
    BaselineRecord,
    CandidateRecord,
    ErrorRecord,
    GateReport,
    MetricRecord,
    RatioRecord,
    RuntimeRecord,
    VerdictRecord,
)

COUNTS = Counts(
    num_examples=10_000,
    num_correct_float=9400,
    num_correct_candidate=9300,
    num_both_correct=9200,
    num_only_float_correct=200,
    num_only_candidate_correct=100,
    num_neither_correct=500,
)
RATIO = RatioRecord(num_correct_candidate=9300, num_correct_float=9400, decimal="0.989361", minimum="97/100")


def gate_report(model: bytes, **changes: Any) -> GateReport:
    """A report that accepts a model."""
    report = GateReport(
        verdict=VerdictRecord(accepted=True, sentence="ACCEPTED int8 keeps 98.94 %", rules=()),
        split="eval",
        expected_num_examples=10_000,
        counts=COUNTS,
        ratio=RATIO,
        interval=None,
        mistakes=None,
        worst_classes=(),
        class_names=(),
        decision_threshold=0.5,
        baseline=BaselineRecord(sha256="b" * 64),
        candidate=CandidateRecord(
            name="int8", sha256=hashlib.sha256(model).hexdigest(), size_bytes=len(model), recorded_sha256=None
        ),
        runtime=RuntimeRecord(name="ai-edge-litert", version="2.1.6", kernels="xnnpack", num_threads=1),
        stack="tfx116",
    )
    return report.model_copy(update=changes)


def metric(name: str, required: str = "97/100", **values: str | None) -> MetricRecord:
    """The figure that was compared."""
    figures: dict[str, str | None] = {"float_value": "1.5", "candidate_value": "1.6", **values}
    return MetricRecord(name=name, title=name, ratio=None, required=required, **figures)


def errors(**changes: float | None) -> ErrorRecord:
    """Errors of the whole holdout."""
    values: dict[str, float | None] = {
        "mean_absolute_error_float": 1.5e-05,
        "mean_absolute_error_candidate": 1.52e-05,
        "root_mean_squared_error_float": 2.0,
        "root_mean_squared_error_candidate": 2.0100000001,
        **changes,
    }
    return ErrorRecord(name="", value="", num_examples=600, **values)


def as_bytes(report: GateReport) -> bytes:
    """The content of gate_report.json."""
    return report.model_dump_json().encode()
