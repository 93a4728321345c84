"""A person asks for a run, with a reason. Neither cooldown nor budget hold it back; it leaves the same trace."""

from __future__ import annotations

from typing import ClassVar

from triggers.evidence import Evidence
from triggers.rule import Finding, Mode, Patience, Rule, RuleSettings


class ManualSettings(RuleSettings):
    """Nothing to set."""

    mode: Mode = Mode.AUTO


class Manual(Rule[ManualSettings]):
    """Fires when somebody asked."""

    name: ClassVar[str] = "manual"
    settings_type: ClassVar[type[RuleSettings]] = ManualSettings

    @property
    def patience(self) -> Patience:
        return Patience(is_urgent=True)

    def judge(self, evidence: Evidence) -> Finding:
        request = evidence.request
        if request is None:
            return self.quiet("nobody asked", {"by": None})
        facts = {"by": request.by, "reason": request.reason, "at": evidence.now.isoformat()}
        return Finding(self.name, True, facts, f"{request.by}: {request.reason}", {"by": request.by})
