"""Rules that compare the candidate with something beside the float model's answers: the model released now, and its own
answers with other kernels. All of them are off unless the config sets them.
"""

from __future__ import annotations

from fractions import Fraction

from components.evaluator.case import NoChampion
from components.evaluator.gate.evidence import Evidence
from components.evaluator.gate.rule import (
    SOURCE_CLOSED,
    SOURCE_CONFIG,
    Blame,
    Rule,
    RuleName,
    RuleResult,
    percent,
    percent_down,
)


def no_worse_than_release(evidence: Evidence) -> RuleResult:
    """Right answers over those of the model released now, on the same examples; nothing released yet passes."""
    released, minimum, counted = evidence.case.champion, evidence.rules.champion_min_ratio, evidence.counted.champion
    assert minimum is not None
    title = "the current release" if isinstance(released, NoChampion) else released.title
    kept, observed, passed, source = None, "no comparison", False, SOURCE_CLOSED
    if isinstance(released, NoChampion):
        observed, passed, reason, source = "no release", True, released.reason, SOURCE_CONFIG
    elif counted is None or counted.problem or counted.num_correct_champion <= 0:
        problem = counted.problem if counted is not None and counted.problem else "it got nothing right"
        reason = f"{title} could not be compared with: {problem} Remove gate.champion_min_ratio for this run."
    else:
        reference = counted.num_correct_champion
        right = reference + counted.num_only_candidate_correct - counted.num_only_champion_correct
        kept, source = Fraction(right, reference), SOURCE_CONFIG
        observed, passed = f"{right} / {reference}", kept >= minimum
        reason = (
            f"the candidate got {right} right where {title} got {reference} ({percent_down(kept)}); required "
            f"{percent(minimum)}."
        )
    return RuleResult(
        name=RuleName.NO_WORSE_THAN_RELEASE,
        threshold=f"{percent(minimum)} of the right answers of {title}",
        observed=observed,
        passed=passed,
        reason=reason,
        source=source,
    )


def kernels_agree(evidence: Evidence) -> RuleResult:
    """Share of the sample to which built-in kernels and XNNPACK give the same answer."""
    kernels, minimum = evidence.counted.kernels, evidence.rules.min_kernel_agreement
    assert minimum is not None
    share, observed = None, "no comparison"
    if kernels is None or kernels.problem or kernels.num_examples == 0:
        problem = kernels.problem if kernels is not None and kernels.problem else "no example was sampled."
        reason = f"the built-in kernels scored nothing: {problem}"
    else:
        share = Fraction(kernels.num_same_answer, kernels.num_examples)
        observed = f"{kernels.num_same_answer} / {kernels.num_examples}"
        reason = (
            f"built-in kernels and XNNPACK give the same answer on {percent_down(share)} of the sample; required "
            f"{percent(minimum)}."
        )
    return RuleResult(
        name=RuleName.KERNELS_AGREE,
        threshold=f"{percent(minimum)} same answers",
        observed=observed,
        passed=share is not None and share >= minimum,
        reason=reason,
        source=SOURCE_CLOSED if share is None else SOURCE_CONFIG,
    )


RELEASE_RULES = (
    Rule(
        name=RuleName.NO_WORSE_THAN_RELEASE,
        judge=no_worse_than_release,
        setting="champion_min_ratio",
        blame=Blame.RELEASE,
    ),
    Rule(name=RuleName.KERNELS_AGREE, judge=kernels_agree, setting="min_kernel_agreement"),
)
