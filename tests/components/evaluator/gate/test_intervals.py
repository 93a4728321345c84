"""Intervals: against simulations, and where nothing separates the models."""

from __future__ import annotations

import numpy as np
import pytest

from components.evaluator.counting.counts import Counts
from components.evaluator.gate.intervals import chance_of_passing, paired_ratio_interval


def paired(both: int, only_float: int, only_candidate: int, neither: int) -> Counts:
    return Counts(
        num_examples=both + only_float + only_candidate + neither,
        num_correct_float=both + only_float,
        num_correct_candidate=both + only_candidate,
        num_both_correct=both,
        num_only_float_correct=only_float,
        num_only_candidate_correct=only_candidate,
        num_neither_correct=neither,
    )


def test_interval_equals_a_paired_bootstrap_on_many_examples() -> None:
    interval = paired_ratio_interval(paired(6_900, 2_500, 200, 400))
    draws = np.random.default_rng(3).multinomial(10_000, [0.69, 0.25, 0.02, 0.04], 20_000)
    lower, upper = np.quantile((draws[:, 0] + draws[:, 2]) / (draws[:, 0] + draws[:, 1]), [0.025, 0.975])
    assert interval is not None
    assert interval.upper is not None
    assert interval.lower == pytest.approx(lower, abs=5e-4)
    assert interval.upper == pytest.approx(upper, abs=5e-4)


@pytest.mark.parametrize("num_examples", [100, 500, 2_000])
def test_interval_holds_its_level(num_examples: int) -> None:
    shares, truth = [0.90, 0.03, 0.02, 0.05], 0.92 / 0.93
    hits = 0
    for row in np.random.default_rng(4).multinomial(num_examples, shares, 1_000).tolist():
        interval = paired_ratio_interval(paired(*row))
        assert interval is not None
        assert interval.upper is not None
        hits += interval.lower <= truth <= interval.upper
    assert hits >= 930


def test_equal_answers_still_have_a_width() -> None:
    interval = paired_ratio_interval(paired(100, 0, 0, 0))
    assert interval is not None
    assert interval.upper is not None
    assert interval.lower < 1 < interval.upper


@pytest.mark.parametrize(
    ("counts", "bounds"),
    [
        pytest.param(paired(0, 0, 0, 10), None, id="nobody-right"),
        pytest.param(Counts(), None, id="nothing-scored"),
        pytest.param(paired(0, 50, 0, 0), (0.0, None), id="candidate-never-right"),
        pytest.param(paired(0, 0, 50, 0), (None, None), id="float-never-right"),
    ],
)
def test_extremes_have_an_interval_or_none(counts: Counts, bounds: tuple[float | None, ...] | None) -> None:
    interval = paired_ratio_interval(counts)
    assert (interval is None) == (bounds is None)
    if interval is not None and bounds is not None and bounds[0] is not None:
        assert interval.lower == bounds[0]


@pytest.mark.parametrize(("num_examples", "simulated"), [(200, 0.169), (500, 0.072), (2_000, 0.001), (10_000, 0.0)])
def test_chance_of_luck_agrees_with_the_paired_simulation(num_examples: int, simulated: float) -> None:
    assert chance_of_passing(num_examples, 0.95, 0.97, 0.94) == pytest.approx(simulated, abs=0.012)


def test_without_examples_anything_passes() -> None:
    assert chance_of_passing(0, 0.95, 0.97, 0.94) == 1.0
