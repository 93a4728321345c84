"""Sums of errors: exact in any order, and the same as plain NumPy."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from components.errors import DataError, ModelError
from components.evaluator.counting.deviations import (
    UNIT_BITS,
    Deviations,
    compare_numbers,
    exact_sum,
    ratio_bounds,
    slice_deviations,
)


def drawn(num_rows: int, noise: float = 0.1, seed: int = 4) -> tuple[NDArray[np.float32], ...]:
    """Labels, a float model's answers and a candidate's."""
    random = np.random.default_rng(seed)
    labels = random.normal(50, 10, num_rows).astype(np.float32)
    of_float = (labels + random.normal(0, 1, num_rows)).astype(np.float32)
    return labels, of_float[:, None], (of_float + random.normal(0, noise, num_rows).astype(np.float32))[:, None]


def unclipped(num_rows: int) -> NDArray[np.bool_]:
    return np.zeros(num_rows, np.bool_)


@pytest.mark.parametrize("values", [[0.1] * 10, [1e300, 1.0, -1e300], [5e-324, -3.5, 2**-1060], [0.0, -0.0], []])
def test_a_sum_is_exact(values: list[float]) -> None:
    expected = sum((Fraction(value) for value in values), Fraction(0))
    assert Fraction(exact_sum(np.array(values, np.float64)), 1 << UNIT_BITS) == expected


def test_errors_equal_plain_numpy() -> None:
    labels, of_float, of_candidate = drawn(3000)
    found = compare_numbers(labels, of_float, of_candidate, unclipped(3000))
    for kind, power in (("absolute", 1), ("squared", 2)):
        for which, output in (("float", of_float), ("candidate", of_candidate)):
            expected = (np.abs(output[:, 0].astype(np.float64) - labels) ** power).mean()
            mean = found.mean(f"{kind}_{which}")
            assert mean is not None
            assert float(mean) == pytest.approx(expected, rel=1e-12)


def test_parts_add_up_in_any_order_to_the_last_bit() -> None:
    arrays = drawn(1000)
    whole = compare_numbers(*arrays, unclipped(1000))
    for cuts in ([0, 1, 1000], [0, 333, 400, 1000]):
        parts = [compare_numbers(*(array[a:b] for array in arrays), unclipped(b - a)) for a, b in pairwise(cuts)]
        assert sum(reversed(parts), Deviations()) == whole


@pytest.mark.parametrize("shape", [(6,), (6, 1)])
def test_several_outputs_are_averaged_per_example(shape: tuple[int, ...]) -> None:
    labels = np.zeros((2, 3))
    found = compare_numbers(labels, np.full((2, 3), 2.0), np.array([[1.0, 2, 3], [4, 5, 6]]), unclipped(2))
    assert (found.mean("absolute_float"), found.mean("absolute_candidate")) == (2, Fraction(7, 2))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_counted_and_in_no_sum(bad: float) -> None:
    labels, of_float, of_candidate = drawn(10)
    of_candidate[3] = bad
    found = compare_numbers(labels, of_float, of_candidate, unclipped(10))
    assert (found.num_examples, found.num_nonfinite_candidate, found.num_nonfinite_float) == (10, 1, 0)
    rest = np.arange(10) != 3
    assert (
        found.absolute_float
        == compare_numbers(labels[rest], of_float[rest], of_candidate[rest], unclipped(9)).absolute_float
    )


def test_outputs_of_other_shapes_are_an_error() -> None:
    with pytest.raises(ModelError, match="compares models with equal outputs"):
        compare_numbers(np.zeros(2), np.zeros((2, 1)), np.zeros((2, 2)), unclipped(2))
    with pytest.raises(DataError, match="needs its true value"):
        compare_numbers(np.zeros(2), np.zeros((2, 3)), np.zeros((2, 3)), unclipped(2))


def test_slices_add_up_to_the_whole() -> None:
    arrays, rows = drawn(100), np.arange(100) % 3
    parts = slice_deviations(*arrays, unclipped(100), rows, 3)
    assert [part.num_examples for part in parts] == [34, 33, 33]
    assert sum(parts, Deviations()) == compare_numbers(*arrays, unclipped(100))


@pytest.mark.parametrize("kind", ["absolute", "squared"])
def test_the_bound_of_the_ratio_covers_as_often_as_it_says(kind: str) -> None:
    """One-sided 95 %: over 400 draws the true ratio lies above the upper bound in 5 % (2 % to 9 % is within luck)."""
    truth = ratio_bounds(compare_numbers(*drawn(200_000, 1.0, seed=99), unclipped(200_000)), kind, 0.5)
    assert truth is not None
    misses = 0
    for seed in range(400):
        bounds = ratio_bounds(compare_numbers(*drawn(300, 1.0, seed), unclipped(300)), kind, 0.95)
        assert bounds is not None
        assert bounds[1] is not None
        misses += bounds[1] < truth[0]
    assert 8 <= misses <= 36


def test_no_error_to_divide_by_is_no_bound() -> None:
    labels = np.arange(10.0)
    assert ratio_bounds(compare_numbers(labels, labels, labels + 1, unclipped(10)), "absolute", 0.95) is None
    assert ratio_bounds(Deviations(), "absolute", 0.95) is None
