"""Notes on an accepted model: what was counted, and only where chance does not explain it."""

from __future__ import annotations

from dataclasses import replace

from components.evaluator.counting.counts import Counts
from components.evaluator.report.explanation import explain
from components.evaluator.report.gate_report import GateReport
from components.evaluator.report.notes import notes_on, notes_since
from tests.components.evaluator.gate.test_optional_rules import whole
from tests.components.evaluator.report.test_gate_report import report_of
from tests.components.evaluator.samples import evidence_of, tally_of


def shares(first: int, second: int, right: int = 900) -> GateReport:
    counts: Counts = replace(whole(first + second, right, right), examples_by_label=(first, second))
    return report_of(replace(counts, correct_float_by_label=(right, 0), correct_candidate_by_label=(right, 0)))


def test_few_examples_are_noted_with_the_chance_to_pass_by_luck() -> None:
    report = report_of(whole(600, 560, 555))
    assert report.verdict.accepted
    assert (
        "note: 600 examples are few: a model that truly keeps 95.00 % would pass on them with a chance of"
        in explain(report)
    )
    assert report_of(whole(5000, 4500, 4450)).notes == ()


def test_a_gap_between_training_and_holdout_is_noted() -> None:
    evidence = evidence_of(tally_of(whole(5000, 3500, 3475)))
    (note,) = notes_on(evidence, training_accuracy=0.98)
    assert note.startswith("the float model is right for 98.0 % of its training examples and for 70.0 % of the holdout")
    assert notes_on(evidence, training_accuracy=0.72) == notes_on(evidence, None) == ()


def test_classes_that_moved_since_the_last_run_are_named() -> None:
    (note,) = notes_since(shares(500, 500), shares(650, 350))
    assert note == (
        "the classes of the holdout moved since the last run: day from 50.0 % to 65.0 %, night from 50.0 % to 35.0 %"
    )
    assert notes_since(shares(500, 500), shares(520, 480)) == ()


def test_a_model_that_is_worse_than_the_last_one_is_noted() -> None:
    (note,) = notes_since(shares(500, 500), shares(500, 500, right=800))
    assert note.startswith("the edge model is right for 80.00 % of the holdout, the last run's was for 90.00 %")
    assert notes_since(shares(500, 500), shares(500, 500, right=895)) == ()
    assert notes_since(shares(500, 500, right=800), shares(500, 500)) == ()
