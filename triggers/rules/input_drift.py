"""What the model sees changed: brightness and contrast of images, ranges of numbers."""

from __future__ import annotations

from typing import ClassVar

from triggers.rules.drift_rule import DriftRule


class InputDrift(DriftRule):
    """What the model sees changed: brightness and contrast of images, ranges of numbers."""

    name: ClassVar[str] = "input_drift"
    parts: ClassVar[tuple[str, ...]] = ("inputs",)
