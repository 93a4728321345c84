"""What the gate knows about two models: integers that add up, one batch or one worker at a time.

Rules: 1. Integers only, so a sum over any number of workers is exact and in any order the same. 2. An output with a NaN
or an infinity is never right. 3. A tie goes to the lower class index, as ``argmax`` does on a device. 4. A label
outside the classes counts as an example that nobody got right.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from components.errors import DataError, ModelError

#: A one-unit (binary) output above this is class 1. 0.5 fits a sigmoid; a model that gives logits needs 0.
DEFAULT_DECISION_THRESHOLD = 0.5


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
                {len(value) for f in fields(self) if isinstance(value := getattr(self, f.name), tuple)}
            )
            == 1,
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

    def to_json(self) -> str:
        """The counts as one line of JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Counts:
        """Reads what :meth:`to_json` wrote.

        Raises:
            DataError: A field is missing, unknown, or not an integer.
        """
        try:
            return cls(**_integers(json.loads(text)))
        except (TypeError, ValueError) as error:
            raise DataError(f"these are not evaluation counts: {error}") from error


def _add(left: Any, right: Any) -> Any:
    if isinstance(left, int):
        return left + right
    if not left or not right:
        return left or right
    return tuple(a + b for a, b in zip(left, right, strict=True))


def _smallest(value: int | tuple[int, ...]) -> int:
    return value if isinstance(value, int) else min(value, default=0)


def _integers(record: Mapping[str, Any]) -> dict[str, Any]:
    names = {f.name for f in fields(Counts)}
    if set(record) != names:
        raise ValueError(f"fields {sorted(names.symmetric_difference(record))} are missing or unknown")
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in record.items()}
    for name, value in values.items():
        if any(type(number) is not int for number in (value if isinstance(value, tuple) else (value,))):
            raise ValueError(f"{name} is {value!r}, not whole numbers")
    return values


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


def count_batch(
    labels: NDArray[Any],
    float_output: NDArray[Any],
    candidate_output: NDArray[Any],
    num_classes: int = 0,
    decision_threshold: float = DEFAULT_DECISION_THRESHOLD,
) -> Counts:
    """Compares both models' outputs with the labels of one batch.

    Args:
        labels: Class indices, integers ``[n]`` or ``[n, 1]``.
        float_output: The float model's scores ``[n, classes]``; ``[n, 1]`` or ``[n]`` for a binary model with one unit.
        candidate_output: The candidate's scores in real-world units, of the same shape.
        num_classes: Number of classes; 0 takes it from the outputs (a one-unit output means 2).
        decision_threshold: A one-unit output above it is class 1.

    Raises:
        DataError: The labels are not one class index per row of the outputs.
        ModelError: The outputs differ in shape, or do not give one score per class.
    """
    float_scores = _scores(float_output, "float model")
    candidate_scores = _scores(candidate_output, "candidate")
    if float_scores.shape != candidate_scores.shape:
        raise ModelError(
            f"the float model's output has shape {list(float_output.shape)} and the candidate's "
            f"{list(candidate_output.shape)}; "
            "the gate compares models with equal outputs. Convert the same SavedModel that is the baseline."
        )
    truth = _labels(labels, len(float_scores))
    width = _num_classes(float_scores.shape[1], num_classes)
    in_range = (truth >= 0) & (truth < width)
    predicted_float, finite_float = _predict(float_scores, decision_threshold)
    predicted_candidate, finite_candidate = _predict(candidate_scores, decision_threshold)
    right_float = in_range & finite_float & (predicted_float == truth)
    right_candidate = in_range & finite_candidate & (predicted_candidate == truth)
    return Counts(
        num_examples=len(truth),
        num_correct_float=_count(right_float),
        num_correct_candidate=_count(right_candidate),
        num_both_correct=_count(right_float & right_candidate),
        num_only_float_correct=_count(right_float & ~right_candidate),
        num_only_candidate_correct=_count(right_candidate & ~right_float),
        num_neither_correct=_count(~right_float & ~right_candidate),
        num_nonfinite_float=_count(~finite_float),
        num_nonfinite_candidate=_count(~finite_candidate),
        num_label_out_of_range=_count(~in_range),
        predicted_float=_histogram(predicted_float[finite_float], width),
        predicted_candidate=_histogram(predicted_candidate[finite_candidate], width),
        examples_by_label=_histogram(truth[in_range], width),
        correct_float_by_label=_histogram(truth[right_float], width),
        correct_candidate_by_label=_histogram(truth[right_candidate], width),
    )


def _scores(output: NDArray[Any], whose: str) -> NDArray[Any]:
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


def _predict(scores: NDArray[Any], decision_threshold: float) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    finite = np.isfinite(scores).all(axis=1)
    classes = scores[:, 0] > decision_threshold if scores.shape[1] == 1 else scores.argmax(axis=1)
    return classes.astype(np.int64), finite


def _count(mask: NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(mask))


def _histogram(classes: NDArray[np.int64], num_classes: int) -> tuple[int, ...]:
    return tuple(np.bincount(classes, minlength=num_classes).tolist())
