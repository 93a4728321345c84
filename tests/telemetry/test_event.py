"""The service reads what the contract says: both agree on every example."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError

from telemetry.event import BATCH, LATENCY_EDGES_MS, NUM_LATENCY_COUNTS, Event
from telemetry.latency import add, quantile_ms
from tests.telemetry.samples import batch, event_json, histogram, latency

SCHEMA = json.loads((Path(__file__).parents[2] / "schemas" / "telemetry_event.schema.json").read_text(encoding="utf-8"))
INCIDENT = {"kind": "rolled_back", "at": "2026-01-31T10:00:00Z", "model_version": None, "detail": "self-test"}


@pytest.mark.parametrize(
    ("changes", "is_valid"),
    [
        pytest.param({}, True, id="usual"),
        pytest.param({"confidence": None, "values": histogram(statistic="value"), "classes": []}, True, id="a-real-value"),
        pytest.param({"delegated_fraction": None, "device_model": None, "battery_drain_percent": None}, True, id="nulls"),
        pytest.param({"incidents": [INCIDENT]}, True, id="an-incident"),
        pytest.param({"incidents": [INCIDENT | {"kind": "party"}]}, False, id="an-unknown-incident"),
        pytest.param({"incidents": [INCIDENT] * 33}, False, id="too-many-incidents"),
        pytest.param({"schema_version": 2}, False, id="another-version"),
        pytest.param({"device_id": "-pi"}, False, id="a-device-that-starts-with-a-dash"),
        pytest.param({"model_name": "Digits"}, False, id="an-upper-case-model"),
        pytest.param({"model_version": "1.0"}, False, id="no-version-of-ours"),
        pytest.param({"window_seconds": 0}, False, id="an-empty-window"),
        pytest.param({"window_start": "2026-01-31 10:00:00"}, False, id="another-time-format"),
        pytest.param({"num_inferences": 1.5}, False, id="half-an-inference"),
        pytest.param({"num_inferences": True}, False, id="a-boolean-count"),
        pytest.param({"num_errors": 2**31}, False, id="a-count-too-large"),
        pytest.param({"delegated_fraction": 1.1}, False, id="more-than-all"),
        pytest.param({"latency_ms": latency() | {"p99": 1.0}}, False, id="an-unknown-key-inside"),
        pytest.param({"inputs": [histogram(statistic="mode")]}, False, id="an-unknown-statistic"),
        pytest.param({"classes": [1] * 4097}, False, id="too-many-classes"),
        pytest.param({"temperature_celsius": -300}, False, id="below-absolute-zero"),
    ],
)  # fmt: skip
def test_model_and_schema_agree(changes: dict[str, Any], is_valid: bool) -> None:
    content = event_json(**changes)
    validator = jsonschema.Draft202012Validator({"$ref": "#/$defs/event", "$defs": SCHEMA["$defs"]})
    assert validator.is_valid(content) is is_valid
    try:
        BATCH.validate_json(batch(content))
    except ValidationError:
        assert not is_valid
    else:
        assert is_valid


def test_the_model_has_the_schema_s_fields() -> None:
    assert set(Event.model_fields) == set(SCHEMA["$defs"]["event"]["properties"])
    assert SCHEMA["$defs"]["latency"]["properties"]["counts"]["maxItems"] == NUM_LATENCY_COUNTS


def test_latency_edges_are_half_octaves_from_ten_microseconds() -> None:
    assert LATENCY_EDGES_MS[0] == 0.01
    assert LATENCY_EDGES_MS[-1] == pytest.approx(83_886.08)


@pytest.mark.parametrize(
    ("milliseconds", "share"),
    [pytest.param(0.004, 0.5, id="below-the-first-edge"), (0.5, 0.5), (8.0, 0.5), (8.0, 0.99), (900.0, 0.01)],
)
def test_a_quantile_is_within_its_half_octave(milliseconds: float, share: float) -> None:
    estimate = quantile_ms(latency(milliseconds)["counts"], share)
    assert estimate is not None
    assert estimate / 1.42 <= max(milliseconds, 0.005) <= estimate * 1.42 or estimate <= 0.01


def test_quantiles_of_sums_are_those_of_all_answers() -> None:
    total = add([latency(1.0, 90)["counts"], latency(100.0, 10)["counts"]])
    fast, slow = quantile_ms(total, 0.5), quantile_ms(total, 0.95)
    assert fast == pytest.approx(1.0, rel=0.42)
    assert slow == pytest.approx(100.0, rel=0.42)
    assert quantile_ms([0] * NUM_LATENCY_COUNTS, 0.5) is None


def test_what_is_beyond_the_last_edge_counts_as_that_edge() -> None:
    assert quantile_ms(latency(1e6)["counts"], 0.5) == LATENCY_EDGES_MS[-1]
