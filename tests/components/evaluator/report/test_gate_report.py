"""The report: it survives JSON, its schema is current, and people can read it."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import jsonschema
import pytest

from components.errors import DataError
from components.evaluator.counting.counts import Counts
from components.evaluator.counting.metric import Metric
from components.evaluator.counting.tally import Tally
from components.evaluator.gate.judgement import judge
from components.evaluator.gate.thresholds import GateRules
from components.evaluator.report.advice import Invocation
from components.evaluator.report.builder import Surroundings, build_report
from components.evaluator.report.explanation import explain
from components.evaluator.report.gate_report import (
    GateReport,
    RuntimeRecord,
    read_report,
    schema_text,
    write_report,
)
from tests.components.evaluator.gate.test_optional_rules import DAY, NIGHT, table, tally_of_errors, whole
from tests.components.evaluator.samples import FACTS, SHA256, evidence_of, tally_of

ROOT = Path(__file__).parents[4]
SCHEMA = ROOT / "schemas" / "gate_report.schema.json"

INCIDENT = Counts(
    num_examples=10_000,
    num_correct_float=9_400,
    num_correct_candidate=7_100,
    num_both_correct=6_900,
    num_only_float_correct=2_500,
    num_only_candidate_correct=200,
    num_neither_correct=400,
    predicted_float=(5_000, 5_000),
    predicted_candidate=(7_000, 3_000),
    examples_by_label=(5_000, 5_000),
    correct_float_by_label=(4_700, 4_700),
    correct_candidate_by_label=(4_600, 2_500),
)


SURROUNDINGS = Surroundings(
    "b" * 64, RuntimeRecord(name="ai-edge-litert", version="2.3.0", kernels="xnnpack", num_threads=1), "tfx116"
)
RULES = GateRules()


def report_of(counts: Counts | Tally | None, problem: str = "", rules: GateRules = RULES) -> GateReport:
    tally = tally_of(counts) if isinstance(counts, Counts) else counts
    num_examples = 10_000 if tally is None else min(tally.num_examples, 10_000)
    facts = replace(FACTS, problem=problem)
    case = {"class_names": ("day", "night"), "checks_recorded_sha256": True, "recorded_sha256": SHA256}
    evidence = evidence_of(tally, rules, facts, num_examples, **case)
    return build_report(judge(evidence), evidence, SURROUNDINGS)


def test_report_survives_its_file(tmp_path: Path) -> None:
    report = report_of(INCIDENT)
    path = write_report(report, tmp_path / "evaluation")
    assert read_report(path) == read_report(path.parent) == report
    assert path.read_text().endswith("}\n")
    assert path.read_bytes() == write_report(report, tmp_path / "again").read_bytes()


def test_schema_file_is_current() -> None:
    assert SCHEMA.read_text() == schema_text(), (
        'run: python -c "from components.evaluator.report.gate_report import schema_text as t; print(t(), end=str())" > '
        "schemas/gate_report.schema.json"
    )


@pytest.mark.parametrize(
    "report", [report_of(INCIDENT), report_of(None, "the file is truncated.")], ids=["scored", "not-scored"]
)
def test_reports_fit_the_schema(report: GateReport) -> None:
    jsonschema.validate(report.model_dump(mode="json"), json.loads(SCHEMA.read_text()))


def test_numbers_of_the_incident() -> None:
    report = report_of(INCIDENT)
    assert report.ratio is not None
    assert report.mistakes is not None
    assert report.interval is not None
    assert (report.ratio.num_correct_candidate, report.ratio.num_correct_float) == (7_100, 9_400)
    assert (report.ratio.decimal, report.ratio.minimum) == ("0.755319", "97/100")
    assert (report.mistakes.num_float, report.mistakes.num_candidate, report.mistakes.factor) == (600, 2_900, "4.8")
    assert (report.interval.lower, report.interval.upper) == (0.745961, 0.764795)
    assert [result.label for result in report.worst_classes] == [1, 0]


def test_the_incident_fits_one_screen() -> None:
    report = report_of(INCIDENT).model_copy(
        update={
            "cause": "calibration saw 0 images of night.",
            "tried": "auto made 9 models.",
            "next_command": "edgeproof run CONFIG --set train.qat=on",
        }
    )
    assert explain(report, Invocation("my config.yaml", ("gate.confidence=0.95",))).splitlines() == [
        "REFUSED  int8 keeps 75.53 % of float accuracy (7100 / 9400 right of 10000); required 97.00 %",
        "         95 % interval of the ratio: 74.60 % to 76.48 %",
        "         mistakes: 600 float, 2900 int8 (x4.8); accuracy 94.00 % float, 71.00 % int8",
        "         worst class: night keeps 53.19 % (2500 / 4700 right of 5000)",
        "         likely cause: calibration saw 0 images of night.",
        "         tried: auto made 9 models.",
        "         next: edgeproof run 'my config.yaml' --set gate.confidence=0.95 --set train.qat=on",
    ]


@pytest.mark.parametrize("page", ["README.md", "docs/how-to.md"])
def test_the_documents_quote_the_screen(page: str) -> None:
    screen = explain(report_of(whole(898, 880, 750))).splitlines()
    assert screen[2].strip() in (ROOT / page).read_text(encoding="utf-8")


def test_an_accepted_model_shows_its_accuracy_and_the_slice_that_lost_most() -> None:
    slices = {NIGHT: table(300, 120, 118), DAY: table(700, 299, 299)}
    report = report_of(
        tally_of(whole(1000, 419, 417), slices=slices), rules=GateRules(min_float_accuracy=Fraction(1, 5))
    )
    text = explain(report)
    assert text.startswith("ACCEPTED")
    assert "mistakes: 581 float, 583 int8 (x1.0); accuracy 41.90 % float, 41.70 % int8" in text
    assert "worst slice: site night keeps 98.33 % (118 / 120 right of 300)" in text


def test_an_accepted_model_that_lost_nothing_names_no_slice() -> None:
    slices = {NIGHT: table(300, 250, 250), DAY: table(700, 650, 650)}
    text = explain(report_of(tally_of(whole(1000, 900, 900), slices=slices)))
    assert text.startswith("ACCEPTED")
    assert "worst slice" not in text


def test_top_5_accuracy_is_called_so() -> None:
    assert "; top-5 accuracy 90.00 % float, 89.00 % int8" in explain(
        report_of(whole(), rules=GateRules(metric=Metric.TOPK, top_k=5))
    )


def test_an_error_has_no_accuracy() -> None:
    rules = GateRules(metric=Metric.MAE, max_error_factor=Fraction(2))
    text = explain(report_of(tally_of_errors(night_factor=1.125), rules=rules))
    assert text.startswith("ACCEPTED")
    assert "accuracy" not in text
    assert "worst slice: domain night has 1.1250 times the float model's error" in text


def test_an_unusable_candidate_is_explained_once() -> None:
    assert explain(report_of(None, "the file is truncated.")) == "REFUSED  int8: the file is truncated."


def test_every_broken_rule_is_explained() -> None:
    counts = INCIDENT + Counts(
        num_examples=1,
        num_neither_correct=1,
        num_label_out_of_range=1,
        predicted_float=(1, 0),
        predicted_candidate=(1, 0),
    )
    text = explain(report_of(counts))
    assert "broken rule every_example_scored: 10001 examples were scored and the split holds 10000" in text
    assert "broken rule labels_in_range: 1 label(s) lie outside 0..1." in text
    assert "accuracy_kept" not in text


def test_counts_that_contradict_each_other_are_kept_as_evidence_only() -> None:
    report = report_of(INCIDENT + Counts(num_examples=1))
    assert report.counts is not None
    assert (report.ratio, report.interval, report.mistakes, report.worst_classes) == (None, None, None, ())


@pytest.mark.parametrize(
    "content", [None, b"", b"{}", b'{"schema_version": 2}'], ids=["absent", "empty", "bare", "other-version"]
)
def test_what_is_no_report_is_an_error(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "gate_report.json").write_bytes(content)
    with pytest.raises(DataError, match="gate report"):
        read_report(tmp_path)


def test_an_unknown_field_is_an_error(tmp_path: Path) -> None:
    path = write_report(report_of(INCIDENT), tmp_path)
    record = json.loads(path.read_text())
    record["counts"]["num_lucky"] = 1
    path.write_text(json.dumps(record))
    with pytest.raises(DataError, match="num_lucky"):
        read_report(path)


@pytest.mark.parametrize(
    ("num_clipped", "is_named"),
    [pytest.param(3_000, True, id="a-third-clipped"), pytest.param(100, False, id="one-percent-clipped")],
)
def test_a_refusal_names_the_calibration_domain_where_the_holdout_is_clipped(num_clipped: int, is_named: bool) -> None:
    text = explain(report_of(replace(INCIDENT, num_clipped=num_clipped)))
    assert ("likely cause: calibration domain: 3000 of 10000" in text) is is_named
    assert ("next: add examples like these to the calibration split" in text) is is_named
