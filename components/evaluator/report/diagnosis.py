"""What the converter found out about the model before anybody judged it, and what it tried against it.

The conversion report is read leniently: it explains a refusal and decides nothing, so a report that is absent or of
another version is no reason to fail.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: The recipe that looks for causes and repairs.
SEARCHING_RECIPE = "auto"


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
    """What a conversion report tells; None without a readable one."""
    try:
        record = json.loads(conversion_report.read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(record, dict):
        return None
    first = next(iter(_records(record.get("findings"))), {})
    name = first.get("name")
    calibration = record.get("calibration") or {}
    return Diagnosis(
        recipe=str(record.get("recipe") or ""),
        cause=_cause(first) if isinstance(name, str) else None,
        finding=name if isinstance(name, str) else None,
        tried=_tried(record),
        recipes_tried=frozenset(str(made.get("recipe")) for made in _records(record.get("candidates"))),
        met_goal=record.get("met_goal") if isinstance(record.get("met_goal"), bool) else None,
        relative_error=_relative_error(record),
        num_range=_count(calibration, "num_range"),
        num_distinct=_count(calibration, "num_distinct"),
        strata=tuple(str(stratum.get("label")) for stratum in _records(_get(calibration, "strata"))),
    )


def _cause(finding: dict[str, Any]) -> str:
    tensor, figure, threshold = finding.get("tensor"), finding.get("figure"), finding.get("threshold")
    where = f" at {tensor}" if tensor else ""
    measured = f" ({figure:.3g} against {threshold:.3g})" if _are_numbers(figure, threshold) else ""
    return f"{finding['name']}{where}{measured}"


def _tried(record: dict[str, Any]) -> str | None:
    """How many candidates a search made, and what the chosen one lost where it lost the most."""
    made, chosen = _records(record.get("candidates")), _chosen(record)
    if record.get("recipe") != SEARCHING_RECIPE or chosen is None:
        return None
    goals = _records(_get(record.get("goal"), "outputs"))
    limits = {
        goal.get("output"): goal["limit"] for goal in goals if _are_numbers(goal.get("limit")) and goal["limit"] > 0
    }
    of_values = {goal.get("output") for goal in goals if goal.get("kind") == "values"}
    losses = [
        (
            loss["loss"] / limits[loss.get("output")],
            loss["loss"],
            limits[loss.get("output")],
            "of the spread off" if loss.get("output") in of_values else "lost",
        )
        for loss in _records(chosen.get("losses"))
        if loss.get("output") in limits and _are_numbers(loss.get("loss"))
    ]
    sentence = f"{SEARCHING_RECIPE} made {len(made)} model{'s' * (len(made) != 1)}; {chosen.get('name')!r}"
    if not losses:
        return f"{sentence} was chosen"
    _, loss, limit, how = max(losses)
    ended = "met" if record.get("met_goal") is True else "came closest to"
    return (
        f"{sentence} {ended} its goal on calibration examples ({100 * loss:.2f} % {how}, {100 * limit:.2f} % allowed)"
    )


def _chosen(record: dict[str, Any]) -> dict[str, Any] | None:
    made = _records(record.get("candidates"))
    return next((candidate for candidate in made if candidate.get("chosen") is True), None)


def _relative_error(record: dict[str, Any]) -> float | None:
    goals = _records(_get(record.get("goal"), "outputs"))
    of_values = {goal.get("output") for goal in goals if goal.get("kind") == "values"}
    losses = [
        loss["loss"]
        for loss in _records(_get(_chosen(record), "losses"))
        if loss.get("output") in of_values and _are_numbers(loss.get("loss"))
    ]
    return max(losses, default=None)


def _records(values: object) -> list[dict[str, Any]]:
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []


def _get(record: object, key: str) -> object:
    return record.get(key) if isinstance(record, dict) else None


def _count(record: object, key: str) -> int:
    value = _get(record, key)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _are_numbers(*values: object) -> bool:
    return all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
