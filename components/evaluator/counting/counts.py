"""What the gate knows about two models: integers that add up, one batch or one worker at a time.

Rules: 1. Integers only, so a sum over any number of workers is exact and in any order the same. 2. An output with a NaN
or an infinity is never right. 3. A tie goes to the lower class index, as ``argmax`` does on a device. 4. A label
outside the classes counts as an example that nobody got right. 5. "Right" is top-1, or top-k where the gate asks for it:
of equal scores the lower class indices rank first.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
from edgeproof_edge.answers import DEFAULT_DECISION_THRESHOLD, answered_classes
from numpy.typing import NDArray

from components.errors import DataError, ModelError


@dataclass(frozen=True)
class Counts:
    """Paired counts of a float model and a candidate over the same examples; ``a + b`` merges two disjoint parts.

    Attributes:
        num_examples: Examples scored.
        num_both_correct: Examples that both models got right.
        num_only_float_correct: Examples that only the float model got right.
        num_only_candidate_correct: Examples that only the candidate got right.
        num_neither_correct: Examples that both models got wrong.
        num_correct_float: Examples that the float model got right.
        num_correct_candidate: Examples that the candidate got right.
        num_nonfinite_float: Rows of the float model's output that hold a NaN or an infinity.
        num_nonfinite_candidate: The same for the candidate.
        num_label_out_of_range: Examples whose label is below 0, or not below the number of classes.
        num_clipped: Examples that the candidate's quantized inputs cut off; see ``domain.py``.
        predicted_float: Examples per class that the float model predicted; rows that are not finite predict nothing.
        predicted_candidate: The same for the candidate.
        examples_by_label: Examples per label, labels out of range left out.
        correct_float_by_label: Examples per label that the float model got right.
        correct_candidate_by_label: Examples per label that the candidate got right.
        only_float_correct_by_label: Examples per label that only the float model got right; empty in reports of before.
        decisions_lost: By class, examples of which only the float model tells rightly whether they are of the class: missed,
            or called so falsely. Empty in reports of before.
        decisions_gained: The same for the candidate.
    """

    num_examples: int = 0
    num_correct_float: int = 0
    num_correct_candidate: int = 0
    num_both_correct: int = 0
    num_only_float_correct: int = 0
    num_only_candidate_correct: int = 0
    num_neither_correct: int = 0
    num_nonfinite_float: int = 0
    num_nonfinite_candidate: int = 0
    num_label_out_of_range: int = 0
    num_clipped: int = 0
    predicted_float: tuple[int, ...] = ()
    predicted_candidate: tuple[int, ...] = ()
    examples_by_label: tuple[int, ...] = ()
    correct_float_by_label: tuple[int, ...] = ()
    correct_candidate_by_label: tuple[int, ...] = ()
    only_float_correct_by_label: tuple[int, ...] = ()
    decisions_lost: tuple[int, ...] = ()
    decisions_gained: tuple[int, ...] = ()

    #: Read by pydantic where a report carries counts.
    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    @property
    def num_classes(self) -> int:
        """Number of classes; 0 while nothing was scored."""
        return len(self.examples_by_label)

    def __add__(self, other: Counts) -> Counts:
        """Merges the counts of two disjoint parts.

        Raises:
            ModelError: The parts were scored with different numbers of classes.
        """
        if self.num_classes and other.num_classes and self.num_classes != other.num_classes:
            raise ModelError(
                f"one part of the examples was scored with {self.num_classes} classes and another with "
                f"{other.num_classes}. "
                "Every batch has to give the same number of outputs."
            )
        return Counts(**{f.name: _add(getattr(self, f.name), getattr(other, f.name)) for f in fields(self)})

    def inconsistencies(self) -> tuple[str, ...]:
        """Sentences about numbers that contradict each other; empty for counts that :func:`count_batch` made."""
        checks = {
            "the lists per class differ in length": len(
                {len(value) for f in fields(self) if isinstance(value := getattr(self, f.name), tuple) and value}
            )
            <= 1,
            "a count is negative": all(_smallest(getattr(self, f.name)) >= 0 for f in fields(self)),
            "the paired table does not add up to the examples": self.num_examples
            == self.num_both_correct
            + self.num_only_float_correct
            + self.num_only_candidate_correct
            + self.num_neither_correct,
            "the float model's right answers differ from its part of the paired table": self.num_correct_float
            == self.num_both_correct + self.num_only_float_correct,
            "the candidate's right answers differ from its part of the paired table": self.num_correct_candidate
            == self.num_both_correct + self.num_only_candidate_correct,
            "the examples per label do not add up to the examples": self.num_examples
            == sum(self.examples_by_label) + self.num_label_out_of_range,
            "the right answers per label do not add up": self.num_correct_float == sum(self.correct_float_by_label)
            and self.num_correct_candidate == sum(self.correct_candidate_by_label),
            "the predictions do not add up to the examples": self.num_examples
            == sum(self.predicted_float) + self.num_nonfinite_float
            == sum(self.predicted_candidate) + self.num_nonfinite_candidate,
        }
        return tuple(sentence for sentence, holds in checks.items() if not holds)


def _add(left: Any, right: Any) -> Any:
    if isinstance(left, int):
        return left + right
    if not left or not right:
        return left or right
    return tuple(a + b for a, b in zip(left, right, strict=True))


def _smallest(value: int | tuple[int, ...]) -> int:
    return value if isinstance(value, int) else min(value, default=0)


@dataclass(frozen=True)
class ClassResult:
    """How one class fared: examples of that label and how many each model got right."""

    label: int
    num_examples: int
    num_correct_float: int
    num_correct_candidate: int

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    @property
    def kept(self) -> Fraction:
        """Candidate's right answers over the float model's; 1 where the float model had none to lose."""
        return Fraction(self.num_correct_candidate, self.num_correct_float) if self.num_correct_float else Fraction(1)


def worst_classes(counts: Counts, minimum_examples: int = 20, limit: int = 5) -> tuple[ClassResult, ...]:
    """Classes that lost the most, by kept ratio, worst first; ones with too few examples to say anything are left out.

    Args:
        counts: Counts of both models.
        minimum_examples: Classes with fewer examples are noise: at 20 one example moves the ratio by 5 points.
        limit: How many classes to return.
    """
    columns = zip(
        counts.examples_by_label, counts.correct_float_by_label, counts.correct_candidate_by_label, strict=True
    )
    results = [ClassResult(label, *column) for label, column in enumerate(columns) if column[0] >= minimum_examples]
    return tuple(sorted(results, key=lambda result: (result.kept, result.label))[:limit])


@dataclass(frozen=True)
class Comparison:
    """Both models' answers on one batch, row by row; every array is ``[n]``.

    Attributes:
        num_classes: Number of classes.
        labels: Class indices, int64.
        in_range: Whether the label names a class.
        predicted_float: Classes that the float model gives the highest score, int64.
        predicted_candidate: The same for the candidate.
        finite_float: Rows without NaN and infinity.
        finite_candidate: The same for the candidate.
        right_float: Rows that the float model got right.
        right_candidate: The same for the candidate.
    """

    num_classes: int
    labels: NDArray[np.int64]
    in_range: NDArray[np.bool_]
    predicted_float: NDArray[np.int64]
    predicted_candidate: NDArray[np.int64]
    finite_float: NDArray[np.bool_]
    finite_candidate: NDArray[np.bool_]
    right_float: NDArray[np.bool_]
    right_candidate: NDArray[np.bool_]

    @property
    def outcomes(self) -> NDArray[np.int64]:
        """0 both right, 1 only the float model, 2 only the candidate, 3 neither."""
        return 3 - 2 * self.right_float.astype(np.int64) - self.right_candidate

    def counts(self) -> Counts:
        """The batch as integers; nothing is known about clipping here."""
        both, only_float, only_candidate, neither = _histogram(self.outcomes, 4)
        return Counts(
            num_examples=len(self.labels),
            num_correct_float=both + only_float,
            num_correct_candidate=both + only_candidate,
            num_both_correct=both,
            num_only_float_correct=only_float,
            num_only_candidate_correct=only_candidate,
            num_neither_correct=neither,
            num_nonfinite_float=_count(~self.finite_float),
            num_nonfinite_candidate=_count(~self.finite_candidate),
            num_label_out_of_range=_count(~self.in_range),
            predicted_float=_histogram(self.predicted_float[self.finite_float], self.num_classes),
            predicted_candidate=_histogram(self.predicted_candidate[self.finite_candidate], self.num_classes),
            examples_by_label=_histogram(self.labels[self.in_range], self.num_classes),
            correct_float_by_label=_histogram(self.labels[self.right_float], self.num_classes),
            correct_candidate_by_label=_histogram(self.labels[self.right_candidate], self.num_classes),
            only_float_correct_by_label=_histogram(
                self.labels[self.right_float & ~self.right_candidate], self.num_classes
            ),
            decisions_lost=self._decisions_lost(of_float=True),
            decisions_gained=self._decisions_lost(of_float=False),
        )

    def _decisions_lost(self, *, of_float: bool) -> tuple[int, ...]:
        """By class, rows of which one model tells rightly whether they are of the class, and the other does not.

        Where the answers differ, three classes can be concerned: the label, which the right model alone names, and the
        classes that the other model names falsely. Answers that are not finite name none.
        """
        mine = np.where(self.finite_float, self.predicted_float, -1)
        other = np.where(self.finite_candidate, self.predicted_candidate, -1)
        if not of_float:
            mine, other = other, mine
        usable = self.in_range & (mine != other)
        missed = self.labels[usable & (mine == self.labels)]
        false_alarms = other[usable & (other >= 0) & (other != self.labels)]
        return _histogram(np.concatenate([missed, false_alarms]), self.num_classes)


def count_batch(
    labels: NDArray[Any],
    float_output: NDArray[Any],
    candidate_output: NDArray[Any],
    num_classes: int = 0,
    decision_threshold: float = DEFAULT_DECISION_THRESHOLD,
    top_k: int = 1,
) -> Counts:
    """The counts of :func:`compare`; raises what that raises."""
    return compare(labels, float_output, candidate_output, num_classes, decision_threshold, top_k).counts()


def compare(
    labels: NDArray[Any],
    float_output: NDArray[Any],
    candidate_output: NDArray[Any],
    num_classes: int = 0,
    decision_threshold: float = DEFAULT_DECISION_THRESHOLD,
    top_k: int = 1,
) -> Comparison:
    """Compares both models' outputs with the labels of one batch.

    Args:
        labels: Class indices, integers ``[n]`` or ``[n, 1]``.
        float_output: The float model's scores ``[n, classes]``; ``[n, 1]`` or ``[n]`` for a binary model with one unit.
        candidate_output: The candidate's scores in real-world units, of the same shape.
        num_classes: Number of classes; 0 takes it from the outputs (a one-unit output means 2).
        decision_threshold: A one-unit output at or above it is class 1.
        top_k: A row is right when its label is among the classes with the ``top_k`` highest scores.

    Raises:
        DataError: The labels are not one class index per row of the outputs.
        ModelError: The outputs differ in shape, do not give one score per class, or are no more than ``top_k``.
    """
    float_scores = class_scores(float_output, "float model")
    candidate_scores = class_scores(candidate_output, "candidate")
    if float_scores.shape != candidate_scores.shape:
        raise ModelError(
            f"the float model's output has shape {list(float_output.shape)} and the candidate's "
            f"{list(candidate_output.shape)}; "
            "the gate compares models with equal outputs. Convert the same SavedModel that is the baseline."
        )
    truth = _labels(labels, len(float_scores))
    width = _num_classes(float_scores.shape[1], num_classes)
    if not 1 <= top_k < width:
        raise ModelError(
            f"the gate counts an answer as right among the {top_k} best, and the models tell {width} classes apart: "
            "everything would be right. Lower gate.top_k."
        )
    in_range = (truth >= 0) & (truth < width)
    predicted_float, finite_float = predict_classes(float_scores, decision_threshold)
    predicted_candidate, finite_candidate = predict_classes(candidate_scores, decision_threshold)
    return Comparison(
        num_classes=width,
        labels=truth,
        in_range=in_range,
        predicted_float=predicted_float,
        predicted_candidate=predicted_candidate,
        finite_float=finite_float,
        finite_candidate=finite_candidate,
        right_float=in_range & finite_float & _is_right(predicted_float, float_scores, truth, in_range, top_k),
        right_candidate=in_range
        & finite_candidate
        & _is_right(predicted_candidate, candidate_scores, truth, in_range, top_k),
    )


def _is_right(
    predicted: NDArray[np.int64],
    scores: NDArray[Any],
    truth: NDArray[np.int64],
    in_range: NDArray[np.bool_],
    top_k: int,
) -> NDArray[np.bool_]:
    if top_k == 1:
        return np.asarray(predicted == truth, np.bool_)
    labels = np.where(in_range, truth, 0)[:, None]
    of_label = np.take_along_axis(scores, labels, axis=1)
    ahead = (scores > of_label) | ((scores == of_label) & (np.arange(scores.shape[1]) < labels))
    return np.asarray(ahead.sum(axis=1) < top_k, np.bool_)


def class_scores(output: NDArray[Any], whose: str) -> NDArray[Any]:
    """``[n, classes]``, or ``[n, 1]`` for one unit; dimensions of size one in between are dropped."""
    if output.dtype.kind not in "fiu" or output.ndim == 0:
        raise ModelError(
            f"the {whose} gives {output.dtype} of shape {list(output.shape)}; the gate needs numeric scores [n, "
            "classes]."
        )
    if output.ndim > 2 and any(size != 1 for size in output.shape[1:-1]):
        raise ModelError(
            f"the {whose} gives an output of shape {list(output.shape)}; the gate compares one row of class scores "
            "per example, "
            "[n, classes]. Export a signature whose output is the class scores."
        )
    return output.reshape(len(output), output.shape[-1] if output.ndim > 1 else 1)


def _labels(labels: NDArray[Any], num_rows: int) -> NDArray[np.int64]:
    flat = labels.reshape(-1) if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if flat.dtype.kind not in "iu" or flat.shape != (num_rows,):
        raise DataError(
            f"labels are {labels.dtype} of shape {list(labels.shape)}; {num_rows} rows need integer class indices of "
            f"shape [{num_rows}]."
        )
    return flat.astype(np.int64)


def _num_classes(num_outputs: int, num_classes: int) -> int:
    from_outputs = 2 if num_outputs == 1 else num_outputs
    if num_classes not in (0, from_outputs):
        raise ModelError(
            f"the models give {num_outputs} output(s) per example and the data has {num_classes} classes; "
            "every class needs its own score (a single unit serves two classes). Check the class names and the "
            "model's last layer."
        )
    return from_outputs


def predict_classes(scores: NDArray[Any], decision_threshold: float) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The class of every row of scores ``[n, classes]``, and which rows are finite."""
    finite = np.isfinite(scores).all(axis=1)
    return answered_classes(scores, decision_threshold), finite


def _count(mask: NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(mask))


def _histogram(classes: NDArray[np.int64], num_classes: int) -> tuple[int, ...]:
    return tuple(np.bincount(classes, minlength=num_classes).tolist())
