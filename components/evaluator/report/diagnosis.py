"""What the converter found out about the model before anybody judged it, and what it tried against it.

The conversion report explains a refusal and decides nothing, so one that is absent, or of another version, is no reason to fail: it is left
out, and of another version a warning says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgeproof_edge.progress import progress
from pydantic import ValidationError

from components.repair.facts import CandidateFacts, FindingFacts, GoalFacts
from components.repair.recipes import Recipe
from components.tflite_converter.report import ConversionReport

#: The recipe that looks for causes and repairs.
SEARCHING_RECIPE = Recipe.AUTO.value


@dataclass(frozen=True)
class Diagnosis:
    """What the converter knows.

    Attributes:
        recipe: The recipe that was asked for; empty where the report does not say.
        cause: Its first finding, with the figures; None where it found none, or was not to look for any.
        finding: Name of that finding, such as ``outliers``.
        tried: What the search made and what its choice lost, as a sentence; None where nothing was searched.
        recipes_tried: Recipes of all candidates.
        met_goal: Whether the choice met the goal on calibration examples; None where nothing was searched.
        relative_error: Largest loss of the choice at outputs that are values, in units of their spread; None without such outputs.
        num_range: Examples that set ranges; 0 where that is unknown.
        num_distinct: Distinct examples in the calibration pool.
        strata: What the draw was stratified by, such as ``7, site=night``.
    """

    recipe: str = ""
    cause: str | None = None
    finding: str | None = None
    tried: str | None = None
    recipes_tried: frozenset[str] = frozenset()
    met_goal: bool | None = None
    relative_error: float | None = None
    num_range: int = 0
    num_distinct: int = 0
    strata: tuple[str, ...] = ()


def read_diagnosis(conversion_report: Path) -> Diagnosis | None:
    """What a conversion report tells; None without one that can be read."""
    try:
        report = ConversionReport.model_validate_json(conversion_report.read_bytes())
    except OSError:
        return None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        progress.warning(
            "%s is no conversion report of this version (%s: %s), so it explains nothing", conversion_report, where, first["msg"]
        )  # fmt: skip
        return None
    return diagnosis_of(report)


def diagnosis_of(report: ConversionReport) -> Diagnosis:
    """The first finding, what was tried, and how the calibration examples were drawn."""
    first, calibration = next(iter(report.findings), None), report.calibration
    return Diagnosis(
        recipe=report.recipe.value,
        cause=_cause(first) if first is not None else None,
        finding=first.name if first is not None else None,
        tried=_tried(report),
        recipes_tried=frozenset(made.recipe.value for made in report.candidates),
        met_goal=report.met_goal,
        relative_error=_relative_error(report),
        num_range=calibration.num_range if calibration is not None else 0,
        num_distinct=calibration.num_distinct if calibration is not None else 0,
        strata=tuple(stratum.label for stratum in calibration.strata) if calibration is not None else (),
    )


def _cause(finding: FindingFacts) -> str:
    where = f" at {finding.tensor}" if finding.tensor else ""
    return f"{finding.name}{where} ({finding.figure:.3g} against {finding.threshold:.3g})"


def _tried(report: ConversionReport) -> str | None:
    """How many candidates a search made, and what the chosen one lost where it lost the most."""
    chosen, number = _chosen(report), len(report.candidates)
    if report.recipe is not Recipe.AUTO or chosen is None:
        return None
    sentence = f"{report.recipe.value} made {number} model{'s' * (number != 1)}; {chosen.name!r}"
    lost = _largest_loss(chosen, report.goal)
    if lost is None:
        return f"{sentence} was chosen"
    loss, limit, how = lost
    ended = "met" if report.met_goal else "came closest to"
    return (
        f"{sentence} {ended} its goal on calibration examples ({100 * loss:.2f} % {how}, {100 * limit:.2f} % allowed)"
    )


def _largest_loss(chosen: CandidateFacts, goal: GoalFacts | None) -> tuple[float, float, str] | None:
    """Loss, limit and words of the output that lost most of what it may."""
    goals = {output.output: output for output in (goal.outputs if goal is not None else ()) if output.limit > 0}
    losses = [
        (
            loss.loss / goals[loss.output].limit,
            loss.loss,
            goals[loss.output].limit,
            "of the spread off" if goals[loss.output].kind == "values" else "lost",
        )
        for loss in chosen.losses
        if loss.output in goals
    ]
    return max(losses)[1:] if losses else None


def _chosen(report: ConversionReport) -> CandidateFacts | None:
    return next((candidate for candidate in report.candidates if candidate.chosen), None)


def _relative_error(report: ConversionReport) -> float | None:
    chosen, goal = _chosen(report), report.goal
    of_values = {output.output for output in (goal.outputs if goal is not None else ()) if output.kind == "values"}
    losses = [loss.loss for loss in (chosen.losses if chosen is not None else ()) if loss.output in of_values]
    return max(losses, default=None)
