"""What the converter found out about the model before anybody judged it: the likely cause of a refusal.

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
    """The likely cause and what to do; None where the converter knows none."""

    cause: str | None
    remedy: str | None


def read_diagnosis(conversion_report: Path) -> Diagnosis | None:
    """The converter's first finding, or the advice to let it look for one; None without a readable report."""
    try:
        record = json.loads(conversion_report.read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(record, dict):
        return None
    findings = record.get("findings")
    first = findings[0] if isinstance(findings, list) and findings else None
    if isinstance(first, dict) and isinstance(first.get("name"), str):
        return Diagnosis(_cause(first), _remedy(first, record))
    return Diagnosis(None, _remedy({}, record))


def _cause(finding: dict[str, Any]) -> str:
    tensor, figure, threshold = finding.get("tensor"), finding.get("figure"), finding.get("threshold")
    where = f" at {tensor}" if tensor else ""
    measured = f" ({figure:.3g} against {threshold:.3g})" if _are_numbers(figure, threshold) else ""
    return f"{finding['name']}{where}{measured}"


def _are_numbers(*values: object) -> bool:
    return all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)


def _remedy(finding: dict[str, Any], record: dict[str, Any]) -> str | None:
    if record.get("recipe") != SEARCHING_RECIPE:
        return f"edgeproof run CONFIG --set convert.recipe={SEARCHING_RECIPE}"
    remedy = finding.get("remedy")
    return remedy if isinstance(remedy, str) else None
