"""Rules about the compared figure where it is not the share of right answers: F1, AUC, and errors of real numbers.

The float model has to be clearly better than knowing nothing, as everywhere; the candidate keeps the ratio, or its
error grows by no more than the factor. Fractions decide; an absent figure is a "no".
"""

from __future__ import annotations

from fractions import Fraction

from components.evaluator.counting.counts import Counts
from components.evaluator.counting.deviations import RATIO_METHOD, UNIT_BITS, Deviations, ratio_bounds
from components.evaluator.counting.metric import Metric
from components.evaluator.counting.tally import Tally
from components.evaluator.gate.figure import Figure
from components.evaluator.gate.intervals import PAIRED_RATIO_METHOD, paired_ratio_interval
from components.evaluator.gate.rule import (
    SOURCE_CLOSED,
    SOURCE_CONFIG,
    SOURCE_FINITE,
    SOURCE_FLOOR,
    RuleResult,
    decimal,
    decimal_up,
    percent,
    percent_down,
)
from components.evaluator.gate.thresholds import GateRules

SOURCE_RANKS = "Mann-Whitney statistic without association, 3 standard deviations (one-sided p = 0.0013)"
SOURCE_ASSOCIATION = "fourfold table without association, 3 standard deviations (one-sided p = 0.0013)"
SOURCE_CORRELATION = "squared correlation without association has mean 1 / n; 9 / n is 3 standard deviations"
SOURCE_EXACT = "both models on the same examples, compared as fractions"
CHANCE_SIGMAS = 3


def figure_kept(figure: Figure, rules: GateRules) -> RuleResult:
    """Candidate's F1 or AUC over the float model's, at least the minimum ratio."""
    name, required = "figure_kept", percent(rules.minimum_ratio)
    observed = f"{figure.text(figure.of_candidate)} / {figure.text(figure.of_float)}"
    kept = figure.ratio
    if kept is None:
        reason = absent_reason(figure)
        return RuleResult(name, required, observed, False, reason, SOURCE_CLOSED)
    reason = f"the candidate keeps {percent_down(kept)} of the float model's {figure.name}; required {required}."
    return RuleResult(name, required, observed, kept >= rules.minimum_ratio, reason, SOURCE_EXACT)


def absent_reason(figure: Figure) -> str:
    """Why there may be no F1 or AUC."""
    return (
        f"there is no {figure.name} of both models to compare: a class without examples, a model that never answers "
        "class 1, or more than two classes. Check the holdout, or set gate.metric."
    )


def error_kept(figure: Figure, rules: GateRules) -> RuleResult:
    """Candidate's error at most the float model's times the factor."""
    allowed = decimal(rules.maximum_error_factor, 4)
    name, threshold = "error_kept", f"at most {allowed} times the float model's"
    observed = f"{figure.text(figure.of_candidate)} / {figure.text(figure.of_float)}"
    ratio = figure.ratio
    if ratio is None:
        reason = (
            f"the float model's {figure.name} is {figure.text(figure.of_float)}; nothing can be a multiple of that."
        )
        return RuleResult(name, threshold, observed, False, reason, SOURCE_CLOSED)
    limit = rules.maximum_error_factor ** (2 if figure.metric is Metric.RMSE else 1)
    reason = f"the candidate's {figure.name} is {growth(figure)} times the float model's; allowed {allowed}."
    return RuleResult(name, threshold, observed, ratio <= limit, reason, SOURCE_EXACT)


def growth(figure: Figure) -> str:
    """Candidate's error over the float model's, rounded up to four decimals."""
    ratio = figure.ratio
    if ratio is None:
        return "not to be compared with"
    if figure.metric is not Metric.RMSE:
        return decimal_up(ratio, 4)
    root = int(float(ratio) ** 0.5 * 10**4)
    while Fraction(root, 10**4) ** 2 < ratio:  # the smallest number of ten-thousandths that is not below
        root += 1
    return decimal(Fraction(root, 10**4), 4)


def float_figure_good_enough(figure: Figure, tally: Tally, rules: GateRules) -> RuleResult:
    """The float model tells something: above an explicit floor, or clearly above knowing nothing."""
    if figure.of_float is None and figure.metric.is_binary:
        return RuleResult("float_accuracy", "above chance", "none", False, absent_reason(figure), SOURCE_CLOSED)
    if rules.minimum_float_accuracy is not None and not figure.metric.is_regression:
        wanted = percent(rules.minimum_float_accuracy)
        passed = figure.of_float is not None and figure.of_float >= max(
            rules.minimum_float_accuracy, Fraction(1, 10**9)
        )
        reason = (
            f"the float model reaches its floor of {wanted}."
            if passed
            else f"the float model's {figure.name} of {figure.text(figure.of_float)} misses its floor of {wanted}. "
            "Train a better model, or lower gate.min_float_accuracy."
        )
        return RuleResult("float_accuracy", wanted, str(figure.text(figure.of_float)), passed, reason, SOURCE_FLOOR)
    passed, threshold, source = _above_chance(figure, tally)
    reason = (
        "the float model is clearly above chance."
        if passed
        else f"the float model ({figure.name} {figure.text(figure.of_float)}) is not clearly better than knowing nothing, "
        "so keeping its figure proves nothing. Train a better model."
    )
    return RuleResult("float_accuracy", threshold, str(figure.text(figure.of_float)), passed, reason, source)


