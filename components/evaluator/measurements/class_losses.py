"""What accuracy hides of classes: a candidate that answers one class for all, and a class that it lost.

Rules: 1. Chance is told by an exact test on the pairs. 2. A class that is rare weighs nothing in accuracy, so it is held to the
ratio itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from components.evaluator.counting.class_statistics import ClassStatistics
from components.evaluator.counting.counts import Counts
from components.evaluator.gate.rule import (
    SOURCE_COLLAPSE,
    SOURCE_PAIRS,
    RuleName,
    RuleResult,
    percent,
)
from components.evaluator.gate.thresholds import GateRules
from components.exact_tests import LOST_SHARE, PairedLoss, beyond_chance, is_beyond_chance

#: A candidate with more than this share of its predictions in one class is looked at by the collapse rule.
COLLAPSED_SHARE = Fraction(95, 100)
#: A class of less than this share of the examples weighs nothing in accuracy.
RARE_SHARE = Fraction(5, 100)
#: Lost classes named in a reason; the report holds all of them.
_NAMED = 3


def not_collapsed(statistics: ClassStatistics) -> RuleResult:
    """The candidate does not answer one class where the float model tells classes apart.

    On an unbalanced split a candidate that never finds the rare class can keep 97 % of the accuracy; so the comparison
    is of what the float model answers outside the candidate's favorite class: the candidate has to leave it, too, for at least
    half of that, unless chance explains that it does not.
    """
    counts = statistics.counts
    total, float_total = sum(counts.predicted_candidate), sum(counts.predicted_float)
    observed, collapsed, reason = "no predictions", True, "there are no predictions to look at."
    if total > 0 and float_total > 0 and len(counts.predicted_candidate) == len(counts.predicted_float):
        most = max(counts.predicted_candidate)
        favorite = counts.predicted_candidate.index(most)
        float_elsewhere = float_total - counts.predicted_float[favorite]
        elsewhere = _both_elsewhere(statistics, favorite)
        one_sided = Fraction(most, total) > COLLAPSED_SHARE
        lost = PairedLoss(max(float_elsewhere - elsewhere, 0), 0)
        collapsed = one_sided and 2 * elsewhere < float_elsewhere and is_beyond_chance(lost)
        observed = (
            f"class {favorite}: {most} of {total} candidate, {counts.predicted_float[favorite]} of {float_total} float"
        )
        reason = (
            f"the candidate answers class {favorite} for {most} of {total} examples where the float model does so for "
            f"{counts.predicted_float[favorite]}, and of the {float_elsewhere} that float answers otherwise it leaves "
            f"{elsewhere}: its output has collapsed. Usual causes: inputs scaled differently in calibration, outliers that "
            "stretch the ranges, a quantized last layer."
            if collapsed
            else "the candidate's answers are spread as the float model's are."
        )
    return RuleResult(
        name=RuleName.NOT_COLLAPSED,
        threshold=f"{percent(COLLAPSED_SHARE)} in one class, less than half of float's answers elsewhere",
        observed=observed,
        passed=not collapsed,
        reason=reason,
        source=SOURCE_COLLAPSE,
    )


def _both_elsewhere(statistics: ClassStatistics, favorite: int) -> int:
    """Examples for which both models answer another class; of too many classes to tell, the most there can be."""
    counts = statistics.counts
    if statistics.confusion:
        return sum(
            number
            for (_, of_float, of_candidate), number in statistics.confusion.items()
            if favorite not in (of_float, of_candidate)
        )
    candidate = sum(counts.predicted_candidate) - counts.predicted_candidate[favorite]
    return min(candidate, sum(counts.predicted_float) - counts.predicted_float[favorite])


def no_class_lost(
    counts: Counts, rules: GateRules, class_names: Sequence[str], *, judges_decisions: bool
) -> RuleResult:
    """No class that the float model gets right is lost, unless chance explains it.

    1. Of no class less than half of the float model's right answers is left. 2. A rare class keeps the minimum ratio, too: in
    accuracy it weighs nothing. It is judged by its F1, because false alarms ruin it as well as misses.

    Args:
        counts: Counts of both models.
        rules: The thresholds.
        class_names: By label.
        judges_decisions: Whether the class that scores highest is the answer; of top-k answers only hits are compared.
    """
    losses = _class_losses(counts, rules, judges_decisions)
    lost = [
        loss
        for loss, is_beyond in zip(losses, beyond_chance([loss.pairs for loss in losses]), strict=True)
        if is_beyond
    ]
    broken = sorted((loss for loss in lost if loss.kept < loss.required), key=lambda loss: (loss.kept, loss.label))
    named = [_loss_in_words(loss, class_names) for loss in broken[:_NAMED]]
    more = f"; and {len(broken) - _NAMED} more" if len(broken) > _NAMED else ""
    return RuleResult(
        name=RuleName.NO_CLASS_LOST,
        threshold=f"half of every class, and {percent(rules.min_ratio)} of the F1 of rare ones, unless chance explains it",
        observed=f"{len(broken)} of {counts.num_classes} lost",
        passed=not broken,
        reason=f"{'; '.join(named)}{more}. Chance does not explain it, and accuracy hides it."
        if broken
        else "no class that the float model gets right is lost.",
        source=SOURCE_PAIRS,
    )


@dataclass(frozen=True)
class _ClassLoss:
    """What one class lost: what is kept and required of it, the pairs that tell chance, and the figures in words."""

    label: int
    kept: Fraction
    required: Fraction
    pairs: PairedLoss
    words: str


def _class_losses(counts: Counts, rules: GateRules, judges_decisions: bool) -> list[_ClassLoss]:
    losses = []
    for label, total in enumerate(counts.examples_by_label):
        of_float, of_candidate = counts.correct_float_by_label[label], counts.correct_candidate_by_label[label]
        if of_float <= 0:
            continue
        misses = max(of_float - of_candidate, 0)
        if counts.only_float_correct_by_label:
            misses = counts.only_float_correct_by_label[label]
        pairs = PairedLoss(misses, max(misses - (of_float - of_candidate), 0))
        words = f"{of_candidate} of the {of_float} that float gets right, of {total}"
        losses.append(
            _ClassLoss(label, Fraction(of_candidate, of_float), min(LOST_SHARE, rules.min_ratio), pairs, words)
        )
        if judges_decisions and counts.decisions_lost and _is_rare(counts, label):
            losses.append(_rare_loss(counts, rules, label))
    return losses


def _is_rare(counts: Counts, label: int) -> bool:
    """A class of less than 5 % of the examples that holds less than half of an even share, too: one of 100 classes is not rare."""
    share = Fraction(counts.examples_by_label[label], max(counts.num_examples, 1))
    return share < min(RARE_SHARE, Fraction(1, 2 * counts.num_classes))


def _rare_loss(counts: Counts, rules: GateRules, label: int) -> _ClassLoss:
    of_float, of_candidate = (_class_f1(counts, label, of_float=of_float) for of_float in (True, False))
    pairs = PairedLoss(counts.decisions_lost[label], counts.decisions_gained[label])
    false_alarms = counts.predicted_candidate[label] - counts.correct_candidate_by_label[label]
    before = counts.predicted_float[label] - counts.correct_float_by_label[label]
    words = (
        f"{counts.correct_candidate_by_label[label]} of {counts.examples_by_label[label]} with {false_alarms} false alarms, where "
        f"float finds {counts.correct_float_by_label[label]} with {before}; F1 {float(of_candidate):.2f} / {float(of_float):.2f}"
    )
    return _ClassLoss(label, of_candidate / of_float, rules.min_ratio, pairs, words)


def _class_f1(counts: Counts, label: int, *, of_float: bool) -> Fraction:
    right, answers = (
        (counts.correct_float_by_label, counts.predicted_float)
        if of_float
        else (counts.correct_candidate_by_label, counts.predicted_candidate)
    )
    return Fraction(2 * right[label], answers[label] + counts.examples_by_label[label])


def _loss_in_words(loss: _ClassLoss, class_names: Sequence[str]) -> str:
    name = class_names[loss.label] if loss.label < len(class_names) else str(loss.label)
    return f"class {name} is lost: the candidate finds {loss.words}"
