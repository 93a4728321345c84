"""Outputs that are not judged are compared with float's all the same, exactly and in any order."""

from __future__ import annotations

import numpy as np
import pytest

from components.evaluator.counting.other_outputs import compare_others

RANDOM = np.random.default_rng(2)
BOXES = RANDOM.normal(100, 20, (500, 4))
OTHER = BOXES + RANDOM.normal(0, 2, BOXES.shape)


def test_the_difference_equals_its_definition() -> None:
    outputs = {"boxes": BOXES, "scores": BOXES[:, :1]}
    others = compare_others(outputs, {"boxes": OTHER, "scores": BOXES[:, :1]}, "scores")
    assert list(others) == ["boxes"]
    assert others["boxes"].difference == pytest.approx(np.sqrt(((BOXES - OTHER) ** 2).mean()))
    assert others["boxes"].share_of_spread == pytest.approx(np.sqrt(((BOXES - OTHER) ** 2).mean()) / BOXES.std())


def test_parts_add_up_and_rows_that_are_not_finite_are_counted() -> None:
    spoilt = OTHER.copy()
    spoilt[7, 1] = np.nan
    whole = compare_others({"boxes": BOXES}, {"boxes": spoilt}, "")["boxes"]
    parts = [
        compare_others({"boxes": BOXES[rows]}, {"boxes": spoilt[rows]}, "")["boxes"]
        for rows in (slice(0, 99), slice(99, None))
    ]
    assert parts[1] + parts[0] == whole
    assert (whole.num_examples, whole.num_nonfinite) == (500, 1)


def test_outputs_of_one_model_only_are_left_out() -> None:
    assert compare_others({"a": BOXES, "b": BOXES}, {"a": BOXES[:, :2], "c": BOXES}, "") == {}
