"""Outputs of several numbers: a spread per number, and parts that an average over all of them hides."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from components.evaluator.counting.deviations import compare_numbers
from components.evaluator.counting.exact_sums import UNIT_BITS, ExactSums
from components.evaluator.counting.tally import Tally
from components.evaluator.gate.judgement import Verdict, judge
from components.evaluator.gate.thresholds import GateRules
from tests.components.evaluator.samples import evidence_of

RANDOM = np.random.default_rng(7)


def verdict_on(
    labels: NDArray[np.float64], of_float: NDArray[np.float64], of_candidate: NDArray[np.float64]
) -> Verdict:
    tally = Tally(compare_numbers(labels, of_float, of_candidate, np.zeros(len(labels), np.bool_)))
    return judge(evidence_of(tally, GateRules.of({"metric": "rmse"})))


def broken(verdict: Verdict) -> set[str]:
    return {result.name.value for result in verdict.broken_rules}


def test_exact_sums_are_exact_in_any_order() -> None:
    values = RANDOM.normal(size=(300, 40)) * 10.0 ** RANDOM.integers(-12, 12, (300, 40))
    values[3, 4], values[6, 6] = 0.0, -1e300
    expected = [sum(map(Fraction, column)) for column in values.T.tolist()]
    assert [Fraction(total, 1 << UNIT_BITS) for total in ExactSums.of(values).totals()] == expected
    assert ExactSums.of(values[:120]) + ExactSums.of(values[120:]) == ExactSums.of(values[::-1])


def test_knowing_nothing_is_the_mean_of_every_number_not_of_the_row() -> None:
    """A spectrum whose bins trade places: each spreads widely, and the row's mean not at all."""
    labels = RANDOM.normal(0, 8, (800, 64))
    labels -= labels.mean(axis=1, keepdims=True)
    of_float = labels + RANDOM.normal(0, 1.2, labels.shape)
    assert verdict_on(labels, of_float, of_float + RANDOM.normal(0, 0.1, labels.shape)).accepted
    assert "float_accuracy" in broken(verdict_on(labels, labels * 0, labels * 0))


def test_a_mask_of_a_rare_foreground_is_explained_by_a_model_that_finds_it() -> None:
    labels = (RANDOM.random((600, 16, 16)) < 0.03).astype(np.float64)
    of_float = np.clip(labels + RANDOM.normal(0, 0.1, labels.shape), 0, 1)
    assert verdict_on(labels, of_float, of_float).accepted


def fused(layout: str) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Boxes in pixels beside scores of 0 to 1, and a candidate that rounds all of it to one scale of 256 steps."""
    boxes, scores = RANDOM.normal(320, 100, (700, 4, 20)), (RANDOM.random((700, 6, 20)) < 0.3).astype(np.float64)
    labels = np.concatenate([boxes, scores], axis=1)
    errors = np.concatenate([RANDOM.normal(0, 8, boxes.shape), RANDOM.normal(0, 0.1, scores.shape)], axis=1)
    of_float = labels + errors
    of_candidate = np.rint(of_float / 2.5) * 2.5
    if layout == "[N, 4 + C]":
        return tuple(array.transpose(0, 2, 1) for array in (labels, of_float, of_candidate))  # type: ignore[return-value]
    if layout == "[4 + C]":
        return labels[:, :, 0], of_float[:, :, 0], of_candidate[:, :, 0]
    return labels, of_float, of_candidate


@pytest.mark.parametrize(
    ("layout", "part"), [("[4 + C, N]", "[4..9, :]"), ("[N, 4 + C]", "[:, 4..9]"), ("[4 + C]", "[4..9]")]
)
def test_the_worst_part_of_a_fused_output_is_found_and_named(layout: str, part: str) -> None:
    labels, of_float, of_candidate = fused(layout)
    verdict = verdict_on(labels, of_float, of_candidate)
    assert broken(verdict) == {"worst_part_kept"}
    assert part in verdict.sentence
    assert verdict_on(labels, of_float, of_float).accepted


def test_scores_that_lie_in_0_to_1_are_one_part_however_little_some_move() -> None:
    labels = RANDOM.random((500, 40)) * np.where(np.arange(40) < 30, 1e-4, 1.0)
    of_float = np.clip(labels + RANDOM.normal(0, 2e-5, labels.shape) * np.where(np.arange(40) < 30, 1, 1e3), 0, 1)
    assert verdict_on(labels, of_float, np.rint(of_float * 256) / 256).accepted
