"""What a careful person would want to know of an accepted model: notes, never refusals.

Rules: 1. A note says what was counted, not what might be. 2. What is compared with an earlier run are the figures of both
reports; a difference that chance explains is no note.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from components.evaluator.counting.class_statistics import ClassStatistics
from components.evaluator.gate.evidence import Evidence
from components.evaluator.gate.rule import CHANCE_SIGMAS, percent
from components.evaluator.measurements.classes import luck, lucky_ratio
from components.evaluator.report.gate_report import GateReport

#: Chance to pass by luck from which it is worth a note.
LEAST_LUCK = 0.05
#: Training against holdout: a smaller gap is usual.
LEAST_GAP = 0.05
#: Points of a hundred by which a class's share has to move to be noted.
LEAST_SHARE = 0.05
#: Classes that a note names.
_NAMED = 3


def notes_on(evidence: Evidence, training_accuracy: float | None = None) -> tuple[str, ...]:
    """Notes on one verdict by itself.

    Args:
        evidence: What was judged.
        training_accuracy: Of the float model on the examples that it was trained on, where the training kept it.
    """
    return (*_luck(evidence), *_overfitting(evidence, training_accuracy))


def _overfitting(evidence: Evidence, training_accuracy: float | None) -> list[str]:
    """The float model is right far more often on what it was trained on than on the holdout."""
    counts = evidence.counts
    if training_accuracy is None or not counts.num_examples:
        return []
    held_out = counts.num_correct_float / counts.num_examples
    deviation = math.sqrt(max(held_out * (1 - held_out), 1e-9) / counts.num_examples)
    if training_accuracy - held_out < max(LEAST_GAP, CHANCE_SIGMAS * deviation):
        return []
    return [
        f"the float model is right for {100 * training_accuracy:.1f} % of its training examples and for {100 * held_out:.1f} % of "
        "the holdout: it knows the former by heart, or the holdout is of another kind"
    ]


def _luck(evidence: Evidence) -> list[str]:
    """A model a little below the rule would often pass on so few examples."""
    whole, rules = evidence.whole, evidence.rules
    if not isinstance(whole, ClassStatistics) or not evidence.measurement.chance_to_pass(whole, rules):
        return []
    chance = luck(whole.counts, rules)
    if chance < LEAST_LUCK:
        return []
    return [
        f"{whole.num_examples} examples are few: a model that truly keeps {percent(lucky_ratio(rules))} would pass on them with a "
        f"chance of {100 * chance:.1f} %; gate.confidence asks for more certainty"
    ]


def notes_since(previous: GateReport, current: GateReport) -> tuple[str, ...]:
    """Notes on what moved since an earlier verdict, such as that of the last run."""
    return (*_moved_classes(previous, current), *_worse(previous, current))


def _moved_classes(previous: GateReport, current: GateReport) -> list[str]:
    if previous.counts is None or current.counts is None or previous.class_names != current.class_names:
        return []
    before, after = previous.counts.examples_by_label, current.counts.examples_by_label
    if len(before) != len(after) or not sum(before) or not sum(after):
        return []
    moved = [
        (abs(b / sum(before) - a / sum(after)), label, b / sum(before), a / sum(after))
        for label, (b, a) in enumerate(zip(before, after, strict=True))
        if abs(b / sum(before) - a / sum(after)) >= LEAST_SHARE and _differ(b, sum(before), a, sum(after))
    ]
    shown = [
        f"{_name(current.class_names, label)} from {100 * share:.1f} % to {100 * now:.1f} %"
        for _, label, share, now in sorted(moved, key=lambda move: (-round(move[0], 6), move[1]))[:_NAMED]
    ]
    return [f"the classes of the holdout moved since the last run: {', '.join(shown)}"] if shown else []


def _worse(previous: GateReport, current: GateReport) -> list[str]:
    """Whether the edge model is right less often than the last one was; the holdouts may differ."""
    before, after = previous.counts, current.counts
    if before is None or after is None or not before.num_examples or not after.num_examples:
        return []
    shares = [counts.num_correct_candidate / counts.num_examples for counts in (before, after)]
    pairs = (before.num_correct_candidate, before.num_examples, after.num_correct_candidate, after.num_examples)
    if shares[1] >= shares[0] or not _differ(*pairs):
        return []
    return [
        f"the edge model is right for {100 * shares[1]:.2f} % of the holdout, the last run's was for {100 * shares[0]:.2f} %; "
        "gate.champion_min_ratio refuses a model that is worse on the same examples"
    ]


def _differ(first: int, of_first: int, second: int, of_second: int) -> bool:
    """Whether two shares differ by more than chance explains: three standard deviations."""
    pooled = (first + second) / (of_first + of_second)
    deviation = math.sqrt(pooled * (1 - pooled) * (1 / of_first + 1 / of_second))
    return abs(first / of_first - second / of_second) > CHANCE_SIGMAS * deviation


def _name(class_names: Sequence[str], label: int) -> str:
    return class_names[label] if label < len(class_names) else f"class {label}"
