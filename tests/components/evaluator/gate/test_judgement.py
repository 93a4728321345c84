"""The gate: exact at the boundary, closed by default, and it says why."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from edgeproof_edge.errors import InputError

from components.evaluator.counting.class_statistics import ClassStatistics
from components.evaluator.counting.counts import Counts
from components.evaluator.counting.metric import Metric
from components.evaluator.gate.figure_rules import enough_examples
from components.evaluator.gate.file_rules import candidate_unchanged
from components.evaluator.gate.judgement import Verdict, judge
from components.evaluator.gate.rule import percent
from components.evaluator.gate.thresholds import GateRules
from components.evaluator.measurements.class_losses import not_collapsed
from components.evaluator.measurements.table import measurement_of
from tests.components.evaluator.samples import FACTS, evidence_of, tally_of

NINETY_SEVEN = GateRules()


def even(total: int) -> tuple[int, ...]:
    """``total`` spread over ten classes."""
    return tuple(total // 10 + (label < total % 10) for label in range(10))


def counts_of(right_candidate: int, right_float: int, num_examples: int = 10_000) -> Counts:
    """Ten balanced classes; the right answers overlap as much as they can."""
    both = min(right_candidate, right_float)
    neither = num_examples - max(right_candidate, right_float)
    return Counts(
        num_examples=num_examples,
        num_correct_float=right_float,
        num_correct_candidate=right_candidate,
        num_both_correct=both,
        num_only_float_correct=right_float - both,
        num_only_candidate_correct=right_candidate - both,
        num_neither_correct=neither,
        predicted_float=even(num_examples),
        predicted_candidate=even(num_examples),
        examples_by_label=even(num_examples),
        correct_float_by_label=even(right_float),
        correct_candidate_by_label=even(right_candidate),
    )


def judged(counts: Counts | None, expected: int | None = 10_000, rules: GateRules = NINETY_SEVEN) -> Verdict:
    return judge(evidence_of(None if counts is None else tally_of(counts), rules, num_examples=expected))


def kept(counts: Counts) -> bool:
    return measurement_of(Metric.TOP1).kept(ClassStatistics(counts), NINETY_SEVEN).passed


def broken(verdict: Verdict) -> set[str]:
    return {rule.name for rule in verdict.broken_rules}


@pytest.mark.parametrize(
    ("candidate", "reference", "passes"),
    [
        pytest.param(9_700, 10_000, True, id="9700-of-10000-passes"),
        pytest.param(9_699, 10_000, False, id="one-less-fails"),
        pytest.param(7_857, 8_100, True, id="7857-of-8100-is-exactly-97-percent"),
        pytest.param(9_118, 9_400, True, id="9118-of-9400-is-exactly-97-percent"),
        pytest.param(9_117, 9_400, False, id="9117-of-9400-fails"),
        pytest.param(7_100, 9_400, False, id="the-94-to-71-incident-is-refused"),
        pytest.param(9_500, 9_400, True, id="better-than-float-passes"),
    ],
)
def test_gate_compares_candidate_with_float(candidate: int, reference: int, passes: bool) -> None:
    verdict = judged(counts_of(candidate, reference))
    assert verdict.accepted is passes
    assert broken(verdict) == (set() if passes else {"accuracy_kept"})


def test_every_exact_97_percent_pair_passes_and_every_one_below_fails() -> None:
    references = np.arange(1, 10_001)
    lowest_passing = -(-97 * references // 100)  # ceil(0.97 * reference) in integers
    for reference, lowest in zip(references.tolist(), lowest_passing.tolist(), strict=True):
        counts = Counts(num_examples=10_000, num_correct_float=reference, num_correct_candidate=lowest)
        assert kept(counts), (lowest, reference)
        assert not kept(replace(counts, num_correct_candidate=lowest - 1)), (
            lowest - 1,
            reference,
        )


def test_the_incident_reads_as_one_line() -> None:
    assert judged(counts_of(7_100, 9_400)).sentence == (
        "REFUSED  int8 keeps 75.53 % of float accuracy (7100 / 9400 right of 10000); required 97.00 %"
    )


def test_an_accepted_model_reads_as_one_line() -> None:
    assert judged(counts_of(9_391, 9_400)).sentence == (
        "ACCEPTED  int8 keeps 99.90 % of float accuracy (9391 / 9400 right of 10000); required 97.00 %"
    )


def test_a_ratio_just_below_never_reads_as_the_requirement() -> None:
    verdict = judged(counts_of(969_999, 1_000_000, 1_000_000), 1_000_000)
    assert not verdict.accepted
    assert "keeps 96.99 %" in verdict.sentence


def test_another_broken_rule_is_named_in_the_sentence() -> None:
    verdict = judged(counts_of(9_400, 9_400), expected=10_001)
    assert verdict.sentence.startswith("REFUSED  int8 keeps 100.00 % of float accuracy")
    assert "but 10000 examples were scored and the split holds 10001" in verdict.sentence


@pytest.mark.parametrize(
    ("counts", "expected", "rule"),
    [
        pytest.param(None, 10_000, "scored", id="nothing-scored"),
        pytest.param(Counts(), 0, "accuracy_kept", id="empty-split"),
        pytest.param(Counts(), 10_000, "every_example_scored", id="no-example-of-many"),
        pytest.param(counts_of(9_000, 0), 10_000, "accuracy_kept", id="no-float-accuracy"),
        pytest.param(counts_of(0, 0), 10_000, "float_accuracy", id="both-always-wrong"),
        pytest.param(counts_of(1_000, 1_000), 10_000, "float_accuracy", id="both-at-chance"),
        pytest.param(counts_of(1_090, 1_090), 10_000, "float_accuracy", id="both-three-sigma-above-chance"),
        pytest.param(counts_of(9_400, 9_400), None, "every_example_scored", id="nobody-knows-the-count"),
        pytest.param(counts_of(9_400, 9_400), 10_001, "every_example_scored", id="one-example-was-left-out"),
        pytest.param(counts_of(9_400, 9_400), 9_999, "every_example_scored", id="one-example-too-many"),
        pytest.param(counts_of(470, 470, 499), 499, "minimum_examples", id="499-examples"),
        pytest.param(
            replace(counts_of(9_400, 9_400), num_nonfinite_candidate=1, predicted_candidate=(999, *(1_000,) * 9)),
            10_000,
            "finite_outputs",
            id="one-nan-in-the-candidate",
        ),
        pytest.param(
            replace(counts_of(9_400, 9_400), num_nonfinite_float=1, predicted_float=(999, *(1_000,) * 9)),
            10_000,
            "finite_outputs",
            id="one-nan-in-the-float-model",
        ),
        pytest.param(
            replace(counts_of(9_400, 9_400), num_label_out_of_range=1, examples_by_label=(999, *(1_000,) * 9)),
            10_000,
            "labels_in_range",
            id="one-label-out-of-range",
        ),
        pytest.param(
            replace(counts_of(9_400, 9_400), predicted_candidate=(9_501, 499, *(0,) * 8)),
            10_000,
            "not_collapsed",
            id="collapsed",
        ),
        pytest.param(
            replace(counts_of(9_400, 9_400), num_both_correct=9_399), 10_000, "consistent_counts", id="contradiction"
        ),
        pytest.param(
            replace(counts_of(9_400, 9_400), num_correct_float=-1), 10_000, "consistent_counts", id="negative"
        ),
        pytest.param(
            replace(counts_of(9_400, 9_400), predicted_float=(10_000,)), 10_000, "consistent_counts", id="ragged"
        ),
    ],
)
def test_absent_zero_or_inconsistent_refuses(counts: Counts | None, expected: int | None, rule: str) -> None:
    verdict = judged(counts, expected)
    assert not verdict.accepted
    assert rule in broken(verdict)
    assert verdict.sentence.startswith("REFUSED  int8")
    assert all(result.reason and result.source for result in verdict.results)


def test_float_model_just_clear_of_chance_is_good_enough() -> None:
    assert judged(counts_of(1_091, 1_091)).accepted  # 1000 + 3 * sqrt(900) = 1090


def test_one_label_in_the_whole_split_proves_nothing() -> None:
    counts = replace(
        counts_of(10_000, 10_000), examples_by_label=(10_000,), predicted_float=(10_000,), predicted_candidate=(10_000,)
    )
    counts = replace(counts, correct_float_by_label=(10_000,), correct_candidate_by_label=(10_000,))
    assert broken(judged(counts)) == {"float_accuracy"}


@pytest.mark.parametrize(("right", "passes"), [(9_000, True), (8_999, False)])
def test_an_explicit_floor_replaces_chance(right: int, passes: bool) -> None:
    assert judged(counts_of(right, right), rules=GateRules.of({"min_float_accuracy": "0.9"})).accepted is passes


@pytest.mark.parametrize(
    ("predicted_float", "predicted_candidate", "collapsed"),
    [
        pytest.param((5_000, 5_000), (9_501, 499), True, id="balanced-float-one-sided-candidate"),
        pytest.param((5_000, 5_000), (9_500, 500), False, id="95-percent-is-not-more-than-95-percent"),
        pytest.param((9_400, 600), (9_550, 450), False, id="rare-class-still-found"),
        pytest.param((9_700, 300), (10_000, 0), True, id="rare-class-lost"),
        pytest.param((300, 9_700), (0, 10_000), True, id="rare-class-lost-the-other-way"),
        pytest.param((9_950, 50), (10_000, 0), True, id="rarer-still-and-lost"),
        pytest.param((9_996, 4), (10_000, 0), False, id="so-few-that-chance-explains-it"),
    ],
)
def test_collapse_means_answers_that_float_gives_are_gone(
    predicted_float: tuple[int, ...], predicted_candidate: tuple[int, ...], collapsed: bool
) -> None:
    counts = Counts(predicted_float=predicted_float, predicted_candidate=predicted_candidate)
    result = not_collapsed(ClassStatistics(counts))
    assert result.passed is not collapsed


def test_the_chance_of_luck_is_printed() -> None:
    result = enough_examples(evidence_of(tally_of(counts_of(470, 470, 500))))
    assert result.passed
    assert result.reason == "a model that truly keeps 95.00 % would pass on 500 examples with a chance of 7.3 %."


def test_findings_weigh_as_much_as_counts() -> None:
    counted = tally_of(counts_of(9_400, 9_400))
    verdict = judge(evidence_of(counted, checks_recorded_sha256=True, recorded_sha256="b" * 64))
    assert broken(verdict) == {"candidate_unchanged"}
    assert not verdict.accepted


def test_an_unusable_candidate_is_the_sentence() -> None:
    facts = replace(FACTS, problem="the candidate cannot be loaded: truncated.")
    verdict = judge(evidence_of(None, facts=facts))
    assert verdict.sentence == "REFUSED  int8: the candidate cannot be loaded: truncated."
    assert broken(verdict) == {"candidate_usable"}


@pytest.mark.parametrize(
    ("recorded", "passes"), [("a" * 64, True), ("b" * 64, False), ("", False)], ids=["same", "other", "absent"]
)
def test_bytes_are_the_recorded_ones(recorded: str, passes: bool) -> None:
    assert candidate_unchanged("a" * 64, recorded).passed is passes


@pytest.mark.parametrize(
    "rules", [GateRules(), GateRules.of({"min_ratio": "1/3", "min_float_accuracy": "0.9", "min_examples": 20})]
)
def test_rules_survive_json(rules: GateRules) -> None:
    assert GateRules.from_json(rules.to_json()) == rules


@pytest.mark.parametrize("value", [math.nan, True, "a lot", "1/0", [], "nan"])
def test_a_threshold_is_exact_or_an_error(value: object) -> None:
    with pytest.raises(InputError, match="min_ratio: takes a decimal number"):
        GateRules.of({"min_ratio": value})


@pytest.mark.parametrize("value", [0.97, "0.97", "97/100", Fraction(97, 100)])
def test_a_threshold_is_what_was_written(value: object) -> None:
    assert GateRules.of({"min_ratio": value}).min_ratio == Fraction(97, 100)


@pytest.mark.parametrize(
    "text",
    [
        '{"min_ratio": 97}',
        '{"min_ratio": "97"}',
        '{"min_ratio": "0"}',
        '{"min_ratio": "-1"}',
        '{"min_float_accuracy": "94"}',
        '{"min_examples": 0}',
        '{"min_examples": 1.5}',
        '{"minimum_sample": 5}',
        "[]",
        "nonsense",
    ],
)
def test_rules_that_cannot_be_meant_are_an_error(text: str) -> None:
    with pytest.raises(InputError):
        GateRules.from_json(text)


@pytest.mark.parametrize(
    ("share", "text"),
    [("0.97", "97.00 %"), ("0.9705", "97.05 %"), ("0.970001", "97.0001 %"), ("1/3", "33.333333 %"), ("1", "100.00 %")],
)
def test_a_threshold_is_printed_as_written(share: str, text: str) -> None:
    assert percent(Fraction(share)) == text
