"""The search of recipe auto on one screen: what was asked, what was wrong, what was tried, what was chosen and why."""

from __future__ import annotations

from components.repair.facts import CandidateFacts, FindingFacts, GoalFacts
from components.tflite_converter.report import ConversionReport

_LIMITS = {
    "classes": "at most {:.1%} of the right answers lost",
    "ids": "at most {:.1%} of the answers changed",
    "values": "error at most {:.1%} of its spread",
}
_NAME_WIDTH = 72


def describe_search(report: ConversionReport) -> list[str]:
    """Lines for people; none unless the recipe is auto."""
    if report.goal is None:
        return []
    return [
        *_goal_lines(report.goal),
        *(_finding_line(finding) for finding in report.findings),
        *([] if report.findings else ["found    nothing awkward about the model or the data"]),
        *_candidate_lines(report),
        *_change_lines(report),
        *([f"skipped  {_listed([s.step for s in report.skipped])}"] if report.skipped else []),
        f"chosen   {report.chosen.name}: {report.chosen.why_chosen}",
    ]


def _goal_lines(goal: GoalFacts) -> list[str]:
    aside = f", {goal.num_set_aside} with fault codes set aside" if goal.num_set_aside else ""
    rows = f"on {goal.num_rows} examples that set no range{aside}"
    return [
        f"goal     {output.output} ({output.kind}: {output.reason}): {_LIMITS[output.kind].format(output.limit)}, {rows}"
        for output in goal.outputs
    ]


def _finding_line(finding: FindingFacts) -> str:
    side = "below" if finding.figure < finding.threshold else "above"
    return (
        f"found    {finding.name}: {finding.figure:.3g} at {_short(finding.tensor)} ({side} {finding.threshold:g}); "
        f"{finding.remedy}"
    )


def _candidate_lines(report: ConversionReport) -> list[str]:
    width = min(_NAME_WIDTH, max(len(candidate.name) for candidate in report.candidates))
    outputs = [loss.output for loss in report.candidates[0].losses]
    header = "  ".join([f"{'tried':<8} {'':<{width}}", *(f"{_cut(name, 10):>10}" for name in outputs)])
    lines = [_candidate_line(candidate, width) for candidate in report.candidates]
    return [f"{header}  {'bytes':>9}  {'float ops':>9}  {'s':>5}", *lines]


def _candidate_line(candidate: CandidateFacts, width: int) -> str:
    mark = "->" if candidate.chosen else ""
    losses = "  ".join(f"{loss.loss:>9.2%}{' ' if loss.met else '!'}" for loss in candidate.losses)
    num_float = len(candidate.float_operators)
    name = _cut(candidate.name, width)
    return f"{mark:>8} {name:<{width}}  {losses}  {candidate.size_bytes:>9,}  {num_float:>9}  {candidate.seconds:>5.2f}"


def _change_lines(report: ConversionReport) -> list[str]:
    if not report.changes or "equalization" not in report.chosen.steps or report.largest_logit_difference is None:
        return []
    return [
        f"changed  {len(report.changes)} tensors equalized; outputs of the float model moved by at most "
        f"{report.largest_logit_difference:.1e} of their spread"
    ]


def _listed(steps: list[str], most: int = 4) -> str:
    shown = [_cut(step, 40) for step in steps[:most]]
    return ", ".join(shown) + (f" and {len(steps) - most} more (see the report)" if len(steps) > most else "")


def _short(tensor: str) -> str:
    """The first of the layers that were fused into a tensor's operator."""
    return tensor.split(";")[0]


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."
