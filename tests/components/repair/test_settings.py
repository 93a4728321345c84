from __future__ import annotations

import json

import pytest

from components.errors import ConversionError
from components.repair.recipes import Recipe
from components.repair.settings import AutoSettings, Caps, GoalSettings

SETTINGS = AutoSettings(GoalSettings(0.01, 0.1, {"box": "values"}), Caps(5, 2.5), (Recipe.FLOAT16, Recipe.INT16X8))


def test_settings_survive_the_way_to_the_child() -> None:
    assert AutoSettings.from_json(SETTINGS.to_json()) == SETTINGS
    assert AutoSettings.from_json(AutoSettings().to_json()) == AutoSettings()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"fallbacks": ["int4"]}, "fallback 'int4' is unknown; choose among int16x8", id="fallback"),
        pytest.param({"fallbacks": ["int8"]}, "fallback 'int8' is unknown", id="int8-is-no-fallback"),
        pytest.param(
            {"goal": {"outputs": {"box": "boxes"}}}, "output 'box' cannot be 'boxes'; choose one of classes", id="kind"
        ),
        pytest.param({"goal": {"max_accuracy_loss": 0}}, "goal.max_accuracy_loss is 0; it must be", id="no-loss"),
        pytest.param({"goal": {"max_relative_error": -1}}, "goal.max_relative_error is -1", id="negative-error"),
        pytest.param({"caps": {"max_candidates": 0}}, "max_candidates is 0", id="no-candidate"),
        pytest.param({"caps": {"max_seconds": 0}}, "max_seconds is 0", id="no-time"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change: dict[str, object], message: str) -> None:
    values = json.loads(AutoSettings().to_json())
    for key, value in change.items():
        values[key] = {**values[key], **value} if isinstance(value, dict) else value
    with pytest.raises(ConversionError, match=message):
        AutoSettings.from_json(json.dumps(values))
