"""Class scores: right answers, F1 of two classes, and how well scores rank two classes.

Rules: 1. Two models at chance have ratio 1, so the float model has to be clearly above it. 2. A candidate that answers one
class where the float model tells classes apart has collapsed. 3. Fractions decide; an absent figure is a "no".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.errors import ModelError
from components.evaluator.counting.class_statistics import MAX_CONFUSION_CLASSES, ClassStatistics, count_confusion
from components.evaluator.counting.counts import Comparison, Counts, class_scores, compare, worst_classes
from components.evaluator.counting.flips import Flip, find_flips
from components.evaluator.counting.metric import Metric
from components.evaluator.counting.ranks import Ranks, area_under_curve, rank_batch
from components.evaluator.counting.slices import Grouping, PairedCounts, SliceKey, count_slices
from components.evaluator.counting.tally import Tally
from components.evaluator.gate.figure import Figure
from components.evaluator.gate.intervals import PAIRED_RATIO_METHOD, chance_of_passing, paired_ratio_interval
from components.evaluator.gate.rule import (
    CHANCE_SIGMAS,
    SOURCE_CHANCE,
    SOURCE_CLOSED,
    SOURCE_COLLAPSE,
    SOURCE_CONFIG,
    SOURCE_EXACT,
    SOURCE_FINITE,
    SOURCE_FLOOR,
    SOURCE_LABELS,
    SOURCE_PAIRS,
    SOURCE_RATIO,
    RuleName,
    RuleResult,
    decimal,
    percent,
    percent_down,
)
from components.evaluator.gate.thresholds import GateRules
from components.evaluator.measurements.measurement import (
    BatchComparison,
    Measurement,
    PartResult,
    PartRow,
    TfmaFigures,
    UsableRows,
)
from components.evaluator.report.gate_report import (
    ChangeRecord,
    ConfusionRecord,
    GateReport,
    IntervalRecord,
    MeasuredRows,
    MetricRecord,
    MistakesRecord,
    RatioRecord,
    SliceRecord,
)
from components.exact_tests import LOST_SHARE, PairedLoss, beyond_chance, is_beyond_chance

#: A candidate with more than this share of its predictions in one class is looked at by the collapse rule.
COLLAPSED_SHARE = Fraction(95, 100)
#: A class of less than this share of the examples weighs nothing in accuracy.
RARE_SHARE = Fraction(5, 100)
#: Lost classes named in a reason; the report holds all of them.
_NAMED = 3
#: How far below the rule the "would it pass by luck" model lies: 95 % for a rule of 97 %.
LUCK_MARGIN = Fraction(2, 100)
#: Changes of an answer that the report lists.
MAX_CHANGES = 50

SOURCE_RANKS = "Mann-Whitney statistic without association, 3 standard deviations (one-sided p = 0.0013)"
SOURCE_ASSOCIATION = "fourfold table without association, 3 standard deviations (one-sided p = 0.0013)"


@dataclass(frozen=True)
class ClassComparison(BatchComparison):
    """Both models' class scores on one batch, held against its labels."""

    comparison: Comparison
    of_float: NDArray[Any]
    of_candidate: NDArray[Any]
    ranks: Ranks | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "num_classes", self.comparison.num_classes)
        object.__setattr__(self, "right_float", self.comparison.right_float)
        object.__setattr__(self, "right_candidate", self.comparison.right_candidate)

    @property
    def same_answer(self) -> NDArray[np.bool_]:
        """Rows ``[n]`` to which both models give the same class."""
        return np.asarray(self.comparison.predicted_float == self.comparison.predicted_candidate)

    def statistics(self, clipped: NDArray[np.bool_]) -> ClassStatistics:
        """What is counted of the whole batch."""
        counts = replace(self.comparison.counts(), num_clipped=int(clipped.sum()))
        return ClassStatistics(counts, self.ranks, count_confusion(self.comparison))

    def parts(self, grouping: Grouping, clipped: NDArray[np.bool_]) -> Sequence[PairedCounts]:
        """The paired table of every slice of one slicing."""
        return list(count_slices((grouping,), self.comparison.outcomes, clipped).values())

    def rows(self) -> UsableRows:
        """Rows with finite scores and a label that names a class."""
        used = self.comparison
        usable = used.in_range & used.finite_float & used.finite_candidate
        return UsableRows(usable, used.labels, self.of_float, self.of_candidate)

    def flips(self, keys: NDArray[np.uint64], inputs: dict[str, NDArray[Any]]) -> tuple[Flip, ...]:
        """A few examples that changed their answer."""
        return find_flips(self.comparison, keys, inputs)


