"""The sample for the second kernel family: the same examples in any order, about as many as asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from components.evaluator.scoring import kernels
from components.evaluator.scoring.kernels import (
    KernelAgreement,
    affordable_sample,
    largest_difference,
    sampled_rows,
)

MODELS = Path(__file__).parents[3] / "edge" / "models"
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


def test_the_sample_is_bounded_by_the_work_that_a_row_is() -> None:
    tflite = (MODELS / "int8.tflite").read_bytes()
    assert affordable_sample(1000, tflite) == 1000
    assert affordable_sample(0, tflite) == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "WORK_BUDGET", 32 * 40.0)  # the layer is 8 x 4 multiply-adds
        assert affordable_sample(1000, tflite) == 40
        patch.setattr(kernels, "WORK_BUDGET", 1.0)
        assert affordable_sample(1000, tflite) == kernels.MIN_SAMPLE_SIZE
        assert affordable_sample(3, tflite) == 3
    assert affordable_sample(1000, b"no model") == 1000
