"""A version is slower than the one before it. That is no matter of data: it alerts, and a person rolls back."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from triggers.evidence import Evidence
from triggers.rule import Action, Finding, Patience, Rule, RuleSettings


class LatencyRegressionSettings(RuleSettings):
    """How much slower."""

    factor: float = Field(1.25, gt=1, description="Times the median or the 95th percentile of the version before.")
    rearm_hours: float = Field(24.0, ge=0, description="Quiet hours after which it is said again.")


class LatencyRegression(Rule[LatencyRegressionSettings]):
    """Fires an alert for the worst regression."""

    name: ClassVar[str] = "latency_regression"
    settings_type: ClassVar[type[RuleSettings]] = LatencyRegressionSettings

    @property
    def patience(self) -> Patience:
        return Patience(rearm_hours=self.settings.rearm_hours)

    def judge(self, evidence: Evidence) -> Finding:
        worse = [regression for regression in evidence.regressions if regression.factor > self.settings.factor]
        day = {"day": f"{evidence.now:%Y-%m-%d}"}
        if not worse:
            return self.quiet("no version is slower than the one before it", day)
        worst = max(worse, key=lambda regression: regression.factor)
        facts = {"version": worst.after_version, "device_model": worst.device_model, **day}
        sentence = (
            f"{worst.after_version} takes {worst.factor:.2f} times as long as {worst.before_version} on "
            f"{worst.device_model or 'unknown devices'} (p{round(worst.quantile * 100)} {worst.after_ms:.3g} ms). "
            "Next: edgeproof release rollback"
        )
        numbers = {"factor": round(worst.factor, 3), "before_ms": worst.before_ms, "after_ms": worst.after_ms}
        return Finding(self.name, True, facts, sentence, numbers, Action.ALERT, worst.after_version)
