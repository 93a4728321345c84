"""Classes on the page: accuracy of each, which answers are mixed up, what quantization changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from components.evaluator.page.charts import Chart, bar_chart, stacked_chart
from components.evaluator.page.flips import class_name
from components.evaluator.page.slices import MAX_ROWS
from components.evaluator.report.gate_report import GateReport

#: Classes up to which a whole confusion matrix is readable.
MAX_MATRIX_CLASSES = 20
MAX_CHANGES = 12
#: Classes in the table; the gate report holds all of them.
MAX_CLASSES = 1_000


@dataclass(frozen=True)
class ClassRow:
    """One class on the holdout; ``num_train`` is None where nobody counted."""

    name: str
    num_train: int | None
    num_examples: int
    num_correct_float: int
    num_correct_candidate: int

    @property
    def accuracy_float(self) -> float:
        """Share of right answers of the float model."""
        return self.num_correct_float / self.num_examples

    @property
    def accuracy_candidate(self) -> float:
        """The same of the candidate."""
        return self.num_correct_candidate / self.num_examples

    @property
    def difference(self) -> int:
        """Right answers of the candidate more than float's."""
        return self.num_correct_candidate - self.num_correct_float


def class_rows(gate: GateReport, num_train: Sequence[int] = ()) -> tuple[ClassRow, ...]:
    """Every class of which the holdout has examples, the one with the fewest right answers of the candidate first."""
    counts = gate.counts
    if counts is None:
        return ()
    columns = (counts.examples_by_label, counts.correct_float_by_label, counts.correct_candidate_by_label)
    rows = [
        ClassRow(
            class_name(label, gate.class_names), num_train[label] if label < len(num_train) else None, total, *right
        )
        for label, (total, *right) in enumerate(zip(*columns, strict=True))
        if total
    ]
    return tuple(sorted(rows, key=lambda row: row.accuracy_candidate))


def missing_classes(gate: GateReport) -> tuple[str, ...]:
    """Classes without an example in the holdout."""
    totals = gate.counts.examples_by_label if gate.counts is not None else ()
    return tuple(class_name(label, gate.class_names) for label, total in enumerate(totals) if not total)


def mistakes_chart(gate: GateReport) -> Chart | None:
    """How many examples each model gets wrong, and how many of them the other does, too."""
    counts = gate.counts
    if counts is None or not counts.num_examples:
        return None
    neither = counts.num_neither_correct
    parts = {
        "both models wrong": [neither, neither],
        "only this one wrong": [counts.num_only_candidate_correct, counts.num_only_float_correct],
    }
    return stacked_chart("mistakes", "Mistakes of both models", ["float", gate.candidate.name], parts, "")


def lost_classes_chart(gate: GateReport) -> Chart | None:
    """Both models' accuracy of the classes that lost most."""
    rows = [row for row in class_rows(gate) if row.difference < 0]
    worst = sorted(rows, key=lambda row: row.accuracy_candidate - row.accuracy_float)[:MAX_ROWS]
    if not worst:
        return None
    series = {
        "float": [100 * row.accuracy_float for row in worst],
        gate.candidate.name: [100 * row.accuracy_candidate for row in worst],
    }
    return bar_chart("classes", "Accuracy per class", [row.name for row in worst], series, " %")


def confusion_matrix(gate: GateReport) -> dict[str, Any] | None:
    """How often the candidate gives an answer, ``[label][answer]``, with its share of the label's examples."""
    if gate.confusion is None or not 0 < len(gate.confusion.candidate) <= MAX_MATRIX_CLASSES:
        return None
    rows = gate.confusion.candidate
    return {
        "names": _names(len(rows), gate.class_names),
        "rows": [
            [
                {"value": value, "share": round(value / max(1, sum(row)), 3), "is_right": label == answer}
                for answer, value in enumerate(row)
            ]
            for label, row in enumerate(rows)
        ],
    }


def commonest_confusions(gate: GateReport) -> list[dict[str, Any]]:
    """Which wrong answers the candidate gives most often, where there are too many classes for a matrix."""
    if gate.confusion is None or len(gate.confusion.candidate) <= MAX_MATRIX_CLASSES:
        return []
    wrong = [
        (value, label, answer, sum(row))
        for label, row in enumerate(gate.confusion.candidate)
        for answer, value in enumerate(row)
        if value and label != answer
    ]
    return [
        {
            "label": class_name(label, gate.class_names),
            "answer": class_name(answer, gate.class_names),
            "num_examples": value,
            "num_of_label": total,
        }
        for value, label, answer, total in sorted(wrong, key=lambda entry: (-entry[0], *entry[1:]))[:MAX_ROWS]
    ]


def confusion_difference(gate: GateReport) -> dict[str, Any] | None:
    """How often the candidate gives an answer more (or less) often than float, ``[label][answer]``, with its share of the largest."""
    confusion = gate.confusion
    if confusion is None or not 0 < len(confusion.float_model) <= MAX_MATRIX_CLASSES:
        return None
    matrices = (confusion.float_model, confusion.candidate)
    differences = [[right - left for left, right in zip(*rows, strict=True)] for rows in zip(*matrices, strict=True)]
    if not any(value for row in differences for value in row):
        return None
    largest = max(abs(value) for row in differences for value in row)
    return {
        "names": _names(len(differences), gate.class_names),
        "rows": [
            [
                {"value": value, "share": round(abs(value) / largest, 3), "is_worse": (value > 0) != (label == answer)}
                for answer, value in enumerate(row)
            ]
            for label, row in enumerate(differences)
        ],
    }


def commonest_changes(gate: GateReport) -> list[dict[str, Any]]:
    """Which answers quantization changed most often."""
    names = gate.class_names
    return [
        {
            "num_examples": change.num_examples,
            "is_loss": change.float_answer == change.label,
            "is_gain": change.candidate_answer == change.label,
            "label": class_name(change.label, names),
            "float_answer": class_name(change.float_answer, names),
            "candidate_answer": class_name(change.candidate_answer, names),
        }
        for change in gate.changes[:MAX_CHANGES]
    ]


def _names(number: int, class_names: Sequence[str]) -> list[str]:
    return [class_name(label, class_names) for label in range(number)]
