"""Turns what a search found into the facts of conversion_report.json."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable

from components.repair.diagnosis import Finding
from components.repair.equalization import Change
from components.repair.facts import (
    CandidateFacts,
    ChangeFacts,
    FindingFacts,
    GoalFacts,
    OutputGoalFacts,
    OutputLossFacts,
    SearchFacts,
    SkippedFacts,
)
from components.repair.goal import Goal, Score
from components.repair.search.candidates import Candidate, SearchResult

#: The first step of every recipe with calibrated ranges.
STRATIFIED = "stratified calibration"


def search_facts(result: SearchResult) -> SearchFacts:
    """Everything about a search but the files."""
    return SearchFacts(
        goal=_goal_facts(result.goal),
        findings=tuple(_finding_facts(f) for f in result.findings),
        candidates=tuple(
            _candidate_facts(candidate, result.choice.reason if candidate is result.chosen else "")
            for candidate in result.candidates
        ),
        changes=change_facts(result.changes),
        largest_logit_difference=result.largest_logit_difference,
        skipped=tuple(SkippedFacts(step=s.step, reason=s.reason) for s in result.skipped),
        outside_ranges={name: rounded(share) for name, share in sorted(result.outside.items())},
        met_goal=result.choice.met_goal,
        input_type=result.chosen.proposal.io_types.inputs,
        output_type=result.chosen.proposal.io_types.outputs,
    )


def change_facts(changes: Iterable[Change]) -> tuple[ChangeFacts, ...]:
    """What equalization changed."""
    return tuple(
        ChangeFacts(tensor=c.tensor, what=c.what, figure=rounded(c.figure), figure_after=rounded(c.figure_after))
        for c in changes
    )


def _finding_facts(finding: Finding) -> FindingFacts:
    return FindingFacts(
        name=finding.name,
        tensor=finding.tensor,
        figure=rounded(finding.figure),
        threshold=finding.threshold,
        remedy=finding.remedy,
        step=finding.step,
    )


def _goal_facts(goal: Goal) -> GoalFacts:
    return GoalFacts(
        outputs=tuple(
            OutputGoalFacts(output=o.name, kind=o.kind.value, reason=o.reason, limit=o.limit, parts=o.parts)
            for o in goal.outputs
        ),
        num_rows=len(goal.decides) - goal.num_set_aside,
        num_set_aside=goal.num_set_aside,
    )


def _candidate_facts(candidate: Candidate, why_chosen: str) -> CandidateFacts:
    return CandidateFacts(
        name=candidate.name,
        recipe=candidate.recipe,
        steps=(*([STRATIFIED] if candidate.recipe.needs_calibration else []), *candidate.steps),
        ranges=candidate.proposal.source.ranges if candidate.proposal.source else "",
        losses=_losses(candidate.score),
        met_goal=candidate.score.met,
        sha256=hashlib.sha256(candidate.model).hexdigest(),
        size_bytes=len(candidate.model),
        float_operators=candidate.inspection.float_operators,
        score=candidate.agreement,
        seconds=candidate.seconds,
        chosen=bool(why_chosen),
        why_chosen=why_chosen,
    )


def _losses(score: Score) -> tuple[OutputLossFacts, ...]:
    return tuple(
        OutputLossFacts(output=o.output, loss=o.loss, met=o.met, part=o.worst_part, is_useless=o.is_useless)
        for o in score.outputs
    )


def rounded(figure: float) -> float:
    """Four significant digits; infinity, which JSON does not have, becomes the largest double."""
    return float(f"{figure:.4g}") if math.isfinite(figure) else math.copysign(1.7e308, figure)
