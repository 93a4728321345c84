"""F1, AUC and errors of real numbers: exact at the boundary and closed by default, like right answers."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from components.evaluator.counting.counts import Counts, count_batch
from components.evaluator.counting.deviations import Deviations, compare_numbers
from components.evaluator.counting.metric import Metric
from components.evaluator.counting.ranks import rank_batch
from components.evaluator.counting.tally import Tally
from components.evaluator.gate.judgement import Verdict, judge
from components.evaluator.gate.thresholds import GateRules
from components.evaluator.measurements.table import measurement_of
from components.evaluator.measurements.two_classes import f1_score
from tests.components.evaluator.samples import evidence_of, tally_of


def judged(tally: Tally, metric: Metric, **rules: object) -> Verdict:
    return judge(evidence_of(tally, GateRules.of({"metric": metric, **rules})))


def broken(verdict: Verdict) -> set[str]:
    return {rule.name for rule in verdict.broken_rules}


def binary(num_flipped: int = 0, num_examples: int = 2000, seed: int = 3) -> tuple[Tally, NDArray[np.int64]]:
    """A rare class 1 (10 %) that the float model finds well; the candidate misses ``num_flipped`` more of it."""
    random = np.random.default_rng(seed)
    labels = (random.random(num_examples) < 0.1).astype(np.int64)
    of_float = np.clip(0.2 + 0.6 * labels + random.normal(0, 0.1, num_examples), 0, 1).astype(np.float32)[:, None]
    of_candidate = of_float.copy()
    of_candidate[np.flatnonzero(labels == 1)[:num_flipped]] = 0.05
    usable = np.ones(num_examples, np.bool_)
    tally = tally_of(
        count_batch(labels, of_float, of_candidate), ranks=rank_batch(labels, of_float, of_candidate, usable)
    )
    return tally, labels


def test_f1_equals_its_definition() -> None:
    counts = Counts(
        num_examples=100,
        examples_by_label=(70, 30),
        predicted_float=(65, 35),
        correct_float_by_label=(60, 25),
        predicted_candidate=(100, 0),
        correct_candidate_by_label=(70, 0),
    )
    true_positives, false_positives, false_negatives = 25, 10, 5
    assert f1_score(counts, of_float=True) == Fraction(
        2 * true_positives, 2 * true_positives + false_positives + false_negatives
    )
    assert f1_score(counts, of_float=False) == 0


@pytest.mark.parametrize("metric", [Metric.F1, Metric.AUC])
def test_a_rare_class_that_gets_lost_is_refused_where_accuracy_passes(metric: Metric) -> None:
    tally, _ = binary(num_flipped=40)
    assert judge(evidence_of(tally)).accepted
    assert "figure_kept" in broken(judged(tally, metric))
    assert judged(binary()[0], metric).accepted


def test_the_sentence_names_the_figure() -> None:
    assert judged(binary()[0], Metric.AUC).sentence.startswith("ACCEPTED  int8 keeps 100.00 % of float AUC (0.99")


@pytest.mark.parametrize("metric", [Metric.F1, Metric.AUC])
def test_a_float_model_at_chance_is_refused(metric: Metric) -> None:
    random = np.random.default_rng(5)
    labels, scores = random.integers(0, 2, 2000), random.random((2000, 1)).astype(np.float32)
    ranks = rank_batch(labels, scores, scores, np.ones(2000, np.bool_))
    assert broken(judged(tally_of(count_batch(labels, scores, scores), ranks=ranks), metric)) == {"float_accuracy"}


@pytest.mark.parametrize("metric", [Metric.F1, Metric.AUC])
def test_no_figure_refuses(metric: Metric) -> None:
    """A holdout of one class has no AUC, and three classes have no F1."""
    scores = np.full((600, 1), 0.9, np.float32)
    ranks = rank_batch(np.ones(600, np.int64), scores, scores, np.ones(600, np.bool_))
    one_class = tally_of(count_batch(np.ones(600, np.int64), scores, scores), ranks=ranks)
    three = np.eye(3, dtype=np.float32)[np.arange(600) % 3]
    many = tally_of(count_batch(np.arange(600) % 3, three, three))
    assert not judged(one_class, metric).accepted
    assert "figure_kept" in broken(judged(many, metric))
    assert not judged(Tally(), metric).accepted


def numbers(factor: float = 1.0, num_examples: int = 1000, seed: int = 6) -> tuple[NDArray[np.float64], ...]:
    """Labels of spread 10, a float model that errs by 1, and a candidate that errs ``factor`` times as much."""
    random = np.random.default_rng(seed)
    labels = np.rint(random.normal(0, 10, num_examples) * 1024) / 1024
    errors = np.rint(random.choice([-1, 1], num_examples) * random.integers(1, 100, num_examples))  # exact in binary
    return labels, (labels + errors / 64)[:, None], (labels + errors * factor / 64)[:, None]


def errors_of(arrays: tuple[NDArray[np.float64], ...]) -> Tally:
    return Tally(compare_numbers(*arrays, np.zeros(len(arrays[0]), np.bool_)))


@pytest.mark.parametrize("metric", [Metric.MAE, Metric.RMSE])
@pytest.mark.parametrize(
    ("allowed", "passes"), [("1.5", True), ("1.499999", False), ("2", True)], ids=["exactly", "just-below", "more"]
)
def test_the_factor_is_exact(metric: Metric, allowed: str, passes: bool) -> None:
    verdict = judged(errors_of(numbers(factor=1.5)), metric, max_error_factor=Fraction(allowed))
    assert broken(verdict) == (set() if passes else {"error_kept"})
    assert "has 1.5000 times the float model's" in verdict.sentence


def test_a_factor_just_above_never_reads_as_the_allowed_one() -> None:
    labels, of_float, of_candidate = numbers(factor=1.0)
    of_candidate[0] += 1 / 2**30 * np.sign(of_candidate[0] - labels[0])
    verdict = judged(errors_of((labels, of_float, of_candidate)), Metric.MAE, max_error_factor=Fraction(1))
    assert not verdict.accepted
    assert "has 1.0001 times" in verdict.sentence


def test_values_equal_plain_numpy() -> None:
    arrays = numbers(factor=1.25)
    tally = errors_of(arrays)
    mae = np.abs(arrays[2][:, 0] - arrays[0]).mean()
    rmse = math.sqrt(((arrays[2][:, 0] - arrays[0]) ** 2).mean())
    figures = [measurement_of(metric).figure(tally.whole) for metric in (Metric.MAE, Metric.RMSE)]
    assert [figure.text(figure.of_candidate) for figure in figures] == [f"{mae:.6g}", f"{rmse:.6g}"]


@pytest.mark.parametrize(
    ("spoil", "rule"),
    [
        pytest.param(
            lambda y, f, c: (y, f, np.where(np.arange(len(c))[:, None] == 7, np.nan, c)), "finite_outputs", id="nan"
        ),
        pytest.param(
            lambda y, f, c: (np.where(np.arange(len(y)) == 7, np.inf, y), f, c), "finite_outputs", id="label-inf"
        ),
        pytest.param(lambda y, f, c: (y, f * 0 + y[:, None], c), "error_kept", id="float-without-error"),
        pytest.param(lambda y, f, c: (y, f * 0, c), "float_accuracy", id="float-knows-nothing"),
        pytest.param(lambda y, f, c: (y, f, c * 0), "not_collapsed", id="candidate-always-zero"),
        pytest.param(lambda y, f, c: (y[:400], f[:400], c[:400]), "minimum_examples", id="too-few"),
    ],
)
def test_what_cannot_be_judged_refuses(spoil: object, rule: str) -> None:
    assert rule in broken(judged(errors_of(spoil(*numbers())), Metric.MAE))  # type: ignore[operator]


def test_nothing_scored_refuses() -> None:
    assert not judged(Tally(Deviations()), Metric.MAE).accepted
    assert not judged(Tally(), Metric.RMSE).accepted


@pytest.mark.parametrize("metric", [Metric.MAE, Metric.RMSE])
def test_the_bound_of_the_error_must_keep_the_factor_too(metric: Metric) -> None:
    random = np.random.default_rng(8)
    labels, of_float, _ = numbers(num_examples=600)
    noisy = of_float + random.normal(0, 0.5, of_float.shape)
    tally = errors_of((labels, of_float, noisy))
    ratio = measurement_of(metric).figure(tally.whole).ratio
    assert ratio is not None
    close = Fraction(math.ceil(float(ratio) ** (1 if metric is Metric.MAE else 0.5) * 1000) + 1, 1000)
    assert judged(tally, metric, max_error_factor=close).accepted
    verdict = judged(tally, metric, max_error_factor=close, confidence=Fraction(95, 100))
    assert broken(verdict) == {"confidence_bound"}
    assert judged(tally, metric, max_error_factor=close * 2, confidence=Fraction(95, 100)).accepted


def test_top_k_is_judged_against_the_k_commonest_labels() -> None:
    labels = np.arange(1000) % 4
    scores = np.eye(4, dtype=np.float32)[labels]
    tally = tally_of(count_batch(labels, scores, scores, top_k=2))
    verdict = judge(evidence_of(tally, GateRules(metric=Metric.TOPK, top_k=2)))
    assert verdict.accepted
    assert "of float top-2 accuracy (1000 / 1000 right of 1000)" in verdict.sentence
    rule = next(rule for rule in verdict.results if rule.name == "float_accuracy")
    assert rule.threshold == "more than 500 / 1000 right (always the commonest 2 labels), by 3 standard deviations"


@pytest.mark.parametrize("metric", [Metric.MAE, Metric.RMSE])
def test_where_the_labels_are_the_float_models_own_answers_only_the_same_answers_pass(metric: Metric) -> None:
    answers = np.random.default_rng(8).normal(0, 1, (800, 3)).astype(np.float32)
    clipped = np.zeros(len(answers), np.bool_)
    assert judged(Tally(compare_numbers(answers, answers, answers, clipped)), metric).accepted
    verdict = judged(Tally(compare_numbers(answers, answers, answers + 0.01, clipped)), metric)
    assert "error_kept" in broken(verdict)
    assert "give values that were measured" in verdict.sentence
