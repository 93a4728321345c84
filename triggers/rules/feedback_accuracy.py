"""Labels from the field say that the model is right less often than the gate required of it."""

from __future__ import annotations

import math
from typing import ClassVar

from pydantic import Field

from telemetry.feedback import Accuracy
from triggers.evidence import Evidence
from triggers.rule import Finding, Mode, Patience, Rule, RuleSettings

#: Of a one-sided bound at 97.5 %.
_Z = 1.96


class FeedbackAccuracySettings(RuleSettings):
    """How many labels, and how far below."""

    mode: Mode = Mode.SUGGEST
    min_labelled: int = Field(100, gt=0, description="Labelled examples taken by chance; fewer say nothing.")
    min_devices: int = Field(5, gt=0, description="Devices that they come from.")
    ratio: float | None = Field(
        None, gt=0, le=1, description="Share of the holdout's accuracy that must be kept. Default: the gate's."
    )
    rearm_hours: float = Field(24.0, ge=0, description="Quiet hours after which the same release is spoken of again.")


class FeedbackAccuracy(Rule[FeedbackAccuracySettings]):
    """Fires where even the upper Wilson bound of the accuracy, of all or of a slice, is below what the gate required."""

    name: ClassVar[str] = "feedback_accuracy"
    settings_type: ClassVar[type[RuleSettings]] = FeedbackAccuracySettings

    @property
    def patience(self) -> Patience:
        return Patience(rearm_hours=self.settings.rearm_hours)

    def judge(self, evidence: Evidence) -> Finding:
        release = evidence.release
        if release is None or release.holdout_accuracy is None:
            return self.quiet("the release has no accuracy to compare with", {"release": release and release.version})
        required = release.holdout_accuracy * (self.settings.ratio or release.minimum_ratio or 1.0)
        groups = [group for group in (*_whole(evidence.accuracies), *evidence.accuracies) if self._is_enough(group)]
        facts = {
            "release": release.version,
            "labelled": [[group.slice, group.num_labelled, group.num_correct] for group in groups],
        }
        if not groups:
            num_labelled = sum(group.num_labelled for group in evidence.accuracies)
            return self.quiet(
                f"{num_labelled} labels, {self.settings.min_labelled} needed", facts, num_labelled=num_labelled
            )
        worst = min(groups, key=lambda group: wilson_upper(group.num_correct, group.num_labelled))
        upper = wilson_upper(worst.num_correct, worst.num_labelled)
        numbers = {
            "slice": worst.slice, "num_labelled": worst.num_labelled, "num_correct": worst.num_correct,
            "upper_bound": round(upper, 4), "required": round(required, 4),
        }  # fmt: skip
        sentence = f"slice {worst.slice}: {worst.num_correct} of {worst.num_labelled} right, at best {upper:.1%}; {required:.1%} required"
        return Finding(self.name, upper < required, facts, sentence, numbers, subject=release.version)

    def _is_enough(self, group: Accuracy) -> bool:
        return group.num_labelled >= self.settings.min_labelled and group.num_devices >= self.settings.min_devices


def wilson_upper(num_right: int, num_all: int) -> float:
    """The upper end of Wilson's interval for a share (1927)."""
    share = num_right / num_all
    spread = _Z * math.sqrt(share * (1 - share) / num_all + _Z**2 / (4 * num_all**2))
    return (share + _Z**2 / (2 * num_all) + spread) / (1 + _Z**2 / num_all)


def _whole(accuracies: tuple[Accuracy, ...]) -> tuple[Accuracy, ...]:
    if len(accuracies) < 2:
        return ()
    # A device may have sent examples of several slices: the most that one slice saw is a lower bound.
    devices = max(group.num_devices for group in accuracies)
    totals = (sum(group.num_labelled for group in accuracies), sum(group.num_correct for group in accuracies))
    return (Accuracy("all", *totals, devices),)
