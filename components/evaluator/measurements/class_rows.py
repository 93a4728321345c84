"""What class scores give the report: rows of plain numbers, worst first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

from components.evaluator.counting.class_statistics import MAX_CONFUSION_CLASSES, ClassStatistics
from components.evaluator.counting.counts import Counts
from components.evaluator.counting.slices import PairedCounts, SliceKey
from components.evaluator.counting.tally import Tally
from components.evaluator.gate.figure import Figure
from components.evaluator.gate.rule import (
    decimal,
)
from components.evaluator.gate.thresholds import GateRules
from components.evaluator.report.gate_report import (
    ChangeRecord,
    ConfusionRecord,
    MetricRecord,
    MistakesRecord,
    RatioRecord,
    SliceRecord,
)

#: Changes of an answer that the report lists.
MAX_CHANGES = 50


def metric_record(figure: Figure, required: Fraction) -> MetricRecord:
    """A figure as the report has it."""
    return MetricRecord(
        name=figure.key,
        title=figure.title,
        float_value=figure.text(figure.of_float),
        candidate_value=figure.text(figure.of_candidate),
        ratio=None if figure.ratio is None else decimal(figure.ratio, 6),
        required=str(required),
    )


def ratio_record(counts: Counts, rules: GateRules) -> RatioRecord | None:
    """Right answers kept, as a part and a whole; None where there is nothing to keep."""
    if counts.num_correct_float <= 0:
        return None
    return RatioRecord(
        num_correct_candidate=counts.num_correct_candidate,
        num_correct_float=counts.num_correct_float,
        decimal=decimal(Fraction(counts.num_correct_candidate, counts.num_correct_float), 6),
        minimum=str(rules.min_ratio),
    )


def mistakes_record(counts: Counts) -> MistakesRecord:
    """Wrong answers of both, and the factor between."""
    of_float = counts.num_examples - counts.num_correct_float
    of_candidate = counts.num_examples - counts.num_correct_candidate
    factor = f"{of_candidate / of_float:.1f}" if of_float else None
    return MistakesRecord(num_float=of_float, num_candidate=of_candidate, factor=factor)


def slice_records(tally: Tally) -> tuple[SliceRecord, ...]:
    """Every slice, by name, worst first."""
    slices: Mapping[SliceKey, PairedCounts] = tally.slices

    def worst_first(item: tuple[SliceKey, PairedCounts]) -> tuple[str, Fraction, str]:
        key, part = item
        return key.name, part.kept if part.kept is not None else Fraction(-1), key.value

    return tuple(
        SliceRecord(
            name=key.name,
            value=key.value,
            num_examples=part.num_examples,
            num_correct_float=part.num_correct_float,
            num_correct_candidate=part.num_correct_candidate,
            num_only_float_correct=part.num_only_float_correct,
            num_only_candidate_correct=part.num_only_candidate_correct,
            num_clipped=part.num_clipped,
            ratio=None if part.kept is None else decimal(part.kept, 6),
        )
        for key, part in sorted(slices.items(), key=worst_first)
    )


def confusion_record(statistics: ClassStatistics) -> ConfusionRecord | None:
    """Both confusion matrices ``[label][answer]``; None where there are too many classes to show."""
    size = statistics.counts.num_classes
    if not 0 < size <= MAX_CONFUSION_CLASSES:
        return None
    tables = {name: [[0] * size for _ in range(size)] for name in ("float_model", "candidate")}
    for (label, of_float, of_candidate), number in statistics.confusion.items():
        tables["float_model"][label][of_float] += number
        tables["candidate"][label][of_candidate] += number
    return ConfusionRecord(**{name: tuple(map(tuple, table)) for name, table in tables.items()})


def change_records(statistics: ClassStatistics) -> tuple[ChangeRecord, ...]:
    """The commonest changes of an answer."""
    changed = [(cell, number) for cell, number in statistics.confusion.items() if cell[1] != cell[2]]
    commonest = sorted(changed, key=lambda item: (-item[1], item[0]))[:MAX_CHANGES]
    return tuple(
        ChangeRecord(label=label, float_answer=of_float, candidate_answer=of_candidate, num_examples=number)
        for (label, of_float, of_candidate), number in commonest
    )


def class_parts(counts: Counts, class_names: Sequence[str]) -> dict[SliceKey, PairedCounts]:
    """The classes as slices; how right answers overlap in them matters to no ratio."""
    parts: dict[SliceKey, PairedCounts] = {}
    columns = (counts.examples_by_label, counts.correct_float_by_label, counts.correct_candidate_by_label)
    for label, (total, right_float, right_candidate) in enumerate(zip(*columns, strict=True)):
        both = min(right_float, right_candidate)
        neither = total - right_float - right_candidate + both
        name = class_names[label] if label < len(class_names) else str(label)
        parts[SliceKey("class", name)] = PairedCounts(both, right_float - both, right_candidate - both, neither)
    return parts
