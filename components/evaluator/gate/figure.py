"""The figure that the gate compares, of both models, as exact fractions from the tally."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from components.evaluator.counting.counts import Counts
from components.evaluator.counting.deviations import Deviations
from components.evaluator.counting.metric import Metric
from components.evaluator.counting.ranks import area_under_curve
from components.evaluator.counting.tally import Tally
from components.evaluator.gate.thresholds import GateRules


@dataclass(frozen=True)
class Figure:
    """One figure of both models; None where there is nothing to make it from. ``rmse`` is held as its square, exactly."""

    metric: Metric
    top_k: int
    of_float: Fraction | None
    of_candidate: Fraction | None

    @property
    def name(self) -> str:
        """How people call it: ``accuracy``, ``top-5 accuracy``, ``mean absolute error``."""
        return {
            Metric.TOP1: "accuracy",
            Metric.TOPK: f"top-{self.top_k} accuracy",
            Metric.F1: "F1",
            Metric.AUC: "AUC",
            Metric.MAE: "mean absolute error",
            Metric.RMSE: "root mean squared error",
        }[self.metric]

    @property
    def key(self) -> str:
        """How the report calls it: ``top1``, ``top5``, ``mae``."""
        return f"top{self.top_k}" if self.metric is Metric.TOPK else self.metric.value

    @property
    def ratio(self) -> Fraction | None:
        """Candidate over float; None where the float model's is 0 or absent. Of ``rmse`` the square."""
        return self.of_candidate / self.of_float if self.of_float and self.of_candidate is not None else None

    def text(self, value: Fraction | None) -> str | None:
        """A value with six decimals, or six digits for errors, whose scale is the data's."""
        if value is None:
            return None
        if self.metric.is_regression:
            return f"{math.sqrt(value) if self.metric is Metric.RMSE else float(value):.6g}"
        return f"{float(value):.6f}"


def figure_of(tally: Tally, rules: GateRules) -> Figure:
    """Both models' figure of ``rules.metric``."""
    return Figure(rules.metric, rules.top_k, *_values(tally, rules.metric))


def error_figure(errors: Deviations, metric: Metric) -> Figure:
    """Both models' ``mae`` or ``rmse``, of the whole holdout or of a slice."""
    kind = "absolute" if metric is Metric.MAE else "squared"
    return Figure(metric, 1, errors.mean(f"{kind}_float"), errors.mean(f"{kind}_candidate"))


def _values(tally: Tally, metric: Metric) -> tuple[Fraction | None, Fraction | None]:
    counts = tally.counts
    if metric.is_regression:
        errors = tally.errors
        figure = error_figure(errors, metric) if errors else None
        return (figure.of_float, figure.of_candidate) if figure else (None, None)
    if metric is Metric.AUC:
        ranks = tally.ranks
        return (area_under_curve(ranks.of_float), area_under_curve(ranks.of_candidate)) if ranks else (None, None)
    if metric is Metric.F1:
        return f1_score(counts, of_float=True), f1_score(counts, of_float=False)
    if counts.num_examples <= 0:
        return None, None
    return tuple(Fraction(n, counts.num_examples) for n in (counts.num_correct_float, counts.num_correct_candidate))  # type: ignore[return-value]


def f1_score(counts: Counts, *, of_float: bool) -> Fraction | None:
    """2 TP / (2 TP + FP + FN) of class 1; None without two classes, or without an example of class 1 or an answer 1."""
    if counts.num_classes != 2:
        return None
    right, answers = (
        (counts.correct_float_by_label, counts.predicted_float)
        if of_float
        else (counts.correct_candidate_by_label, counts.predicted_candidate)
    )
    both = answers[1] + counts.examples_by_label[1]  # 2 TP + FP + FN
    return Fraction(2 * right[1], both) if both > 0 else None
