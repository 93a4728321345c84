"""How sure the model is changed."""

from __future__ import annotations

from typing import ClassVar

from triggers.rules.drift_rule import DriftRule


class ConfidenceDrift(DriftRule):
    """How sure the model is changed."""

    name: ClassVar[str] = "confidence_drift"
    parts: ClassVar[tuple[str, ...]] = ("confidence",)
