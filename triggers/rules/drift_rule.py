"""What the rules of drift share: histograms of one part of the model against the release's reference."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from triggers.drift import DriftFigure, DriftLimits, measure
from triggers.evidence import Evidence, HistogramKey
from triggers.rule import Finding, Mode, Patience, Rule, RuleSettings


class DriftSettings(RuleSettings):
    """What counts as drift, and how sure it must be."""

    mode: Mode = Mode.SUGGEST
    effect: float = Field(0.1, gt=0, description="PSI that matters; a shift by half a standard deviation is 0.25.")
    min_examples: int = Field(500, gt=0, description="Examples in the window; fewer say nothing.")
    min_devices: int = Field(20, gt=0, description="Different devices; also what keeps one device's inputs private.")
    hits: int = Field(3, gt=0, description="Windows in a row, an hour apart, that must show it.")
    rearm_hours: float = Field(24.0, ge=0, description="Quiet hours after which the same release is spoken of again.")


class DriftRule(Rule[DriftSettings]):
    """Fires where any of its histograms has drifted."""

    settings_type: ClassVar[type[RuleSettings]] = DriftSettings
    #: The first part of the keys that it looks at.
    parts: ClassVar[tuple[str, ...]]

    @property
    def patience(self) -> Patience:
        return Patience(num_hits=self.settings.hits, rearm_hours=self.settings.rearm_hours)

    def judge(self, evidence: Evidence) -> Finding:
        release = evidence.release
        end = evidence.window_end
        facts = {"release": release and release.version, "window_end": end and end.isoformat()}
        figures = (
            []
            if release is None
            else [self._figure(evidence, key) for key in sorted(release.reference) if key[0] in self.parts]
        )
        if release is None or not figures:
            return self.quiet("the release carries no reference for this", facts)
        numbers = {figure.name: figure.numbers() for figure in figures}
        judged = [figure for figure in figures if figure.psi is not None]
        if not judged:
            worst = figures[0]
            return self.quiet(
                f"too little to say: {worst.num_examples} examples of {worst.num_devices} devices, {self.settings.min_examples} of "
                f"{self.settings.min_devices} needed", facts, **numbers,
            )  # fmt: skip
        worst = max(judged, key=lambda figure: (figure.psi or 0.0) / figure.threshold)
        sentence = (
            f"{worst.name}: PSI {worst.psi:.3f}, threshold {worst.threshold:.3f} ({worst.num_examples:,} examples of "
            f"{worst.num_devices} devices with {release.version})"
        )
        return Finding(self.name, worst.is_drift, facts, sentence, numbers, subject=release.version)

    def _figure(self, evidence: Evidence, key: HistogramKey) -> DriftFigure:
        assert evidence.release is not None
        limits = DriftLimits(
            self.settings.effect, min_examples=self.settings.min_examples, min_devices=self.settings.min_devices
        )
        name = " ".join(part for part in key if part)
        return measure(name, evidence.devices.get(key, {}), evidence.release.reference[key], limits)
