"""No blessing, no verdict, other bytes: no release."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from edgeproof_edge.manifest import VerdictSummary

from components.evaluator.counting.counts import Counts
from components.evaluator.report.gate_report import (
    BaselineRecord,
    CandidateRecord,
    GateReport,
    RatioRecord,
    RuntimeRecord,
    VerdictRecord,
)
from components.pusher.clearance import Blessing, GateRecord, clear
from releases.errors import ReleaseError

_MODEL = b"the judged bytes"
_SHA256 = hashlib.sha256(_MODEL).hexdigest()
_BLESSED = Blessing(is_blessed=True, model_id=7)


def _report(**changes: Any) -> bytes:
    report: dict[str, Any] = {
        "verdict": {"accepted": True, "sentence": "ACCEPTED int8 keeps 98.94 %"},
        "candidate": {"sha256": _SHA256, "name": "int8"},
        "counts": {"num_examples": 10_000, "num_correct_float": 9400, "num_correct_candidate": 9300},
        "ratio": {"minimum": "97/100"},
        "stack": "tfx116",
        "what a later version adds": {},
    }
    for key, value in changes.items():
        room, _, name = key.partition("__")
        if name:
            report[room] = {**report[room], name: value}
        else:
            report[room] = value
    return json.dumps(report).encode()


def test_an_accepted_model_is_cleared_with_its_counts() -> None:
    verdict = VerdictSummary(10_000, 9400, 9300, "97/100")
    assert clear(_BLESSED, _report(), _MODEL, 7).record == GateRecord(_SHA256, "int8", "tfx116", verdict)


@pytest.mark.parametrize(
    ("blessing", "model_id"),
    [
        pytest.param(Blessing(True, None), 7, id="the-evaluator-noted-no-model"),
        pytest.param(Blessing(True, 7), 0, id="the-orchestrator-gave-no-id"),
    ],
)
def test_a_blessing_without_an_id_is_held_to_the_hash_alone(blessing: Blessing, model_id: int) -> None:
    assert clear(blessing, _report(), _MODEL, model_id).record is not None


_REFUSED = _report(verdict={"accepted": False, "sentence": "REFUSED int8 keeps 75.53 %"})


@pytest.mark.parametrize(
    ("blessing", "report", "model", "reason"),
    [
        pytest.param(
            Blessing(False), _REFUSED, _MODEL, "bless this model: REFUSED int8 keeps 75.53 %", id="not-blessed"
        ),
        pytest.param(Blessing(False), None, None, "the Evaluator did not bless this model", id="nothing-at-all"),
        pytest.param(Blessing(False), b"{", _MODEL, "the Evaluator did not bless this model", id="unreadable-report"),
        pytest.param(
            Blessing(True, 8), _report(), _MODEL, "the blessing is for model 8, this is model 7", id="other-model"
        ),
        pytest.param(_BLESSED, None, _MODEL, "there is no gate_report.json", id="no-report"),
        pytest.param(_BLESSED, _report(), None, "there is no model.tflite", id="no-model"),
        pytest.param(
            _BLESSED, _REFUSED, _MODEL, "the gate did not accept this model: REFUSED", id="blessed-yet-refused"
        ),
    ],
)
def test_a_refusal_is_a_value_with_its_reason(
    blessing: Blessing, report: bytes | None, model: bytes | None, reason: str
) -> None:
    clearance = clear(blessing, report, model, 7)
    assert clearance.record is None
    assert reason in clearance.reason


def test_other_bytes_than_the_judged_ones_are_an_error() -> None:
    with pytest.raises(ReleaseError, match=r"the gate accepted [0-9a-f]{64}: the file changed after it was judged"):
        clear(_BLESSED, _report(), _MODEL + b"\0", 7)


@pytest.mark.parametrize(
    ("report", "message"),
    [
        pytest.param(b"{", "not JSON", id="not-json"),
        pytest.param(b"[]", r"None where verdict\.accepted must be of type bool", id="not-an-object"),
        pytest.param(_report(verdict__accepted=1), r"1 where verdict\.accepted", id="one-is-not-true"),
        pytest.param(_report(candidate__sha256=None), r"None where candidate\.sha256", id="no-hash"),
        pytest.param(_report(counts=None), r"counts\.num_examples", id="no-counts"),
        pytest.param(
            _report(counts__num_correct_candidate=True),
            r"num_correct_candidate must be of type int",
            id="true-is-no-count",
        ),
        pytest.param(_report(ratio__minimum=0.97), r"0\.97 where ratio\.minimum", id="float-ratio"),
    ],
)
def test_an_accepting_report_without_its_facts_is_an_error(report: bytes, message: str) -> None:
    with pytest.raises(ReleaseError, match=message):
        clear(_BLESSED, report, _MODEL, 7)


def test_the_evaluators_own_report_holds_every_fact() -> None:
    counts = Counts(
        num_examples=10_000,
        num_correct_float=9400,
        num_correct_candidate=9300,
        num_both_correct=9200,
        num_only_float_correct=200,
        num_only_candidate_correct=100,
        num_neither_correct=500,
    )
    report = GateReport(
        verdict=VerdictRecord(accepted=True, sentence="ACCEPTED", rules=()),
        split="eval",
        expected_num_examples=10_000,
        counts=counts,
        ratio=RatioRecord(num_correct_candidate=9300, num_correct_float=9400, decimal="0.989361", minimum="97/100"),
        interval=None,
        mistakes=None,
        worst_classes=(),
        class_names=(),
        decision_threshold=0.5,
        baseline=BaselineRecord(sha256="0" * 64),
        candidate=CandidateRecord(name="int8", sha256=_SHA256, size_bytes=16, recorded_sha256=None),
        runtime=RuntimeRecord(name="ai-edge-litert", version="2.1.6", kernels="xnnpack", num_threads=1),
        stack="tfx116",
    )
    verdict = VerdictSummary(10_000, 9400, 9300, "97/100")
    clearance = clear(_BLESSED, report.model_dump_json().encode(), _MODEL, 7)
    assert clearance.record == GateRecord(_SHA256, "int8", "tfx116", verdict)


_METRIC = {"required": "103/100", "float_value": "1.5", "candidate_value": "1.6"}
_ERRORS = {
    "num_examples": 600,
    "mean_absolute_error_float": 1.5e-05,
    "mean_absolute_error_candidate": 1.52e-05,
    "root_mean_squared_error_float": 2.0,
    "root_mean_squared_error_candidate": 2.0100000001,
}


@pytest.mark.parametrize(
    ("metric", "of_float", "of_candidate"),
    [
        pytest.param("mae", "0.000015", "0.0000152", id="mae"),
        pytest.param("rmse", "2.0", "2.0100000001", id="rmse"),
    ],
)
def test_errors_are_cleared_in_plain_decimals(metric: str, of_float: str, of_candidate: str) -> None:
    report = _report(metric={"name": metric, **_METRIC}, counts=None, ratio=None, errors=[_ERRORS])
    record = clear(_BLESSED, report, _MODEL, 7).record
    assert record is not None
    assert record.verdict == VerdictSummary(600, None, None, None, metric, of_float, of_candidate, "103/100")


@pytest.mark.parametrize(
    ("metric", "values"),
    [
        pytest.param("top1", (None, None), id="right-answers"),
        pytest.param("top5", (None, None), id="right-among-five"),
        pytest.param("f1", ("1.5", "1.6"), id="another-figure"),
    ],
)
def test_the_figure_that_decided_is_named(metric: str, values: tuple[str | None, str | None]) -> None:
    record = clear(_BLESSED, _report(metric={"name": metric, **_METRIC}), _MODEL, 7).record
    assert record is not None
    assert record.verdict == VerdictSummary(10_000, 9400, 9300, "97/100", metric, *values)


@pytest.mark.parametrize("errors", [None, [], [{**_ERRORS, "mean_absolute_error_candidate": None}]], ids=str)
def test_an_accepting_report_without_its_errors_is_an_error(errors: object) -> None:
    report = _report(metric={"name": "mae", **_METRIC}, errors=errors)
    with pytest.raises(ReleaseError, match=r"mean_absolute_error_\w+ must be of type float"):
        clear(_BLESSED, report, _MODEL, 7)
