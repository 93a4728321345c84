"""No blessing, no verdict, other bytes: no release."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from edgeproof_edge.manifest import VerdictSummary

from components.evaluator.report.gate_report import ErrorRecord, VerdictRecord
from components.pusher.clearance import Blessing, GateRecord, clear
from releases.errors import ReleaseError
from tests.components.pusher.samples import RATIO, as_bytes, errors, gate_report, metric

_MODEL = b"the judged bytes"
_SHA256 = hashlib.sha256(_MODEL).hexdigest()
_BLESSED = Blessing(is_blessed=True, model_id=7)


def _report(**changes: Any) -> bytes:
    return as_bytes(gate_report(_MODEL, **changes))


def _damaged(key: str, value: object) -> bytes:
    """A report in which something that is no report's stands under a key."""
    content = json.loads(_report())
    room, _, name = key.partition(".")
    if name:
        content[room][name] = value
    else:
        content[room] = value
    return json.dumps(content).encode()


def test_an_accepted_model_is_cleared_with_its_counts() -> None:
    verdict = VerdictSummary(10_000, 9400, 9300, "97/100")
    assert clear(_BLESSED, _report(), _MODEL, 7).record == GateRecord(_SHA256, "int8", "tfx116", "b" * 64, verdict)


@pytest.mark.parametrize(
    ("blessing", "model_id"),
    [
        pytest.param(Blessing(True, None), 7, id="the-evaluator-noted-no-model"),
        pytest.param(Blessing(True, 7), 0, id="the-orchestrator-gave-no-id"),
    ],
)
def test_a_blessing_without_an_id_is_held_to_the_hash_alone(blessing: Blessing, model_id: int) -> None:
    assert clear(blessing, _report(), _MODEL, model_id).record is not None


_REFUSED = _report(verdict=VerdictRecord(accepted=False, sentence="REFUSED int8 keeps 75.53 %", rules=()))


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
        pytest.param(b"{", "cannot be understood: the file: Invalid JSON", id="not-json"),
        pytest.param(b"[]", "cannot be understood: the file", id="not-an-object"),
        pytest.param(_damaged("verdict.accepted", "perhaps"), r"verdict\.accepted", id="perhaps-is-not-true"),
        pytest.param(_damaged("verdict.acepted", True), r"verdict\.acepted", id="misspelt"),
        pytest.param(_damaged("candidate.sha256", None), r"no candidate\.sha256", id="no-hash"),
        pytest.param(_report(counts=None), "no counts", id="no-counts"),
        pytest.param(_damaged("ratio", None), "no ratio", id="no-ratio"),
        pytest.param(_damaged("ratio.minimum", 0.97), r"ratio\.minimum", id="float-ratio"),
        pytest.param(_report(metric=metric("f1", float_value=None)), r"no metric\.float_value", id="no-figure"),
    ],
)
def test_an_accepting_report_without_its_facts_is_an_error(report: bytes, message: str) -> None:
    with pytest.raises(ReleaseError, match=message):
        clear(_BLESSED, report, _MODEL, 7)


@pytest.mark.parametrize(
    ("name", "of_float", "of_candidate"),
    [
        pytest.param("mae", "0.000015", "0.0000152", id="mae"),
        pytest.param("rmse", "2.0", "2.0100000001", id="rmse"),
    ],
)
def test_errors_are_cleared_in_plain_decimals(name: str, of_float: str, of_candidate: str) -> None:
    report = _report(metric=metric(name, "103/100"), counts=None, ratio=None, errors=(errors(),))
    record = clear(_BLESSED, report, _MODEL, 7).record
    assert record is not None
    assert record.verdict == VerdictSummary(600, None, None, None, name, of_float, of_candidate, "103/100")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        pytest.param("top1", (None, None), id="right-answers"),
        pytest.param("top5", (None, None), id="right-among-five"),
        pytest.param("f1", ("1.5", "1.6"), id="another-figure"),
    ],
)
def test_the_figure_that_decided_is_named(name: str, values: tuple[str | None, str | None]) -> None:
    record = clear(_BLESSED, _report(metric=metric(name)), _MODEL, 7).record
    assert record is not None
    assert record.verdict == VerdictSummary(10_000, 9400, 9300, "97/100", name, *values)


@pytest.mark.parametrize(
    ("records", "message"),
    [
        pytest.param((), "no errors", id="none"),
        pytest.param((errors(mean_absolute_error_candidate=None),), r"no errors\.0 \(mae\)", id="no-number"),
    ],
)
def test_an_accepting_report_without_its_errors_is_an_error(records: tuple[ErrorRecord, ...], message: str) -> None:
    report = _report(metric=metric("mae", "103/100"), errors=records)
    with pytest.raises(ReleaseError, match=message):
        clear(_BLESSED, report, _MODEL, 7)


def test_a_ratio_beside_the_counts_is_what_the_manifest_requires() -> None:
    record = clear(_BLESSED, _report(ratio=RATIO.model_copy(update={"minimum": "99/100"})), _MODEL, 7).record
    assert record is not None
    assert record.verdict.minimum_ratio == "99/100"
