"""The search of recipe auto on one screen: what was asked, what was wrong, what was tried, what was chosen and why."""

from __future__ import annotations

from components.repair.facts import THE_REST, CandidateFacts, FindingFacts, GoalFacts, SkippedFacts
from components.tflite_converter.report import ConversionReport

_LIMITS = {
    "classes": "at most {:.1%} of the right answers lost",
    "ids": "at most {:.1%} of the answers changed",
    "values": "error at most {:.1%} of its spread",
}
_NAME_WIDTH = 72
_REASON_WIDTH = 120
_MAX_SKIPPED = 3


def describe_search(report: ConversionReport) -> list[str]:
    """Lines for people; none unless the recipe is auto."""
    if report.goal is None:
        return []
    return [
        *_goal_lines(report.goal),
        *(_finding_line(finding, _steps_taken(report)) for finding in report.findings),
        *([] if report.findings else ["found    nothing awkward about the model or the data"]),
        *_candidate_lines(report),
        *_change_lines(report),
        *_skipped_lines(report.skipped),
        f"chosen   {report.chosen.name}: {report.chosen.why_chosen}",
    ]


def _goal_lines(goal: GoalFacts) -> list[str]:
    aside = f", {goal.num_set_aside} with fault codes set aside" if goal.num_set_aside else ""
    rows = f"on {goal.num_rows} examples that set no range{aside}"
    lines = []
    for output in goal.outputs:
        limit = _LIMITS[output.kind].format(output.limit)
        lines.append(f"goal     {output.output} ({output.kind}: {output.reason}): {limit}, {rows}")
        if output.parts:
            lines.append(
                f"         its parts have scales of their own, and the worst counts: {'; '.join(output.parts)}"
            )
    return [
        *lines,
        "aim      a third of that ends the search at once; float operators come only where no integer model meets the goal",
    ]


def _finding_line(finding: FindingFacts, steps: tuple[str, ...]) -> str:
    side = "below" if finding.figure < finding.threshold else "above"
    taken = not finding.step or any(step.startswith(finding.step) or finding.step in step for step in steps)
    remedy = finding.remedy if taken else "it did no harm that had to be cured"
    return f"found    {finding.name}: {finding.figure:.3g} at {_short(finding.tensor)} ({side} {finding.threshold:g}); {remedy}"


def _candidate_lines(report: ConversionReport) -> list[str]:
    names = _distinct([candidate.name for candidate in report.candidates])
    width = max(len(name) for name in names)
    outputs = [loss.output for loss in report.candidates[0].losses]
    header = "  ".join([f"{'tried':<8} {'':<{width}}", *(f"{_cut(name, 10):>10}" for name in outputs)])
    pairs = zip(report.candidates, names, strict=True)
    lines = [_candidate_line(candidate, name, width) for candidate, name in pairs]
    return [f"{header}  {'bytes':>9}  {'float ops':>9}  {'s':>5}", *lines]


def _candidate_line(candidate: CandidateFacts, name: str, width: int) -> str:
    mark = "->" if candidate.chosen else ""
    losses = "  ".join(f"{loss.loss:>9.2%}{' ' if loss.met else '!'}" for loss in candidate.losses)
    num_float = len(candidate.float_operators)
    return f"{mark:>8} {name:<{width}}  {losses}  {candidate.size_bytes:>9,}  {num_float:>9}  {candidate.seconds:>5.2f}"


def _change_lines(report: ConversionReport) -> list[str]:
    if not report.changes or "equalization" not in report.chosen.steps or report.largest_logit_difference is None:
        return []
    return [
        f"changed  {len(report.changes)} tensors equalized; outputs of the float model moved by at most "
        f"{report.largest_logit_difference:.1e} of their spread"
    ]


def _skipped_lines(skipped: tuple[SkippedFacts, ...]) -> list[str]:
    """What was not tried and why: the bound that was reached in any case, others as far as there is room."""
    steps = [skip for skip in skipped if skip.step != THE_REST]
    lines = [
        f"skipped  {_cut(skip.step, _NAME_WIDTH)}: {_cut(skip.reason, _REASON_WIDTH)}" for skip in steps[:_MAX_SKIPPED]
    ]
    if len(steps) > _MAX_SKIPPED:
        lines.append(f"         and {len(steps) - _MAX_SKIPPED} more (see the report)")
    return [*lines, *(f"stopped  {skip.reason}" for skip in skipped if skip.step == THE_REST)]


def _steps_taken(report: ConversionReport) -> tuple[str, ...]:
    return (*report.chosen.steps, report.chosen.ranges)


def _distinct(names: list[str]) -> list[str]:
    """The names, long ones cut in their middle, and numbered where two are the same then."""
    cut = [_cut_middle(name, _NAME_WIDTH) for name in names]
    return [
        name if cut.count(name) == 1 else f"{name} ({cut[:position].count(name) + 1})"
        for position, name in enumerate(cut)
    ]


def _cut_middle(text: str, width: int) -> str:
    if len(text) <= width:
        return text
    head = (width - 3) // 2
    return f"{text[:head]}...{text[len(text) - (width - 3 - head) :]}"


def _short(tensor: str) -> str:
    """The first of the layers that were fused into a tensor's operator."""
    return tensor.split(";")[0]


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."
