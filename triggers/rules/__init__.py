"""The rules, in the order in which they may start a run: the first that does is the reason."""

from __future__ import annotations

from typing import Any

from triggers.rule import Rule
from triggers.rules.confidence_drift import ConfidenceDrift
from triggers.rules.feedback_accuracy import FeedbackAccuracy
from triggers.rules.input_drift import InputDrift
from triggers.rules.latency_regression import LatencyRegression
from triggers.rules.manual import Manual
from triggers.rules.model_age import ModelAge
from triggers.rules.new_span import NewSpan
from triggers.rules.prediction_drift import PredictionDrift
from triggers.rules.schedule import Schedule

RULES: tuple[type[Rule[Any]], ...] = (
    Manual,
    NewSpan,
    FeedbackAccuracy,
    InputDrift,
    PredictionDrift,
    ConfidenceDrift,
    ModelAge,
    Schedule,
    LatencyRegression,
)
