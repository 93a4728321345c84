"""A calendar: one run per due time, and no flood of those that were missed."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import ClassVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator

from triggers.evidence import Evidence
from triggers.rule import Finding, Mode, Rule, RuleSettings


class ScheduleSettings(RuleSettings):
    """When."""

    mode: Mode = Mode.AUTO
    cron: str = Field(description="Five fields, as in 0 3 * * 1: Mondays at three.")
    timezone: str = Field("UTC", description="As in Europe/Berlin; clock changes neither skip nor double a run.")

    @field_validator("cron")
    @classmethod
    def _is_cron(cls, text: str) -> str:
        from cronsim import CronSim, CronSimError

        try:
            CronSim(text, datetime(2026, 1, 1))
        except CronSimError as error:
            raise ValueError(f"{text!r} is no cron expression of five fields: {error}") from error
        return text

    @field_validator("timezone")
    @classmethod
    def _is_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"{name!r} is no time zone of this machine") from error
        return name


class Schedule(Rule[ScheduleSettings]):
    """Fires for the last due time after the watch began."""

    name: ClassVar[str] = "schedule"
    settings_type: ClassVar[type[RuleSettings]] = ScheduleSettings

    def judge(self, evidence: Evidence) -> Finding:
        due = self.last_due(evidence.now)
        facts = {"due": None if due is None else due.isoformat()}
        if due is None or evidence.watched_since is None or due <= evidence.watched_since:
            return self.quiet("nothing was due since the watch began", facts)
        if evidence.last_run is not None and evidence.last_run >= due:
            return self.quiet(f"a run was started after {due:%Y-%m-%d %H:%M} UTC", {**facts, "ran": True})
        sentence = f"due at {due:%Y-%m-%d %H:%M} UTC ({self.settings.cron}, {self.settings.timezone})"
        return Finding(self.name, True, facts, sentence)

    def last_due(self, now: datetime) -> datetime | None:
        """The latest due time that is not in the future; only the latest: what was missed is not caught up."""
        from cronsim import CronSim

        local = now.astimezone(ZoneInfo(self.settings.timezone)).replace(microsecond=0)
        # The iterator gives times before its start; a minute is added so that "now" itself counts.
        due = next(CronSim(self.settings.cron, local + timedelta(minutes=1), reverse=True), None)
        while due is not None and due > local:
            due = next(CronSim(self.settings.cron, due, reverse=True), None)
        return None if due is None else due.astimezone(timezone.utc)
