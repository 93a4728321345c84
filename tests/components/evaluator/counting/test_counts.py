"""Counts: what is right, what is wrong, and that parts add up."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from edgeproof_edge.tensors import TensorSpec
from numpy.typing import NDArray

from components.errors import DataError, ModelError
from components.evaluator.counting.counts import Counts, count_batch, worst_classes
from components.evaluator.scoring.observation import summarize
from components.evaluator.scoring.observed_rows import Watch, observe_batch


def one_hot(classes: list[int], num_classes: int) -> NDArray[np.float32]:
    return np.eye(num_classes, dtype=np.float32)[classes]


def by_hand(labels: list[int], first: NDArray[np.float32], second: NDArray[np.float32]) -> dict[str, int]:
    """The paired table, one row at a time."""
    table = {"both": 0, "only_float": 0, "only_candidate": 0, "neither": 0}
    for label, a, b in zip(labels, first, second, strict=True):
        right_a = bool(np.isfinite(a).all()) and int(np.argmax(a)) == label
        right_b = bool(np.isfinite(b).all()) and int(np.argmax(b)) == label
        table[
            "both" if right_a and right_b else "only_float" if right_a else "only_candidate" if right_b else "neither"
        ] += 1
    return table


def test_paired_table_equals_a_loop_over_rows() -> None:
    random = np.random.default_rng(1)
    labels = random.integers(0, 7, 500)
    first, second = random.normal(size=(2, 500, 7)).astype(np.float32)
    first[:50, 3], second[25:75, 0] = np.nan, np.inf
    counts, table = count_batch(labels, first, second), by_hand(labels.tolist(), first, second)
    assert table == {
        "both": counts.num_both_correct,
        "only_float": counts.num_only_float_correct,
        "only_candidate": counts.num_only_candidate_correct,
        "neither": counts.num_neither_correct,
    }
    assert (counts.num_nonfinite_float, counts.num_nonfinite_candidate) == (50, 50)
    assert counts.inconsistencies() == ()


def test_right_answers_are_counted_per_label() -> None:
    counts = count_batch(np.array([0, 0, 1, 2]), one_hot([0, 0, 1, 1], 3), one_hot([0, 1, 1, 2], 3))
    assert counts.examples_by_label == (2, 1, 1)
    assert counts.correct_float_by_label == (2, 1, 0)
    assert counts.correct_candidate_by_label == (1, 1, 1)
    assert counts.predicted_float == (2, 2, 0)
    assert counts.predicted_candidate == (1, 2, 1)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite_is_never_right(bad: float) -> None:
    scores = one_hot([0, 1], 2)
    broken = scores.copy()
    broken[1, 0] = bad
    counts = count_batch(np.array([0, 1]), scores, broken)
    assert (counts.num_correct_float, counts.num_correct_candidate, counts.num_nonfinite_candidate) == (2, 1, 1)
    assert sum(counts.predicted_candidate) == 1


@pytest.mark.parametrize("label", [-1, 3, 255])
def test_a_label_outside_the_classes_is_right_for_nobody(label: int) -> None:
    counts = count_batch(np.array([label, 2]), one_hot([0, 2], 3), one_hot([2, 2], 3))
    assert (counts.num_examples, counts.num_label_out_of_range, counts.num_correct_float) == (2, 1, 1)
    assert counts.inconsistencies() == ()


def test_a_tie_goes_to_the_lower_class() -> None:
    tie = np.array([[0.5, 0.5]], np.float32)
    assert count_batch(np.array([0]), tie, tie).num_both_correct == 1


@pytest.mark.parametrize("shape", [(4, 1), (4,)], ids=["column", "vector"])
@pytest.mark.parametrize(("threshold", "right"), [(0.5, 2), (0.0, 1), (0.95, 3)])
def test_one_unit_outputs_are_cut_at_the_threshold(shape: tuple[int, ...], threshold: float, right: int) -> None:
    scores = np.array([0.1, 0.5, 0.6, 0.9], np.float32).reshape(shape)
    counts = count_batch(np.array([0, 0, 0, 1]), scores, scores, decision_threshold=threshold)
    assert counts.num_correct_float == right
    assert counts.num_classes == 2


def test_dimensions_of_size_one_are_dropped() -> None:
    scores = one_hot([0, 1, 2], 3)
    assert count_batch(np.arange(3), scores.reshape(3, 1, 1, 3), scores.reshape(3, 1, 1, 3)).num_both_correct == 3


@pytest.mark.parametrize(
    ("first", "second", "num_classes", "reason"),
    [
        pytest.param((4, 3), (4, 2), 0, "output has shape", id="unequal-outputs"),
        pytest.param((4, 3), (3, 3), 0, "output has shape", id="unequal-rows"),
        pytest.param((4, 3), (4, 3), 5, "5 classes", id="fewer-outputs-than-classes"),
        pytest.param((4, 6), (4, 6), 5, "5 classes", id="more-outputs-than-classes"),
        pytest.param((4, 1), (4, 1), 3, "3 classes", id="one-unit-for-three-classes"),
        pytest.param((4, 8, 3), (4, 8, 3), 3, "one row of class scores", id="dense-predictions"),
    ],
)
def test_outputs_that_cannot_be_compared_are_an_error(
    first: tuple[int, ...], second: tuple[int, ...], num_classes: int, reason: str
) -> None:
    with pytest.raises(ModelError, match=reason):
        count_batch(np.zeros(4, np.int64), np.zeros(first, np.float32), np.zeros(second, np.float32), num_classes)


@pytest.mark.parametrize(
    "labels",
    [
        pytest.param(np.zeros(4), id="float"),
        pytest.param(np.zeros(3, int), id="short"),
        pytest.param(np.zeros((4, 3), int), id="one-hot"),
    ],
)
def test_labels_that_are_no_class_indices_are_an_error(labels: NDArray[np.int64]) -> None:
    with pytest.raises(DataError, match="class indices"):
        count_batch(labels, np.zeros((4, 3), np.float32), np.zeros((4, 3), np.float32))


def test_parts_add_up_to_the_whole_in_any_order() -> None:
    random = np.random.default_rng(2)
    labels = random.integers(-1, 5, 100)
    first, second = random.normal(size=(2, 100, 5))
    whole = count_batch(labels, first, second)
    parts = [count_batch(labels[s], first[s], second[s]) for s in (slice(0, 7), slice(7, 64), slice(64, 100))]
    assert Counts() + parts[0] + parts[1] + parts[2] == whole == parts[2] + parts[0] + (parts[1] + Counts())


def test_an_empty_batch_counts_nothing() -> None:
    counts = count_batch(np.zeros(0, np.int64), np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32))
    assert counts.num_examples == 0
    assert counts + counts == counts


def test_parts_with_other_numbers_of_classes_do_not_add() -> None:
    with pytest.raises(ModelError, match="2 classes and another with 3"):
        Counts(examples_by_label=(1, 1)) + Counts(examples_by_label=(1, 1, 1))


@pytest.mark.parametrize(
    "change",
    [
        {"num_examples": 3},
        {"num_correct_float": 1},
        {"num_correct_candidate": 0},
        {"num_neither_correct": -1},
        {"predicted_float": (5, 5)},
        {"examples_by_label": (1, 0)},
        {"correct_float_by_label": (2, 2)},
        {"predicted_candidate": (2,)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_numbers_that_contradict_each_other_are_named(change: dict[str, int]) -> None:
    counts = count_batch(np.array([0, 1]), one_hot([0, 1], 2), one_hot([1, 1], 2))
    assert replace(counts, **change).inconsistencies()  # type: ignore[arg-type]


def test_worst_classes_lost_most_and_have_enough_examples() -> None:
    counts = Counts(
        examples_by_label=(100, 100, 19, 100),
        correct_float_by_label=(90, 90, 19, 0),
        correct_candidate_by_label=(80, 30, 0, 0),
    )
    worst = worst_classes(counts)
    assert [result.label for result in worst] == [1, 0, 3]
    assert worst[0].kept == Fraction(1, 3)


@pytest.mark.parametrize(("top_k", "right"), [(1, 1), (2, 2), (3, 3)])
def test_top_k_counts_the_label_among_the_best(top_k: int, right: int) -> None:
    scores = np.array([[0.4, 0.3, 0.2, 0.1]] * 4, np.float32)
    counts = count_batch(np.array([0, 1, 2, 3]), scores, scores, top_k=top_k)
    assert counts.num_both_correct == right
    assert counts.inconsistencies() == ()


def test_top_k_ranks_the_lower_of_equal_scores_first() -> None:
    tie = np.full((4, 4), 0.25, np.float32)
    assert count_batch(np.array([0, 1, 2, 3]), tie, tie, top_k=2).correct_float_by_label == (1, 1, 0, 0)


def test_top_k_equals_a_sort_over_rows() -> None:
    random = np.random.default_rng(3)
    labels, scores = random.integers(0, 9, 400), random.normal(size=(400, 9)).astype(np.float32)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :3]
    expected = int((best == labels[:, None]).any(axis=1).sum())
    assert count_batch(labels, scores, scores, top_k=3).num_correct_float == expected


def test_top_k_of_all_classes_is_an_error() -> None:
    with pytest.raises(ModelError, match=r"everything would be right. Lower gate\.top_k"):
        count_batch(np.array([0]), one_hot([0], 5), one_hot([0], 5), top_k=5)


def test_a_score_of_exactly_the_threshold_is_class_1_for_the_gate_and_for_the_reference() -> None:
    scores = np.array([[0.25], [0.5], [0.75]], np.float32)
    counts = count_batch(np.array([0, 1, 1]), scores, scores)
    watch = Watch(TensorSpec("score", (-1, 1), "float32"), 0.5)
    every = np.arange(3)
    observed = observe_batch(watch, every.astype(np.uint64), {"x": scores}, scores, every, scores)
    reference = summarize(observed, watch, {}, None).reference
    assert counts.num_correct_float == 3
    assert counts.predicted_candidate == reference.predictions == (1, 2)