@dataclass(frozen=True)
class RightAnswers(Measurement):
    """The share of right answers: top-1, or top-k where the label may be among the best."""

    def compare(self, labels: NDArray[Any], of_float: NDArray[Any], of_candidate: NDArray[Any]) -> ClassComparison:
        """Holds both models' scores on one batch against its class indices."""
        use = self.options
        comparison = compare(labels, of_float, of_candidate, use.num_classes, use.decision_threshold, use.top_k)
        scores = class_scores(of_float, "float model"), class_scores(of_candidate, "candidate")
        return ClassComparison(comparison, *scores, self._rank(comparison, *scores))

    def _rank(self, comparison: Comparison, of_float: NDArray[Any], of_candidate: NDArray[Any]) -> Ranks | None:
        del comparison, of_float, of_candidate
        return None

    def figure(self, statistics: ClassStatistics) -> Figure:
        """Shares of right answers."""
        counts, top_k = statistics.counts, self.options.top_k
        is_top_k = self.metric is Metric.TOPK
        of_float, of_candidate = (
            Fraction(right, counts.num_examples) if counts.num_examples > 0 else None
            for right in (counts.num_correct_float, counts.num_correct_candidate)
        )
        return Figure(
            key=f"top{top_k}" if is_top_k else self.metric.value,
            title=f"top-{top_k} accuracy" if is_top_k else "accuracy",
            of_float=of_float,
            of_candidate=of_candidate,
        )

    def finite(self, statistics: ClassStatistics) -> RuleResult:
        """No NaN, no infinity, in either model."""
        of_float, of_candidate = statistics.counts.num_nonfinite_float, statistics.counts.num_nonfinite_candidate
        passed = of_float == 0 and of_candidate == 0
        observed = f"{of_float} float, {of_candidate} candidate"
        return RuleResult(
            name=RuleName.FINITE_OUTPUTS,
            threshold="0 rows",
            observed=observed,
            passed=passed,
            reason="every output is a finite number."
            if passed
            else f"rows with NaN or infinite outputs: {observed}. "
            "Look for a division by zero, an overflow, or inputs that hold NaN.",
            source=SOURCE_FINITE,
        )

    def float_good_enough(self, statistics: ClassStatistics, rules: GateRules) -> RuleResult:
        """An explicit floor, or right more often than the commonest label plus 3 standard deviations."""
        counts, top_k = statistics.counts, self.options.top_k
        scored, right = counts.num_examples, counts.num_correct_float
        observed = f"{right} / {scored} right"
        if rules.min_float_accuracy is not None:
            share = Fraction(right, scored) if right > 0 and scored > 0 else None
            return above_floor(rules.min_float_accuracy, share, f"the float model ({observed})", observed)
        commonest = sum(sorted(counts.examples_by_label)[-top_k:])
        always = "label" if top_k == 1 else f"{top_k} labels"
        # right > n*p + 3*sqrt(n*p*(1-p)) with p = commonest / n, squared so that it stays in integers
        above = right - commonest
        passed = right > 0 and above > 0 and above**2 * scored > CHANCE_SIGMAS**2 * commonest * (scored - commonest)
        reason = (
            "the float model is clearly above chance."
            if passed
            else f"the float model ({observed}) is not clearly better than always answering the commonest {always} "
            f"({commonest} / {scored}), so keeping its accuracy proves nothing. Train a better model."
        )
        return RuleResult(
            name=RuleName.FLOAT_ACCURACY,
            threshold=f"more than {commonest} / {scored} right (always the commonest {always}), by {CHANCE_SIGMAS} standard deviations",
            observed=observed,
            passed=passed,
            reason=reason,
            source=SOURCE_CHANCE,
        )

    def not_collapsed(self, statistics: ClassStatistics) -> RuleResult:
        """The candidate does not answer one class where the float model tells classes apart."""
        return not_collapsed(statistics)

    def kept(self, statistics: ClassStatistics, rules: GateRules) -> RuleResult:
        """Candidate right / float right, as fractions, at least the minimum."""
        counts = statistics.counts
        right, reference = counts.num_correct_candidate, counts.num_correct_float
        required = percent(rules.min_ratio)
        kept = Fraction(right, reference) if reference > 0 and right >= 0 else None
        return RuleResult(
            name=RuleName.ACCURACY_KEPT,
            threshold=required,
            observed=f"{right} / {reference}",
            passed=kept is not None and kept >= rules.min_ratio,
            reason=f"the float model got {reference} of {counts.num_examples} right; nothing can be kept of that."
            if kept is None
            else f"the candidate keeps {percent_down(kept)} of the float model's right answers; required {required}.",
            source=SOURCE_RATIO,
        )

    def bound_kept(self, statistics: ClassStatistics, rules: GateRules) -> RuleResult:
        """The one-sided bound of the paired ratio keeps the rule, not only the measured ratio."""
        assert rules.confidence is not None
        level, required = percent(rules.confidence), percent(rules.min_ratio)
        interval = paired_ratio_interval(statistics.counts, float(2 * rules.confidence - 1))
        lower = None if interval is None else Fraction(interval.lower)
        passed = lower is not None and lower >= rules.min_ratio
        reason = "nobody got anything right: there is no bound."
        if lower is not None:
            reason = f"with {level} confidence the candidate keeps at least {percent_down(lower)}; required {required}."
            reason += "" if passed else " Add examples to the holdout, or remove gate.confidence."
        return RuleResult(
            name=RuleName.CONFIDENCE_BOUND,
            threshold=f"{required} at {level} one-sided confidence",
            observed="no bound" if lower is None else percent_down(lower),
            passed=passed,
            reason=reason,
            source=f"{SOURCE_CONFIG}: {PAIRED_RATIO_METHOD}",
        )

    def part_kept(self, part: PairedCounts, required: Fraction) -> PartResult:
        """How one slice, or one class, fared against the ratio."""
        right = f"({part.num_correct_candidate} / {part.num_correct_float} right of {part.num_examples})"
        if part.kept is None:
            result = f": the float model got nothing right {right}, so nothing can be kept"
            return PartResult(part.num_examples, False, Fraction(-1), result)
        result = f" keeps {percent_down(part.kept)} {right}"
        return PartResult(part.num_examples, part.kept >= required, part.kept, result)

    def required(self, rules: GateRules) -> Fraction:
        """The least ratio."""
        return rules.min_ratio

    def requirement(self, required: Fraction) -> str:
        """The least ratio in words."""
        return percent(required)

    def compared(self, statistics: ClassStatistics, rules: GateRules) -> str:
        """Both parts of the ratio, and what was required."""
        figure = self.figure(statistics)
        assert figure.ratio is not None
        parts = self._parts(statistics, figure)
        return (
            f"keeps {percent_down(figure.ratio)} of float {figure.title} ({parts}); required {percent(rules.min_ratio)}"
        )

    def _parts(self, statistics: ClassStatistics, figure: Figure) -> str:
        counts = statistics.counts
        return f"{counts.num_correct_candidate} / {counts.num_correct_float} right of {counts.num_examples}"

    def overfitting_hint(self) -> str:
        """What a training log shows of a model that knows its training examples by heart."""
        return "an accuracy far above"

    def chance_to_pass(self, statistics: ClassStatistics, rules: GateRules) -> str:
        """How often luck would pass a model two points below the rule."""
        chance = luck(statistics.counts, rules)
        return (
            f"a model that truly keeps {percent(lucky_ratio(rules))} would pass on {statistics.num_examples} examples "
            f"with a chance of {100 * chance:.1f} %."
        )

    def rows(self, tally: Tally, rules: GateRules) -> MeasuredRows:
        """Counts, ratio, interval, mistakes, classes, slices, confusion."""
        if not isinstance(tally.whole, ClassStatistics):
            return MeasuredRows()
        counts = tally.whole.counts
        if tally.inconsistencies():
            return MeasuredRows(counts=counts)
        return MeasuredRows(
            counts=counts,
            ratio=_ratio(counts, rules),
            interval=self._interval(counts),
            mistakes=_mistakes(counts),
            worst_classes=worst_classes(counts),
            metric=metric_record(self.figure(tally.whole), rules.min_ratio),
            slices=_slice_records(tally),
            confusion=_confusion(tally.whole),
            changes=_changes(tally.whole),
        )

    def _interval(self, counts: Counts) -> IntervalRecord | None:
        interval = paired_ratio_interval(counts)
        if interval is None:
            return None
        upper = None if interval.upper is None else round(interval.upper, 6)
        return IntervalRecord(
            lower=round(interval.lower, 6), upper=upper, confidence=interval.confidence, method=interval.method
        )

    def part_rows(self, report: GateReport) -> tuple[PartRow, ...]:
        """Slices of which the float model got something right."""
        return tuple(
            PartRow(
                name=record.name,
                value=record.value,
                num_examples=record.num_examples,
                loss=1 - Fraction(record.num_correct_candidate, record.num_correct_float),
                sentence=f"keeps {percent_down(Fraction(record.num_correct_candidate, record.num_correct_float))} "
                f"({record.num_correct_candidate} / {record.num_correct_float} right of {record.num_examples})",
            )
            for record in report.slices
            if record.num_correct_float
        )

    def tfma_figures(self, part: Any, *, is_whole: bool) -> TfmaFigures:
        """Shares of right answers of the whole, or of one slice."""
        table: Counts | PairedCounts = part.counts if is_whole else part
        name = "sparse_top_k_categorical_accuracy" if self.metric is Metric.TOPK else "sparse_categorical_accuracy"
        total = table.num_examples
        of_float, of_candidate = (
            right / total if total else math.nan for right in (table.num_correct_float, table.num_correct_candidate)
        )
        return {"example_count": (float(total), float(total)), name: (of_float, of_candidate)}


