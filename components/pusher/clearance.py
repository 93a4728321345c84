"""Decides whether a candidate may be released: the last door between a verdict and the devices.

Rules, in order: 1. no blessing, no release. 2. A blessing counts only for the model it was given to. 3. No accepted
verdict in the gate report, no release; an absent report or number is a "no". 4. The bytes released are the bytes
judged: with an accepted verdict, any other SHA-256 is not a refusal but a broken promise, and raised.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from hashlib import sha256
from typing import TypeVar

from edgeproof_edge.manifest import ERROR_METRICS, TOP1, Answer, VerdictSummary
from pydantic import ValidationError

from components.evaluator.report.gate_report import GateReport
from releases.errors import ReleaseError

_Fact = TypeVar("_Fact")


@dataclass(frozen=True)
class Blessing:
    """What a ModelBlessing artifact says.

    Attributes:
        is_blessed: The artifact holds the file BLESSED and the property blessed=1.
        model_id: MLMD id of the model that was judged; None when the evaluator did not note it.
    """

    is_blessed: bool
    model_id: int | None = None


@dataclass(frozen=True)
class GateRecord:
    """The few facts of an accepting gate report that a release depends on.

    Attributes:
        candidate_sha256: SHA-256 of the judged model.tflite, lower-case hex.
        recipe: How the candidate was quantized, such as int8.
        stack: Name of the TFX stack that judged.
        baseline_sha256: SHA-256 of the float model that it was compared with.
        verdict: What let the candidate pass.
        answer: The output that was judged and how it is read; None where the report does not name it.
    """

    candidate_sha256: str
    recipe: str
    stack: str
    baseline_sha256: str
    verdict: VerdictSummary
    answer: Answer | None = None


@dataclass(frozen=True)
class Clearance:
    """Yes or no to a release.

    Attributes:
        record: The judgment that a release rests on; None is a "no".
        reason: Why not; empty for a "yes".
    """

    record: GateRecord | None
    reason: str = ""


def clear(blessing: Blessing, gate_report: bytes | None, model: bytes | None, model_id: int) -> Clearance:
    """Decides whether ``model`` may be released.

    Args:
        blessing: The Evaluator's blessing.
        gate_report: Content of gate_report.json, None when there is none.
        model: The bytes that would be released, None when the converter made none.
        model_id: MLMD id of the artifact that holds them; 0 when the orchestrator gave it none.

    Raises:
        ReleaseError: The verdict is for other bytes, or the gate report cannot be read.
    """
    if not blessing.is_blessed:
        return Clearance(None, _refusal("the Evaluator did not bless this model", gate_report))
    if blessing.model_id and model_id and blessing.model_id != model_id:
        return Clearance(None, f"the blessing is for model {blessing.model_id}, this is model {model_id}")
    if model is None:
        return Clearance(None, "there is no model.tflite")
    if gate_report is None:
        return Clearance(None, "there is no gate_report.json")
    report = _parsed(gate_report)
    if not report.verdict.accepted:
        return Clearance(None, _refusal("the gate did not accept this model", gate_report))
    record = _record(report)
    _refuse_other_bytes(record, model)
    return Clearance(record)


def _refusal(reason: str, gate_report: bytes | None) -> str:
    """Adds the verdict's own sentence to a reason, where there is one: a refusal must not fail for the want of it."""
    try:
        return f"{reason}: {_parsed(gate_report or b'').verdict.sentence}"
    except ReleaseError:
        return reason


def _record(report: GateReport) -> GateRecord:
    return GateRecord(
        candidate_sha256=_needed(report.candidate.sha256, "candidate.sha256"),
        recipe=report.candidate.name,
        stack=report.stack,
        baseline_sha256=report.baseline.sha256,
        verdict=_verdict(report),
        answer=_answer(report),
    )


def _answer(report: GateReport) -> Answer | None:
    """Which output was judged, and at which threshold; a real value has none."""
    if report.output is None:
        return None
    return Answer(report.output, None if _verdict(report).judges_errors else report.decision_threshold)


def _verdict(report: GateReport) -> VerdictSummary:
    """What the manifest says was proved: right answers, and beside them the figure that decided where it is another."""
    metric = report.metric.name if report.metric else TOP1
    if metric in ERROR_METRICS:
        return _errors(report, metric)
    counts, ratio = _needed(report.counts, "counts"), _needed(report.ratio, "ratio")
    figure = None if report.metric is None or metric.startswith("top") else report.metric
    return VerdictSummary(
        num_examples=counts.num_examples,
        num_correct_float=counts.num_correct_float,
        num_correct_candidate=counts.num_correct_candidate,
        minimum_ratio=ratio.minimum,
        metric=metric,
        float_value=_needed(figure.float_value, "metric.float_value") if figure else None,
        candidate_value=_needed(figure.candidate_value, "metric.candidate_value") if figure else None,
    )


def _errors(report: GateReport, metric: str) -> VerdictSummary:
    """Errors in the label's unit, nine significant digits as the report has them; the rule was decided on exact sums."""
    whole = _needed(report.errors[0] if report.errors else None, "errors")
    of_float, of_candidate = (
        format(Decimal(repr(_needed(error, f"errors.0 ({metric})"))), "f") for error in whole.of(metric)
    )
    return VerdictSummary(
        num_examples=whole.num_examples,
        num_correct_float=None,
        num_correct_candidate=None,
        minimum_ratio=None,
        metric=metric,
        float_value=of_float,
        candidate_value=of_candidate,
        maximum_error_factor=_needed(report.metric, "metric").required,
    )


def _refuse_other_bytes(record: GateRecord, model: bytes) -> None:
    digest = sha256(model).hexdigest()
    if digest != record.candidate_sha256:
        raise ReleaseError(
            f"model.tflite has SHA-256 {digest}, but the gate accepted {record.candidate_sha256}: "
            "the file changed after it was judged. Nothing was published. "
            "Run the pipeline again from the converter, and find out what wrote to the artifact."
        )


def _parsed(data: bytes) -> GateReport:
    try:
        return GateReport.model_validate_json(data)
    except ValidationError as error:
        raise ReleaseError(
            f"gate_report.json cannot be understood: {first_problem(error)}. Nothing was published; run the Evaluator again."
        ) from None


def first_problem(error: ValidationError) -> str:
    """The first thing that is wrong with a report, with its key path."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "the file"
    return f"{where}: {first['msg']}"


def _needed(fact: _Fact | None, where: str) -> _Fact:
    """A fact that an accepting report must hold."""
    if fact is None:
        raise ReleaseError(f"gate_report.json has no {where}. Nothing was published; run the Evaluator again.")
    return fact
