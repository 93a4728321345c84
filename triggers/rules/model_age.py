"""The release is old."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from triggers.evidence import Evidence
from triggers.rule import Finding, Patience, Rule, RuleSettings


class ModelAgeSettings(RuleSettings):
    """How old is old."""

    max_days: float = Field(180.0, gt=0, description="Days after which a release is to be trained anew.")
    rearm_hours: float = Field(168.0, ge=0, description="Hours after which it is said again.")


class ModelAge(Rule[ModelAgeSettings]):
    """Fires once per release and week when it is older than it should be."""

    name: ClassVar[str] = "model_age"
    settings_type: ClassVar[type[RuleSettings]] = ModelAgeSettings

    @property
    def patience(self) -> Patience:
        return Patience(rearm_hours=self.settings.rearm_hours)

    def judge(self, evidence: Evidence) -> Finding:
        release = evidence.release
        if release is None:
            return self.quiet("there is no release yet", {"release": None})
        days = (evidence.now - release.created).total_seconds() / 86400
        facts = {"release": release.version, "week": int(days // 7)}
        sentence = f"release {release.version} is {days:.0f} days old, {self.settings.max_days:g} allowed"
        is_old = days > self.settings.max_days
        return Finding(self.name, is_old, facts, sentence, {"days": round(days, 1)}, subject=release.version)