@dataclass(frozen=True)
class _BinaryFigure(RightAnswers):
    """A figure of two classes that is no share of right answers; slices and classes are held to right answers all the same."""

    def float_good_enough(self, statistics: ClassStatistics, rules: GateRules) -> RuleResult:
        """An explicit floor, or a figure clearly above what no association at all gives."""
        figure = self.figure(statistics)
        if figure.of_float is None:
            return RuleResult(
                name=RuleName.FLOAT_ACCURACY,
                threshold="above chance",
                observed="none",
                passed=False,
                reason=absent_reason(figure),
                source=SOURCE_CLOSED,
            )
        value = str(figure.text(figure.of_float))
        if rules.min_float_accuracy is not None:
            share = figure.of_float or None
            return above_floor(rules.min_float_accuracy, share, f"the float model's {figure.title} of {value}", value)
        passed, threshold, source = self._above_chance(figure, statistics.counts)
        return RuleResult(
            name=RuleName.FLOAT_ACCURACY,
            threshold=threshold,
            observed=value,
            passed=passed,
            reason="the float model is clearly above chance."
            if passed
            else f"the float model ({figure.title} {value}) is not clearly better than knowing nothing, so keeping its figure "
            "proves nothing. Train a better model.",
            source=source,
        )

    def _above_chance(self, figure: Figure, counts: Counts) -> tuple[bool, str, str]:
        raise NotImplementedError

    def kept(self, statistics: ClassStatistics, rules: GateRules) -> RuleResult:
        """Candidate's figure over the float model's, at least the minimum ratio."""
        figure, required = self.figure(statistics), percent(rules.min_ratio)
        kept = figure.ratio
        return RuleResult(
            name=RuleName.FIGURE_KEPT,
            threshold=required,
            observed=figure.both,
            passed=kept is not None and kept >= rules.min_ratio,
            reason=absent_reason(figure)
            if kept is None
            else f"the candidate keeps {percent_down(kept)} of the float model's {figure.title}; required {required}.",
            source=SOURCE_CLOSED if kept is None else SOURCE_EXACT,
        )

    def chance_to_pass(self, statistics: ClassStatistics, rules: GateRules) -> str:
        """Nothing is known of it."""
        return ""

    def _parts(self, statistics: ClassStatistics, figure: Figure) -> str:
        return f"{figure.both} on {statistics.num_examples}"

    def _interval(self, counts: Counts) -> IntervalRecord | None:
        return None

    def tfma_figures(self, part: Any, *, is_whole: bool) -> TfmaFigures:
        """Right answers, and of the whole the figure too."""
        figures = super().tfma_figures(part, is_whole=is_whole)
        if is_whole:
            figure = self.figure(part)
            of_float, of_candidate = (
                math.nan if value is None else float(value) for value in (figure.of_float, figure.of_candidate)
            )
            figures["f1_score" if self.metric is Metric.F1 else "auc"] = (of_float, of_candidate)
        return figures


