"""What the model answers changed: classes, or real values."""

from __future__ import annotations

from typing import ClassVar

from triggers.rules.drift_rule import DriftRule


class PredictionDrift(DriftRule):
    """What the model answers changed: classes, or real values."""

    name: ClassVar[str] = "prediction_drift"
    parts: ClassVar[tuple[str, ...]] = ("predictions", "values")
