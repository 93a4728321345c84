"""Class scores: the share of right answers, top-1 or top-k.

Rules: 1. Two models at chance have ratio 1, so the float model has to be clearly above it. 2. Fractions decide.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.evaluator.counting.class_statistics import ClassStatistics, count_confusion
from components.evaluator.counting.counts import Comparison, Counts, class_scores, compare, worst_classes
from components.evaluator.counting.flips import Flip, find_flips
from components.evaluator.counting.metric import Metric
from components.evaluator.counting.ranks import Ranks
from components.evaluator.counting.slices import Grouping, PairedCounts, count_slices
from components.evaluator.counting.tally import Tally
from components.evaluator.gate.figure import Figure
from components.evaluator.gate.intervals import PAIRED_RATIO_METHOD, chance_of_passing, paired_ratio_interval
from components.evaluator.gate.rule import (
    CHANCE_SIGMAS,
    SOURCE_CHANCE,
    SOURCE_CONFIG,
    SOURCE_FINITE,
    SOURCE_FLOOR,
    SOURCE_LABELS,
    SOURCE_RATIO,
    RuleName,
    RuleResult,
    percent,
    percent_down,
)
from components.evaluator.gate.thresholds import GateRules
from components.evaluator.measurements.class_losses import not_collapsed
from components.evaluator.measurements.class_rows import (
    change_records,
    confusion_record,
    metric_record,
    mistakes_record,
    ratio_record,
    slice_records,
)
from components.evaluator.measurements.measurement import (
    BatchComparison,
    Measurement,
    PartResult,
    PartRow,
    TfmaFigures,
    UsableRows,
)
from components.evaluator.report.gate_report import (
    GateReport,
    IntervalRecord,
    MeasuredRows,
)

#: How far below the rule the "would it pass by luck" model lies: 95 % for a rule of 97 %.
LUCK_MARGIN = Fraction(2, 100)


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
            ratio=ratio_record(counts, rules),
            interval=self._interval(counts),
            mistakes=mistakes_record(counts),
            worst_classes=worst_classes(counts),
            metric=metric_record(self.figure(tally.whole), rules.min_ratio),
            slices=slice_records(tally),
            confusion=confusion_record(tally.whole),
            changes=change_records(tally.whole),
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


def lucky_ratio(rules: GateRules) -> Fraction:
    """What the model truly keeps that would pass by luck."""
    return max(rules.min_ratio - LUCK_MARGIN, Fraction(0))


def luck(counts: Counts, rules: GateRules) -> float:
    """Chance that a model two points below the rule passes on so many examples."""
    scored = counts.num_examples
    accuracy = counts.num_correct_float / scored if 0 < counts.num_correct_float <= scored else 0.5
    return chance_of_passing(scored, float(lucky_ratio(rules)), float(rules.min_ratio), accuracy)
