"""Real-valued labels: the mean absolute error, and the root of the mean squared error.

Rules: 1. The float model has to explain the labels: always answering their mean tells nothing. 2. The candidate's error grows
by no more than the factor. 3. Exact sums decide; squares are compared as squares, so that no root is rounded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.evaluator.counting.columns import OutputPart
from components.evaluator.counting.deviations import (
    RATIO_METHOD,
    Deviations,
    compare_numbers,
    ratio_bounds,
    slice_deviations,
)
from components.evaluator.counting.metric import Metric
from components.evaluator.counting.slices import Grouping, SliceKey
from components.evaluator.counting.tally import Tally
from components.evaluator.gate.figure import Figure
from components.evaluator.gate.rule import (
    CHANCE_SIGMAS,
    SOURCE_CLOSED,
    SOURCE_CONFIG,
    SOURCE_EXACT,
    SOURCE_FINITE,
    SOURCE_PARTS,
    RuleName,
    RuleResult,
    decimal,
    decimal_up,
    percent,
)
from components.evaluator.gate.thresholds import GateRules
from components.evaluator.measurements.class_rows import metric_record
from components.evaluator.measurements.measurement import (
    BatchComparison,
    Measurement,
    PartResult,
    PartRow,
    TfmaFigures,
    UsableRows,
    sorted_slices,
)
from components.evaluator.report.gate_report import ErrorRecord, GateReport, MeasuredRows, PartRecord

SOURCE_CORRELATION = "squared correlation without association has mean 1 / n; 9 / n is 3 standard deviations"
#: Two outputs are the same answer within one code of an int8 output: 1/256 of what the outputs of the rows span.
SAME_VALUE_SHARE = 1 / 256
#: The error of a part of an output may grow by so many times what the whole's may.
PART_GROWTH = 4


@dataclass(frozen=True)
class ValueComparison(BatchComparison):
    """Both models' numbers on one batch, held against the true ones."""

    labels: NDArray[Any]
    of_float: NDArray[Any]
    of_candidate: NDArray[Any]

    @property
    def same_answer(self) -> NDArray[np.bool_]:
        """Rows ``[n]`` whose every number is the same within one step of 256 of what the outputs span."""
        left, right = (array.reshape(len(array), -1).astype(np.float64) for array in (self.of_float, self.of_candidate))
        finite = left[np.isfinite(left)]
        step = SAME_VALUE_SHARE * float(finite.max() - finite.min()) if finite.size else 0.0
        return np.asarray((np.abs(left - right) <= step * (1 + 1e-6)).all(axis=1), np.bool_)

    def statistics(self, clipped: NDArray[np.bool_]) -> Deviations:
        """Sums of errors of the whole batch."""
        return compare_numbers(self.labels, self.of_float, self.of_candidate, clipped)

    def parts(self, grouping: Grouping, clipped: NDArray[np.bool_]) -> Sequence[Deviations]:
        """Sums of errors of every slice of one slicing."""
        batch = (self.labels, self.of_float, self.of_candidate, clipped)
        return slice_deviations(*batch, grouping.rows, len(grouping.keys))

    def rows(self) -> UsableRows:
        """Rows whose outputs and labels are numbers."""
        num_rows = len(self.labels)
        flat = [array.reshape(num_rows, -1) for array in (self.of_float, self.of_candidate)]
        usable = np.isfinite(np.column_stack([self.labels.reshape(num_rows, -1), *flat])).all(axis=1)
        return UsableRows(usable, self.labels, *flat)