@dataclass(frozen=True)
class F1Score(_BinaryFigure):
    """2 TP / (2 TP + FP + FN) of class 1."""

    def figure(self, statistics: ClassStatistics) -> Figure:
        """F1 of class 1."""
        of_float, of_candidate = (f1_score(statistics.counts, of_float=of_float) for of_float in (True, False))
        return Figure(key=self.metric.value, title="F1", of_float=of_float, of_candidate=of_candidate)

    def _above_chance(self, figure: Figure, counts: Counts) -> tuple[bool, str, str]:
        return _associated(counts), "answers that go with the labels, by 3 standard deviations", SOURCE_ASSOCIATION


@dataclass(frozen=True)
class AreaUnderCurve(_BinaryFigure):
    """The chance that an example of class 1 scores above one of class 0."""

    def _rank(self, comparison: Comparison, of_float: NDArray[Any], of_candidate: NDArray[Any]) -> Ranks | None:
        if comparison.num_classes != 2:
            raise ModelError(
                f"the area under the ROC curve is made for two classes and the models have {comparison.num_classes}. "
                "Set gate.metric to top1."
            )
        usable = comparison.in_range & comparison.finite_float & comparison.finite_candidate
        return rank_batch(comparison.labels, of_float, of_candidate, usable)

    def figure(self, statistics: ClassStatistics) -> Figure:
        """Areas under the ROC curve."""
        ranks = statistics.ranks
        of_float = area_under_curve(ranks.of_float) if ranks else None
        of_candidate = area_under_curve(ranks.of_candidate) if ranks else None
        return Figure(key=self.metric.value, title="AUC", of_float=of_float, of_candidate=of_candidate)

    def _above_chance(self, figure: Figure, counts: Counts) -> tuple[bool, str, str]:
        is_above = _ranks_above_chance(figure.of_float, counts)
        return is_above, "AUC above 0.5 by 3 standard deviations", SOURCE_RANKS