def _above_chance(figure: Figure, tally: Tally) -> tuple[bool, str, str]:
    if figure.metric is Metric.AUC:
        return (
            _ranks_above_chance(figure.of_float, tally.counts),
            "AUC above 0.5 by 3 standard deviations",
            SOURCE_RANKS,
        )
    if figure.metric is Metric.F1:
        threshold = "answers that go with the labels, by 3 standard deviations"
        return _associated(tally.counts), threshold, SOURCE_ASSOCIATION
    threshold = "squared errors below the labels' own spread, by 3 standard deviations"
    return tally.errors is not None and _explains_labels(tally.errors), threshold, SOURCE_CORRELATION


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


def _explains_labels(errors: Deviations) -> bool:
    n = errors.num_examples
    mean, mean_square = errors.mean("labels"), errors.mean("labels_squared")
    if mean is None or mean_square is None or n < 2:
        return False
    spread = mean_square - mean**2
    return Fraction(errors.squared_float, n << UNIT_BITS) < spread * (1 - Fraction(CHANCE_SIGMAS**2, n))


def numbers_finite(errors: Deviations) -> RuleResult:
    """No NaN and no infinity in outputs and labels."""
    found = (errors.num_nonfinite_float, errors.num_nonfinite_candidate, errors.num_nonfinite_labels)
    observed = f"{found[0]} float, {found[1]} candidate, {found[2]} labels"
    reason = (
        "every output and every label is a finite number."
        if not any(found)
        else f"rows with NaN or infinite values: {observed}. "
        "Look for a division by zero, an overflow, or inputs and labels that hold NaN."
    )
    return RuleResult("finite_outputs", "0 rows", observed, not any(found), reason, SOURCE_FINITE)


def numbers_not_collapsed(errors: Deviations) -> RuleResult:
    """The candidate's errors stay below the labels' own spread: it does not answer the same for everything."""
    name, threshold = "not_collapsed", "squared errors below the labels' own spread"
    mean, mean_square, candidate = (
        errors.mean("labels"),
        errors.mean("labels_squared"),
        errors.mean("squared_candidate"),
    )
    if mean is None or mean_square is None or candidate is None:
        return RuleResult(
            name, threshold, "no predictions", False, "there are no predictions to look at.", SOURCE_CLOSED
        )
    spread = mean_square - mean**2
    observed = f"{float(candidate):.6g} against {float(spread):.6g}"
    reason = (
        "the candidate's answers follow the labels."
        if candidate < spread
        else "always answering the mean label would be no worse than the candidate: its output has collapsed or lost its "
        "scale. Usual causes: an output range that calibration did not see, a quantized last layer."
    )
    return RuleResult(name, threshold, observed, candidate < spread, reason, SOURCE_CLOSED)


def bound_kept(tally: Tally, rules: GateRules) -> RuleResult:
    """The one-sided confidence bound of the ratio keeps the rule, not only the measured ratio."""
    assert rules.confidence is not None
    level = percent(rules.confidence)
    if rules.metric.is_regression:
        return _error_bound_kept(tally.errors, rules, level)
    name, threshold = "confidence_bound", f"{percent(rules.minimum_ratio)} at {level} one-sided confidence"
    interval = paired_ratio_interval(tally.counts, float(2 * rules.confidence - 1))
    source = f"{SOURCE_CONFIG}: {PAIRED_RATIO_METHOD}"
    if interval is None:
        return RuleResult(name, threshold, "no bound", False, "nobody got anything right: there is no bound.", source)
    lower = Fraction(interval.lower)
    reason = f"with {level} confidence the candidate keeps at least {percent_down(lower)}; required {percent(rules.minimum_ratio)}."
    passed = lower >= rules.minimum_ratio
    if not passed:
        reason += " Add examples to the holdout, or remove gate.confidence."
    return RuleResult(name, threshold, percent_down(lower), passed, reason, source)


def _error_bound_kept(errors: Deviations | None, rules: GateRules, level: str) -> RuleResult:
    assert rules.confidence is not None
    name, allowed = "confidence_bound", rules.maximum_error_factor
    threshold, source = (
        f"factor {decimal(allowed, 4)} at {level} one-sided confidence",
        f"{SOURCE_CONFIG}: {RATIO_METHOD}",
    )
    is_square = rules.metric is Metric.RMSE
    bounds = ratio_bounds(errors, "squared" if is_square else "absolute", float(rules.confidence)) if errors else None
    upper = bounds[1] if bounds else None
    if upper is None:
        return RuleResult(name, threshold, "no bound", False, "nothing bounds the ratio of the errors.", source)
    passed = Fraction(upper) <= allowed ** (2 if is_square else 1)
    shown = f"{upper ** (0.5 if is_square else 1):.4f}"
    reason = f"with {level} confidence the candidate's error is at most {shown} times the float model's; allowed {decimal(allowed, 4)}."
    return RuleResult(name, threshold, shown, passed, reason, source)
