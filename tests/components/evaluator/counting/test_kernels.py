"""The sample for the second kernel family: the same examples in any order, about as many as asked for."""

from __future__ import annotations

import numpy as np
import pytest

from components.evaluator.counting.kernels import KernelAgreement, largest_difference, sampled_rows

KEYS = np.random.default_rng(1).integers(0, 2**64, 100_000, dtype=np.uint64)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_the_sample_is_as_large_as_asked_for(share: float) -> None:
    assert len(sampled_rows(KEYS, share)) == pytest.approx(share * len(KEYS), rel=0.1)


def test_small_keys_are_drawn_as_seldom_as_large_ones() -> None:
    assert len(sampled_rows(np.arange(100_000, dtype=np.uint64), 0.1)) == pytest.approx(10_000, rel=0.1)


def test_the_sample_does_not_depend_on_order() -> None:
    drawn = set(KEYS[sampled_rows(KEYS, 0.1)].tolist())
    assert set(KEYS[::-1][sampled_rows(KEYS[::-1], 0.1)].tolist()) == drawn


@pytest.mark.parametrize(("share", "size"), [(1.0, 100_000), (7.0, 100_000), (0.0, 0)])
def test_all_and_none(share: float, size: int) -> None:
    assert len(sampled_rows(KEYS, share)) == size


def test_parts_add_up() -> None:
    first, second = KernelAgreement(3, 2, 3, 3, 2, 0.5), KernelAgreement(2, 2, 2, 1, 1, 0.25, "it failed.")
    assert first + second == second + first == KernelAgreement(5, 4, 5, 4, 3, 0.5, "it failed.")


def test_the_largest_difference_leaves_nan_out() -> None:
    left = np.array([[0.0, 1.0], [np.nan, 2.0]], np.float32)
    assert largest_difference(left, np.array([[0.5, 1.0], [1.0, 2.25]], np.float32)) == 0.5
    assert largest_difference(left[:0], left[:0]) == 0.0