@dataclass(frozen=True)
class ErrorOfValues(Measurement):
    """``mae`` or ``rmse``."""

    def compare(self, labels: NDArray[Any], of_float: NDArray[Any], of_candidate: NDArray[Any]) -> ValueComparison:
        """Holds both models' numbers on one batch against the true ones."""
        return ValueComparison(np.asarray(labels), of_float, of_candidate)

    @property
    def kind(self) -> str:
        """How the sums call the error: ``absolute`` or ``squared``."""
        return "absolute" if self.metric is Metric.MAE else "squared"

    def figure(self, statistics: Deviations) -> Figure:
        """Both models' mean error; of ``rmse`` its square."""
        return Figure(
            key=self.metric.value,
            title="mean absolute error" if self.metric is Metric.MAE else "root mean squared error",
            of_float=statistics.mean(f"{self.kind}_float"),
            of_candidate=statistics.mean(f"{self.kind}_candidate"),
            is_error=True,
            is_square=self.metric is Metric.RMSE,
        )

    def finite(self, statistics: Deviations) -> RuleResult:
        """No NaN and no infinity in outputs and labels."""
        numbers = (
            statistics.num_nonfinite_float,
            statistics.num_nonfinite_candidate,
            statistics.num_nonfinite_labels,
        )
        observed = "{} float, {} candidate, {} labels".format(*numbers)
        return RuleResult(
            name=RuleName.FINITE_OUTPUTS,
            threshold="0 rows",
            observed=observed,
            passed=not any(numbers),
            reason="every output and every label is a finite number."
            if not any(numbers)
            else f"rows with NaN or infinite values: {observed}. "
            "Look for a division by zero, an overflow, or inputs and labels that hold NaN.",
            source=SOURCE_FINITE,
        )

    def float_good_enough(self, statistics: Deviations, rules: GateRules) -> RuleResult:
        """The float model explains the labels, clearly better than their mean does."""
        figure = self.figure(statistics)
        passed, value = _explains_labels(statistics), str(figure.text(figure.of_float))
        return RuleResult(
            name=RuleName.FLOAT_ACCURACY,
            threshold="squared errors below the labels' own spread, by 3 standard deviations",
            observed=value,
            passed=passed,
            reason="the float model is clearly above chance."
            if passed
            else f"the float model ({figure.title} {value}) is not clearly better than knowing nothing, "
            "so keeping its figure proves nothing. Train a better model.",
            source=SOURCE_CORRELATION,
        )

    def not_collapsed(self, statistics: Deviations) -> RuleResult:
        """The candidate's errors stay below the labels' own spread: it does not answer the same for everything."""
        spread, candidate = statistics.spread, statistics.mean("squared_candidate")
        observed, passed, reason = "no predictions", False, "there are no predictions to look at."
        if spread is not None and candidate is not None:
            passed = candidate < spread
            observed = f"{float(candidate):.6g} against {float(spread):.6g}"
            reason = (
                "the candidate's answers follow the labels."
                if passed
                else "always answering the mean label would be no worse than the candidate: its output has collapsed or lost its "
                "scale. Usual causes: an output range that calibration did not see, a quantized last layer."
            )
        return RuleResult(
            name=RuleName.NOT_COLLAPSED,
            threshold="squared errors below the labels' own spread",
            observed=observed,
            passed=passed,
            reason=reason,
            source=SOURCE_CLOSED,
        )

    def kept(self, statistics: Deviations, rules: GateRules) -> RuleResult:
        """Candidate's error at most the float model's times the factor."""
        figure, allowed = self.figure(statistics), decimal(rules.max_error_factor, 4)
        ratio = figure.ratio
        return RuleResult(
            name=RuleName.ERROR_KEPT,
            threshold=f"at most {allowed} times the float model's",
            observed=figure.both,
            passed=ratio is not None and ratio <= rules.max_error_factor**figure.power,
            reason=f"the float model's {figure.title} is {figure.text(figure.of_float)}; nothing can be a multiple of that. "
            "Labels that are its own answers judge nothing: give values that were measured."
            if ratio is None
            else f"the candidate's {figure.title} is {figure.growth} times the float model's; allowed {allowed}.",
            source=SOURCE_CLOSED if ratio is None else SOURCE_EXACT,
        )

    def bound_kept(self, statistics: Deviations, rules: GateRules) -> RuleResult:
        """The one-sided bound of the ratio of the errors keeps the factor."""
        assert rules.confidence is not None
        level, power = percent(rules.confidence), self.figure(statistics).power
        allowed = decimal(rules.max_error_factor, 4)
        bounds = ratio_bounds(statistics, self.kind, float(rules.confidence))
        upper = bounds[1] if bounds else None
        shown = "no bound" if upper is None else f"{upper ** (1 / power):.4f}"
        return RuleResult(
            name=RuleName.CONFIDENCE_BOUND,
            threshold=f"factor {allowed} at {level} one-sided confidence",
            observed=shown,
            passed=upper is not None and Fraction(upper) <= rules.max_error_factor**power,
            reason="nothing bounds the ratio of the errors."
            if upper is None
            else f"with {level} confidence the candidate's error is at most {shown} times the float model's; allowed {allowed}.",
            source=f"{SOURCE_CONFIG}: {RATIO_METHOD}",
        )

    def part_kept(self, part: Deviations, required: Fraction) -> PartResult:
        """How one slice fared against the factor."""
        figure = self.figure(part)
        if figure.ratio is None:
            result = f": the float model's {figure.title} is {figure.text(figure.of_float)}, and nothing can be a multiple of that"
            return PartResult(part.num_examples, False, Fraction(-(10**9)), result)
        result = f" has {figure.growth} times the float model's {figure.title} ({figure.both} on {part.num_examples})"
        return PartResult(part.num_examples, figure.ratio <= required**figure.power, -figure.ratio, result)

    def required(self, rules: GateRules) -> Fraction:
        """The largest factor."""
        return rules.max_error_factor

    def requirement(self, required: Fraction) -> str:
        """The largest factor in words."""
        return f"at most {decimal(required, 4)} times the float model's error"

    def compared(self, statistics: Deviations, rules: GateRules) -> str:
        """Both errors, and what was allowed."""
        figure = self.figure(statistics)
        return (
            f"has {figure.growth} times the float model's {figure.title} ({figure.both} on {statistics.num_examples}); "
            f"allowed {decimal(rules.max_error_factor, 4)}"
        )

    def overfitting_hint(self) -> str:
        """What a training log shows of a model that knows its training examples by heart."""
        return "an error far below"

    def rows(self, tally: Tally, rules: GateRules) -> MeasuredRows:
        """Errors of the whole, then of the slices."""
        if not isinstance(tally.whole, Deviations) or tally.inconsistencies():
            return MeasuredRows()
        parts = [(SliceKey("", ""), tally.whole), *sorted_slices(tally)]
        return MeasuredRows(
            metric=metric_record(self.figure(tally.whole), rules.max_error_factor),
            errors=tuple(_error_record(key, errors) for key, errors in parts),
            parts=_part_records(tally.whole),
        )

    def part_rows(self, report: GateReport) -> tuple[PartRow, ...]:
        """Slices in which the float model errs."""
        rows = []
        for record in report.errors:
            of_float, of_candidate = record.of(self.metric.value)
            if record.name and of_float and of_candidate is not None:
                factor = Fraction(of_candidate / of_float)
                sentence = (
                    f"has {decimal_up(factor, 4)} times the float model's error "
                    f"({of_candidate:.6g} / {of_float:.6g} on {record.num_examples})"
                )
                rows.append(PartRow(record.name, record.value, record.num_examples, factor - 1, sentence))
        return (*rows, *super().part_rows(report))

    def tfma_figures(self, part: Deviations, *, is_whole: bool) -> TfmaFigures:
        """All errors of the whole, or of one slice."""

        def pair(kind: str, power: float = 1) -> tuple[float, float]:
            means = [part.mean(f"{kind}_{which}") for which in ("float", "candidate")]
            values = [math.nan if value is None else float(value) ** power for value in means]
            return values[0], values[1]

        total = float(part.num_examples)
        return {
            "example_count": (total, total),
            "mean_absolute_error": pair("absolute"),
            "mean_squared_error": pair("squared"),
            "root_mean_squared_error": pair("squared", 0.5),
        }


