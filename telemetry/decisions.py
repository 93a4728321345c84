"""What the ledger of triggers says, for pages: telemetry keeps its tables and does not know its rules."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from telemetry.database.database import Database


@dataclass(frozen=True)
class DecisionRecord:
    """A decision about retraining."""

    rule: str
    outcome: str
    sentence: str
    first_at: datetime
    num_times: int


@dataclass(frozen=True)
class RunRecord:
    """A run that a trigger started."""

    reason: str
    state: str
    release_version: str | None
    started_at: datetime


@dataclass(frozen=True)
class DriftPoint:
    """How far a histogram was from its reference; 1 is the threshold."""

    name: str
    at: datetime
    share_of_threshold: float


class Decisions:
    """A model's ledger."""

    def __init__(self, database: Database, model_name: str) -> None:
        self._database = database
        self._model_name = model_name

    def latest(self, limit: int = 20) -> tuple[DecisionRecord, ...]:
        """Decisions that said more than "no", the newest first."""
        rows = self._query(
            "select rule, outcome, sentence, first_at, num_times from trigger_decision where model_name = ? and outcome <> 'no'"
            " order by first_at desc, rule limit ?",
            limit,
        )
        as_time = self._database.as_time
        return tuple(DecisionRecord(rule, outcome, text, as_time(at), times) for rule, outcome, text, at, times in rows)

    def runs(self, limit: int = 10) -> tuple[RunRecord, ...]:
        """Runs, the newest first."""
        rows = self._query(
            "select reason, state, release_version, started_at from trigger_run where model_name = ? order by started_at desc limit ?",
            limit,
        )
        as_time = self._database.as_time
        return tuple(RunRecord(reason, state, version, as_time(at)) for reason, state, version, at in rows)

    def drift(self, since: datetime) -> tuple[DriftPoint, ...]:
        """Figures of drift over time, the oldest first."""
        rows = self._query(
            "select first_at, numbers from trigger_decision where model_name = ? and first_at >= ?"
            " and rule in ('input_drift', 'prediction_drift', 'confidence_drift') order by first_at",
            self._database.time_value(since),
        )
        points: list[DriftPoint] = []
        for at, stored in rows:
            numbers: dict[str, Any] = json.loads(stored) if isinstance(stored, str) else stored
            for name, figures in sorted(numbers.items()):
                if isinstance(figures, dict) and figures.get("psi") is not None:
                    points.append(DriftPoint(name, self._database.as_time(at), figures["psi"] / figures["threshold"]))
        return tuple(points)

    def _query(self, statement: str, value: Any) -> list[tuple[Any, ...]]:
        return self._database.query(statement, (self._model_name, value))
