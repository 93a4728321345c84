"""The area under the ROC curve: the same as comparing every pair."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from components.evaluator.counting.ranks import area_under_curve, rank_batch


def area(labels: list[int] | NDArray[np.int64], scores: NDArray[np.floating]) -> Fraction | None:
    columns = scores.reshape(len(scores), -1)
    ranks = rank_batch(np.asarray(labels), columns, columns, np.ones(len(columns), np.bool_))
    return area_under_curve(ranks.of_candidate)


def by_pairs(labels: NDArray[np.int64], scores: NDArray[np.floating]) -> float:
    positives, negatives = scores[labels == 1], scores[labels == 0]
    return float((np.sign(positives[:, None] - negatives[None, :]) + 1).mean() / 2)


@pytest.mark.parametrize("seed", range(5))
def test_area_equals_all_pairs(seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, 500)
    scores = (random.normal(0, 2, 500) + labels).astype(np.float16)  # what ranks tell apart
    assert float(area(labels, scores) or 0) == pytest.approx(by_pairs(labels, scores.astype(np.float64)), abs=1e-12)


def test_half_precision_costs_less_than_an_int8_code() -> None:
    random = np.random.default_rng(7)
    labels = random.integers(0, 2, 4000)
    scores = 1 / (1 + np.exp(-(random.normal(0, 2, 4000) + 2 * labels)))
    assert float(area(labels, scores) or 0) == pytest.approx(by_pairs(labels, scores), abs=1e-4)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [([0.1, 0.9], 1), ([0.9, 0.1], 0), ([0.5, 0.5], Fraction(1, 2)), ([-0.0, 0.0], Fraction(1, 2)), ([-1e9, 1e9], 1)],
    ids=["right", "wrong", "tie", "signed-zeros", "huge"],
)
def test_small_cases(scores: list[float], expected: Fraction) -> None:
    assert area([0, 1], np.array(scores, np.float32)) == expected


def test_two_units_rank_by_their_difference() -> None:
    scores = np.array([[2.0, 1.0], [5.0, 6.0], [0.0, -3.0]], np.float32)
    assert area([0, 1, 0], scores) == 1


def test_a_class_without_examples_has_no_area() -> None:
    assert area([1, 1], np.array([0.1, 0.2], np.float32)) is None


def test_parts_add_up() -> None:
    labels, scores = np.array([0, 1, 1, 0]), np.array([[0.2], [0.3], [0.1], [0.9]], np.float32)
    usable = np.ones(2, np.bool_)
    halves = [rank_batch(labels[part], scores[part], scores[part], usable) for part in (slice(0, 2), slice(2, 4))]
    assert area_under_curve((halves[0] + halves[1]).of_float) == area(labels, scores)
