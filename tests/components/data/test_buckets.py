"""Buckets of a number and the quantiles that cut one."""

from __future__ import annotations

import numpy as np
import pytest

from components.data.buckets import bucket_names, bucket_positions, quantile_edges


def test_an_edge_belongs_to_the_bucket_above_it_and_nan_to_none() -> None:
    assert bucket_names([1.5, 2]) == ("[-inf, 1.5)", "[1.5, 2)", "[2, inf)")
    assert bucket_positions([0, 1.5, 1.9, 2, np.inf, np.nan], [1.5, 2]).tolist() == [0, 1, 1, 2, 2, 3]


@pytest.mark.parametrize(
    ("values", "edges"),
    [
        pytest.param(range(101), (25.0, 50.0, 75.0), id="even"),
        pytest.param([0.0] * 60 + list(range(1, 41)), (15.2,), id="the-lowest-value-is-no-edge"),
        pytest.param([7.0] * 9, (), id="constant"),
        pytest.param([1000 + number / 300 for number in range(301)], (1000.25, 1000.5, 1000.75), id="far-from-zero"),
        pytest.param([number * 1.2345e-6 for number in range(101)], (3.1e-5, 6.2e-5, 9.3e-5), id="tiny"),
        pytest.param([], (), id="nothing"),
        pytest.param([np.nan, np.inf, 1.0, 3.0], (1.5, 2.0, 2.5), id="only-finite-numbers-count"),
    ],
)
def test_quarters(values: list[float], edges: tuple[float, ...]) -> None:
    assert quantile_edges(list(values), 4) == pytest.approx(edges)


def test_quarters_of_a_histogram_lie_between_its_edges() -> None:
    assert quantile_edges([0.0, 10.0, 20.0], 4, [0.0, 0.5, 1.0]) == (5.0, 10.0, 15.0)
