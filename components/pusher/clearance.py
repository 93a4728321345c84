"""Decides whether a candidate may be released: the last door between a verdict and the devices.

Rules, in order: 1. no blessing, no release. 2. A blessing counts only for the model it was given to. 3. No accepted
verdict in the gate report, no release; an absent report or number is a "no". 4. The bytes released are the bytes
judged: with an accepted verdict, any other SHA-256 is not a refusal but a broken promise, and raised.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from hashlib import sha256
from typing import TypeVar

from edgeproof_edge.manifest import ERROR_METRICS, TOP1, Answer, VerdictSummary

from releases.errors import ReleaseError

_Fact = TypeVar("_Fact", bool, int, float, str)


@dataclass(frozen=True)
class Blessing:
    """What a ModelBlessing artifact says.

    Attributes:
        is_blessed: the artifact holds the file BLESSED and the property blessed=1.
        model_id: MLMD id of the model that was judged; None when the evaluator did not note it.
    """

    is_blessed: bool
    model_id: int | None = None


@dataclass(frozen=True)
class GateRecord:
    """The few facts of an accepting gate report that a release depends on.

    Attributes:
        candidate_sha256: SHA-256 of the judged model.tflite, lower-case hex.
        recipe: how the candidate was quantized, such as int8.
        stack: name of the TFX stack that judged.
        verdict: what let the candidate pass.
        answer: the output that was judged and how it is read; None where the report does not name it.
    """

    candidate_sha256: str
    recipe: str
    stack: str
    verdict: VerdictSummary
    answer: Answer | None = None


@dataclass(frozen=True)
class Clearance:
    """Yes or no to a release.

    Attributes:
        record: the judgment that a release rests on; None is a "no".
        reason: why not; empty for a "yes".
    """

    record: GateRecord | None
    reason: str = ""


def clear(blessing: Blessing, gate_report: bytes | None, model: bytes | None, model_id: int) -> Clearance:
    """Decides whether `model` may be released.

    Args:
        blessing: the Evaluator's blessing.
        gate_report: content of gate_report.json, None when there is none.
        model: the bytes that would be released, None when the converter made none.
        model_id: MLMD id of the artifact that holds them; 0 when the orchestrator gave it none.

    Raises:
        ReleaseError: the verdict is for other bytes, or the gate report cannot be read.
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
    if not _fact(report, bool, "verdict", "accepted"):
        return Clearance(None, _refusal("the gate did not accept this model", gate_report))
    record = _record(report)
    _refuse_other_bytes(record, model)
    return Clearance(record)


def _refusal(reason: str, gate_report: bytes | None) -> str:
    """Adds the verdict's own sentence to a reason, where there is one: a refusal must not fail for the want of it."""
    try:
        return f"{reason}: {_fact(_parsed(gate_report or b''), str, 'verdict', 'sentence')}"
    except ReleaseError:
        return reason


def _record(report: object) -> GateRecord:
    return GateRecord(
        candidate_sha256=_fact(report, str, "candidate", "sha256"),
        recipe=_fact(report, str, "candidate", "name"),
        stack=_fact(report, str, "stack"),
        verdict=_verdict(report),
        answer=_answer(report),
    )


def _answer(report: object) -> Answer | None:
    """Which output was judged, and at which threshold; a real value has none."""
    output = report.get("output") if isinstance(report, dict) else None
    if not isinstance(output, str):
        return None
    judges_errors = _verdict(report).judges_errors
    return Answer(output, None if judges_errors else _fact(report, float, "decision_threshold"))


def _verdict(report: object) -> VerdictSummary:
    """What the manifest says was proved: right answers, and beside them the figure that decided where it is another."""
    names_metric = isinstance(report, dict) and report.get("metric") is not None
    metric = _fact(report, str, "metric", "name") if names_metric else TOP1
    if metric in ERROR_METRICS:
        return _errors(report, metric)
    is_right_answers = metric.startswith("top")
    return VerdictSummary(
        num_examples=_fact(report, int, "counts", "num_examples"),
        num_correct_float=_fact(report, int, "counts", "num_correct_float"),
        num_correct_candidate=_fact(report, int, "counts", "num_correct_candidate"),
        minimum_ratio=_fact(report, str, "ratio", "minimum"),
        metric=metric,
        float_value=None if is_right_answers else _fact(report, str, "metric", "float_value"),
        candidate_value=None if is_right_answers else _fact(report, str, "metric", "candidate_value"),
    )


#: Where the report keeps the errors of the whole holdout, by metric.
_ERROR_KEYS = {"mae": "mean_absolute_error", "rmse": "root_mean_squared_error"}


def _errors(report: object, metric: str) -> VerdictSummary:
    """Errors in the label's unit, nine significant digits as the report has them; the rule was decided on exact sums."""
    records = report.get("errors") if isinstance(report, dict) else None
    whole = records[0] if isinstance(records, list) and records else None
    of_float, of_candidate = (
        format(Decimal(repr(_fact(whole, float, f"{_ERROR_KEYS[metric]}_{of}"))), "f") for of in ("float", "candidate")
    )
    return VerdictSummary(
        num_examples=_fact(whole, int, "num_examples"),
        num_correct_float=None,
        num_correct_candidate=None,
        minimum_ratio=None,
        metric=metric,
        float_value=of_float,
        candidate_value=of_candidate,
        maximum_error_factor=_fact(report, str, "metric", "required"),
    )


def _refuse_other_bytes(record: GateRecord, model: bytes) -> None:
    found = sha256(model).hexdigest()
    if found != record.candidate_sha256:
        raise ReleaseError(
            f"model.tflite has SHA-256 {found}, but the gate accepted {record.candidate_sha256}: "
            "the file changed after it was judged. Nothing was published. "
            "Run the pipeline again from the converter, and find out what wrote to the artifact."
        )


def _parsed(data: bytes) -> object:
    try:
        return json.loads(data)
    except ValueError as error:
        raise ReleaseError(
            f"gate_report.json is not JSON ({error}). Nothing was published; run the Evaluator again."
        ) from None


def _fact(report: object, kind: type[_Fact], *keys: str) -> _Fact:
    """Returns the value under `keys`; what else a report holds does not matter, so that it may grow."""
    value = report
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    if type(value) is not kind:  # isinstance would take True for the number 1
        raise ReleaseError(
            f"gate_report.json has {value!r} where {'.'.join(keys)} must be of type {kind.__name__}. "
            "Nothing was published; run the Evaluator again."
        )
    return value