def _explains_labels(errors: Deviations) -> bool:
    spread, squared, n = errors.spread, errors.mean("squared_float"), errors.num_examples
    if spread is None or squared is None or n < 2:
        return False
    return squared < spread * (1 - Fraction(CHANCE_SIGMAS**2, n))


def output_parts(errors: Deviations) -> tuple[OutputPart, ...]:
    """Parts of an output that the float model explains, where the output is several things; see ``columns.py``."""
    parts = errors.columns.parts() if errors.columns is not None else ()
    n = errors.num_examples
    return tuple(
        part for part in parts if part.squared_float < part.spread * (1 - Fraction(CHANCE_SIGMAS**2, max(n, 1)))
    )


def _part_factor(rules: GateRules) -> Fraction:
    """How far the error of a part may grow: several times what the whole may, because nobody asked for the part by itself."""
    return 1 + PART_GROWTH * (rules.max_error_factor - 1)


def worst_part_kept(errors: Deviations, rules: GateRules) -> RuleResult:
    """No part of an output is lost behind a larger one: root mean squared errors, part by part."""
    allowed = _part_factor(rules)
    parts = sorted(output_parts(errors), key=lambda part: (-(part.ratio or Fraction(0)), part.name))
    worst = parts[0]
    passed = worst.ratio is None or worst.ratio <= allowed**2
    return RuleResult(
        name=RuleName.WORST_PART_KEPT,
        threshold=f"at most {decimal(allowed, 4)} times the float model's error in every part of the output",
        observed=f"{worst.name} {_part_growth(worst)}",
        passed=passed,
        reason="every part of the output keeps its errors."
        if passed
        else f"the output's numbers {worst.name} spread by {_root(worst.spread):.3g}, the rest by other orders of magnitude, and "
        f"there the candidate has {_part_growth(worst)} times the float model's error ({_root(worst.squared_candidate):.3g} / "
        f"{_root(worst.squared_float):.3g}); allowed {decimal(allowed, 4)}. One scale cannot serve both: give each an output of its own.",
        source=SOURCE_PARTS,
    )


def _part_growth(part: OutputPart) -> str:
    return "no" if part.ratio is None else f"{_root(part.ratio):.4f}"


def _root(value: Fraction) -> float:
    return math.sqrt(value)


def _part_records(errors: Deviations) -> tuple[PartRecord, ...]:
    return tuple(
        PartRecord(
            name="output",
            value=part.name,
            num_examples=part.num_rows,
            loss=_root(part.ratio or Fraction(1)) - 1,
            sentence=f"has {_part_growth(part)} times the float model's error ({_root(part.squared_candidate):.6g} / "
            f"{_root(part.squared_float):.6g}, labels spread by {_root(part.spread):.6g})",
        )
        for part in output_parts(errors)
    )


def _error_record(key: SliceKey, errors: Deviations) -> ErrorRecord:
    def mean(of: str, power: float = 1) -> float | None:
        value = errors.mean(of)
        return None if value is None else float(f"{float(value) ** power:.9g}")

    return ErrorRecord(
        name=key.name,
        value=key.value,
        num_examples=errors.num_examples,
        mean_absolute_error_float=mean("absolute_float"),
        mean_absolute_error_candidate=mean("absolute_candidate"),
        root_mean_squared_error_float=mean("squared_float", 0.5),
        root_mean_squared_error_candidate=mean("squared_candidate", 0.5),
    )
