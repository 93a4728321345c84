"""Figures of two classes: F1 of class 1, and how well scores rank it above class 0.

Rules: 1. An absent figure is a "no". 2. Slices and classes are held to right answers all the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from numpy.typing import NDArray

from components.errors import ModelError
from components.evaluator.counting.class_statistics import ClassStatistics
from components.evaluator.counting.counts import Comparison, Counts
from components.evaluator.counting.metric import Metric
from components.evaluator.counting.ranks import Ranks, area_under_curve, rank_batch
from components.evaluator.gate.figure import Figure
from components.evaluator.gate.rule import (
    CHANCE_SIGMAS,
    SOURCE_CLOSED,
    SOURCE_EXACT,
    RuleName,
    RuleResult,
    percent,
    percent_down,
)
from components.evaluator.gate.thresholds import GateRules
from components.evaluator.measurements.classes import RightAnswers, above_floor
from components.evaluator.measurements.measurement import (
    TfmaFigures,
)
from components.evaluator.report.gate_report import (
    IntervalRecord,
)

SOURCE_RANKS = "Mann-Whitney statistic without association, 3 standard deviations (one-sided p = 0.0013)"
SOURCE_ASSOCIATION = "fourfold table without association, 3 standard deviations (one-sided p = 0.0013)"


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