def above_floor(floor: Fraction, share: Fraction | None, subject: str, observed: str) -> RuleResult:
    """The float model's figure reaches an explicit floor; nothing at all never does."""
    passed, wanted = share is not None and share >= floor, percent(floor)
    return RuleResult(
        name=RuleName.FLOAT_ACCURACY,
        threshold=wanted,
        observed=observed,
        passed=passed,
        reason=f"the float model reaches its floor of {wanted}."
        if passed
        else f"{subject} misses its floor of {wanted}. Train a better model, or lower gate.min_float_accuracy.",
        source=SOURCE_FLOOR,
    )


def absent_reason(figure: Figure) -> str:
    """Why there may be no F1 or AUC."""
    return (
        f"there is no {figure.title} of both models to compare: a class without examples, a model that never answers "
        "class 1, or more than two classes. Check the holdout, or set gate.metric."
    )


def f1_score(counts: Counts, *, of_float: bool, label: int = 1) -> Fraction | None:
    """2 TP / (2 TP + FP + FN) of one of two classes; None without two classes, or without an example or an answer of it."""
    if counts.num_classes != 2:
        return None
    right, answers = (
        (counts.correct_float_by_label, counts.predicted_float)
        if of_float
        else (counts.correct_candidate_by_label, counts.predicted_candidate)
    )
    both = answers[label] + counts.examples_by_label[label]  # 2 TP + FP + FN
    return Fraction(2 * right[label], both) if both > 0 else None


