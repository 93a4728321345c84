"""A class that the float model gets right and int8 does not is a refusal, even of ten examples; chance is none."""

from __future__ import annotations

import numpy as np
import pytest

from components.evaluator.counting.metric import Metric
from components.evaluator.counting.tally import Tally
from components.evaluator.gate.judgement import Verdict, judge
from components.evaluator.gate.thresholds import GateRules
from components.evaluator.measurements.measurement import MeasurementOptions
from components.evaluator.measurements.table import measurement_of
from tests.components.evaluator.samples import evidence_of


def verdict_on(
    labels: np.ndarray, of_float: np.ndarray, of_candidate: np.ndarray, num_classes: int = 2, **rules: object
) -> Verdict:
    """Judges answers (classes) as one-hot scores."""
    given = GateRules.of(rules)
    options = MeasurementOptions(top_k=given.answers_ranked)
    scores = np.eye(num_classes)
    compared = measurement_of(given.metric, options).compare(labels, scores[of_float], scores[of_candidate])
    tally = Tally(compared.statistics(np.zeros(len(labels), np.bool_)))
    names = tuple(f"name{label}" for label in range(num_classes))
    return judge(evidence_of(tally, given, class_names=names))


def broken(verdict: Verdict) -> set[str]:
    return {result.name.value for result in verdict.broken_rules}


def alarms(num_alarms: int, found: int, false_alarms: int = 0, num_rows: int = 7500) -> tuple[np.ndarray, ...]:
    """Labels of a rare class 1 that float finds, and what a candidate finds of it."""
    labels = (np.arange(num_rows) < num_alarms).astype(np.int64)
    of_candidate = (np.arange(num_rows) < found).astype(np.int64)
    of_candidate[num_alarms : num_alarms + false_alarms] = 1
    return labels, labels.copy(), of_candidate


def test_a_rare_alarm_that_is_never_found_is_refused_though_accuracy_is_kept() -> None:
    verdict = verdict_on(*alarms(30, 0))
    assert broken(verdict) == {"no_class_lost", "not_collapsed"}
    reason = next(result.reason for result in verdict.results if result.name == "no_class_lost")
    assert "class name1 is lost: the candidate finds 0 of the 30 that float gets right, of 30" in reason


@pytest.mark.parametrize(
    ("found", "false_alarms", "accepted"),
    [
        pytest.param(30, 0, True, id="as-float"),
        pytest.param(28, 0, True, id="two-missed-may-be-chance"),
        pytest.param(22, 0, False, id="eight-missed"),
        pytest.param(30, 27, False, id="every-second-alarm-is-false"),
        pytest.param(30, 2, True, id="two-false-alarms-may-be-chance"),
    ],
)
def test_a_rare_class_is_judged_by_misses_and_false_alarms(found: int, false_alarms: int, accepted: bool) -> None:
    assert verdict_on(*alarms(30, found, false_alarms)).accepted is accepted


def test_ten_examples_are_enough_to_see_that_a_class_is_gone() -> None:
    labels = np.repeat(np.arange(10), [10, *[110] * 9])
    lost = np.where(labels == 0, 5, labels)
    assert broken(verdict_on(labels, labels, lost, num_classes=10)) == {"no_class_lost"}


def test_three_examples_are_not() -> None:
    labels = np.repeat(np.arange(10), [3, *[110] * 9])
    assert verdict_on(labels, labels, np.where(labels == 0, 5, labels), num_classes=10).accepted


def test_a_class_that_is_as_common_as_the_others_may_lose_a_little() -> None:
    labels = np.repeat(np.arange(100), 60)
    weaker = labels.copy()
    weaker[:12] = 50  # one class of a hundred keeps 80 %
    assert verdict_on(labels, labels, weaker, num_classes=100).accepted


def test_answers_that_merely_change_places_are_no_loss() -> None:
    random = np.random.default_rng(1)
    labels = random.integers(0, 10, 5000)
    of_float, of_candidate = (
        np.where(random.random(5000) < 0.1, random.integers(0, 10, 5000), labels) for _ in range(2)
    )
    assert "no_class_lost" not in broken(verdict_on(labels, of_float, of_candidate, num_classes=10))


def test_of_top_k_answers_only_hits_are_compared() -> None:
    labels = np.repeat(np.arange(10), 100)
    verdict = verdict_on(labels, labels, labels, num_classes=10, metric=Metric.TOPK, top_k=2)
    assert "no_class_lost" in {result.name.value for result in verdict.results}
    assert verdict.accepted
