"""Rules that every verdict rests on: the counts, the float model, and the figure that is compared.

What a figure is, its measurement knows; here it is only asked, in order.
"""

from __future__ import annotations

from components.evaluator.counting.deviations import Deviations
from components.evaluator.counting.metric import LabelKind, Metric
from components.evaluator.gate.evidence import Evidence
from components.evaluator.gate.rule import (
    SOURCE_ARITHMETIC,
    SOURCE_CLOSED,
    SOURCE_LUCK,
    SOURCE_WHOLE,
    Blame,
    Rule,
    RuleName,
    RuleResult,
)
from components.evaluator.measurements.class_losses import no_class_lost
from components.evaluator.measurements.classes import labels_in_range
from components.evaluator.measurements.values import output_parts, worst_part_kept


def nothing_scored(evidence: Evidence) -> RuleResult:
    """Where nothing was counted there is nothing to judge."""
    is_scored = evidence.is_scored
    return RuleResult(
        name=RuleName.SCORED,
        threshold="counts of both models",
        observed="counts" if is_scored else "none",
        passed=is_scored,
        reason="both models were scored."
        if is_scored
        else "nothing was scored."
        if evidence.tally is None
        else f"split {evidence.case.split} holds no example, so nothing was scored.",
        source=SOURCE_CLOSED,
    )


def counts_agree(evidence: Evidence) -> RuleResult:
    """The paired table, the totals, the classes and the slices say the same."""
    contradictions = evidence.counted.inconsistencies()
    return RuleResult(
        name=RuleName.CONSISTENT_COUNTS,
        threshold="no contradiction",
        observed=f"{len(contradictions)} contradiction(s)",
        passed=not contradictions,
        reason=f"the counts contradict each other: {'; '.join(contradictions)}. Run the evaluation again."
        if contradictions
        else "the counts add up.",
        source=SOURCE_ARITHMETIC,
    )


def every_example_scored(evidence: Evidence) -> RuleResult:
    """The number scored is the number the split holds."""
    scored, expected = evidence.counted.num_examples, evidence.case.expected_num_examples
    passed = scored == expected
    reason = f"{scored} examples were scored and the split holds {expected}"
    reason += (
        "."
        if passed
        else "; a verdict on a part of the holdout is none. Rebuild the examples and their statistics together."
    )
    if expected is None:
        reason = (
            "nobody says how many examples the split holds, so a part of it could have been left out. "
            "Run StatisticsGen on it."
        )
    return RuleResult(
        name=RuleName.EVERY_EXAMPLE_SCORED,
        threshold="the split's own count" if expected is None else str(expected),
        observed=f"{scored}, to be compared with nothing" if expected is None else str(scored),
        passed=passed,
        reason=reason,
        source=SOURCE_WHOLE,
    )


def enough_examples(evidence: Evidence) -> RuleResult:
    """Enough examples, and how often luck would pass a model a little below the rule."""
    scored, least = evidence.counted.num_examples, evidence.rules.min_examples
    chance = evidence.measurement.chance_to_pass(evidence.whole, evidence.rules)
    reason = chance or f"{scored} examples were scored."
    if scored < least:
        reason = (
            f"{scored} examples are too few, {least} are needed: {reason} "
            "Add examples to the split, or lower gate.min_examples."
        )
    return RuleResult(
        name=RuleName.MINIMUM_EXAMPLES,
        threshold=str(least),
        observed=str(scored),
        passed=scored >= least,
        reason=reason,
        source=SOURCE_LUCK,
    )


def _should_have_been_scored(evidence: Evidence) -> bool:
    """A candidate that was not let through to the scoring has its own refusal already."""
    case, candidate = evidence.case, evidence.candidate
    is_changed = case.checks_recorded_sha256 and candidate.sha256 != case.recorded_sha256
    return not evidence.is_scored and not candidate.problem and not is_changed


def _of_classes(evidence: Evidence) -> bool:
    return evidence.rules.metric.labels is LabelKind.CLASS


FIGURE_RULES = (
    Rule(
        name=RuleName.SCORED,
        judge=nothing_scored,
        applies=_should_have_been_scored,
        needs_counts=False,
    ),
    Rule(name=RuleName.CONSISTENT_COUNTS, judge=counts_agree),
    Rule(name=RuleName.EVERY_EXAMPLE_SCORED, judge=every_example_scored),
    Rule(name=RuleName.MINIMUM_EXAMPLES, judge=enough_examples, setting="min_examples", blame=Blame.NUM_EXAMPLES),
    Rule(
        name=RuleName.FINITE_OUTPUTS,
        judge=lambda evidence: evidence.measurement.finite(evidence.whole),
    ),
    Rule(
        name=RuleName.LABELS_IN_RANGE,
        judge=lambda evidence: labels_in_range(evidence.counts),
        applies=_of_classes,
        blame=Blame.LABELS,
    ),
    Rule(
        name=RuleName.FLOAT_ACCURACY,
        judge=lambda evidence: evidence.measurement.float_good_enough(evidence.whole, evidence.rules),
        blame=Blame.FLOAT_MODEL,
    ),
    Rule(
        name=RuleName.NOT_COLLAPSED,
        judge=lambda evidence: evidence.measurement.not_collapsed(evidence.whole),
        blame=Blame.QUANTIZATION,
    ),
    Rule(
        name=RuleName.ACCURACY_KEPT,
        judge=lambda evidence: evidence.measurement.kept(evidence.whole, evidence.rules),
        blame=Blame.QUANTIZATION,
    ),
    Rule(
        name=RuleName.NO_CLASS_LOST,
        judge=lambda evidence: no_class_lost(
            evidence.counts,
            evidence.rules,
            evidence.case.class_names,
            judges_decisions=evidence.rules.metric is not Metric.TOPK,
        ),
        applies=lambda evidence: _of_classes(evidence) and evidence.rules.metric is not Metric.AUC,
        blame=Blame.QUANTIZATION,
    ),
    Rule(
        name=RuleName.WORST_PART_KEPT,
        judge=lambda evidence: worst_part_kept(evidence.whole, evidence.rules),
        applies=lambda evidence: isinstance(evidence.whole, Deviations) and bool(output_parts(evidence.whole)),
        blame=Blame.QUANTIZATION,
    ),
    Rule(
        name=RuleName.CONFIDENCE_BOUND,
        judge=lambda evidence: evidence.measurement.bound_kept(evidence.whole, evidence.rules),
        setting="confidence",
        blame=Blame.NUM_EXAMPLES,
    ),
)