def _ranks_above_chance(area: Fraction | None, counts: Counts) -> bool:
    if area is None or counts.num_classes != 2:
        return False
    negatives, positives = counts.examples_by_label
    if not negatives or not positives:
        return False
    above = area - Fraction(1, 2)
    return above > 0 and above**2 > CHANCE_SIGMAS**2 * Fraction(positives + negatives + 1, 12 * positives * negatives)


def _associated(counts: Counts) -> bool:
    if counts.num_classes != 2:
        return False
    (true_negatives, true_positives), (negatives, positives) = counts.correct_float_by_label, counts.examples_by_label
    answers_1 = true_positives + negatives - true_negatives
    answers_0 = negatives + positives - answers_1
    difference = true_positives * true_negatives - (positives - true_positives) * (negatives - true_negatives)
    margins = positives * negatives * answers_1 * answers_0
    return difference > 0 and difference**2 * (positives + negatives) > CHANCE_SIGMAS**2 * margins


def labels_in_range(counts: Counts) -> RuleResult:
    """Every label names a class of the model."""
    num_bad, last = counts.num_label_out_of_range, counts.num_classes - 1
    return RuleResult(
        name=RuleName.LABELS_IN_RANGE,
        threshold="0 labels",
        observed=str(num_bad),
        passed=num_bad == 0,
        reason="every label names a class."
        if num_bad == 0
        else f"{num_bad} label(s) lie outside 0..{last}. "
        "Labels are class indices from 0; check the label column and the class names.",
        source=SOURCE_LABELS,
    )


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


def lucky_ratio(rules: GateRules) -> Fraction:
    """What the model truly keeps that would pass by luck."""
    return max(rules.min_ratio - LUCK_MARGIN, Fraction(0))


def luck(counts: Counts, rules: GateRules) -> float:
    """Chance that a model two points below the rule passes on so many examples."""
    scored = counts.num_examples
    accuracy = counts.num_correct_float / scored if 0 < counts.num_correct_float <= scored else 0.5
    return chance_of_passing(scored, float(lucky_ratio(rules)), float(rules.min_ratio), accuracy)


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


def _ratio(counts: Counts, rules: GateRules) -> RatioRecord | None:
    if counts.num_correct_float <= 0:
        return None
    return RatioRecord(
        num_correct_candidate=counts.num_correct_candidate,
        num_correct_float=counts.num_correct_float,
        decimal=decimal(Fraction(counts.num_correct_candidate, counts.num_correct_float), 6),
        minimum=str(rules.min_ratio),
    )


def _mistakes(counts: Counts) -> MistakesRecord:
    of_float = counts.num_examples - counts.num_correct_float
    of_candidate = counts.num_examples - counts.num_correct_candidate
    factor = f"{of_candidate / of_float:.1f}" if of_float else None
    return MistakesRecord(num_float=of_float, num_candidate=of_candidate, factor=factor)


def _slice_records(tally: Tally) -> tuple[SliceRecord, ...]:
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


def _confusion(statistics: ClassStatistics) -> ConfusionRecord | None:
    size = statistics.counts.num_classes
    if not 0 < size <= MAX_CONFUSION_CLASSES:
        return None
    tables = {name: [[0] * size for _ in range(size)] for name in ("float_model", "candidate")}
    for (label, of_float, of_candidate), number in statistics.confusion.items():
        tables["float_model"][label][of_float] += number
        tables["candidate"][label][of_candidate] += number
    return ConfusionRecord(**{name: tuple(map(tuple, table)) for name, table in tables.items()})


def _changes(statistics: ClassStatistics) -> tuple[ChangeRecord, ...]:
    changed = [(cell, number) for cell, number in statistics.confusion.items() if cell[1] != cell[2]]
    commonest = sorted(changed, key=lambda item: (-item[1], item[0]))[:MAX_CHANGES]
    return tuple(
        ChangeRecord(label=label, float_answer=of_float, candidate_answer=of_candidate, num_examples=number)
        for (label, of_float, of_candidate), number in commonest
    )
