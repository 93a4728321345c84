"""Events as devices send them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from telemetry.event import NUM_LATENCY_COUNTS, Event, format_time

EDGES = [round(0.05 * step, 2) for step in range(1, 20)]
VERSION = "000001-0123456789ab"


def this_window(seconds: int = 300) -> datetime:
    """The start of the present window."""
    now = datetime.now(timezone.utc).timestamp()
    return datetime.fromtimestamp(now - now % seconds, timezone.utc)


def histogram(name: str = "image", statistic: str = "mean", counts: Sequence[int] | None = None) -> dict[str, Any]:
    return {"name": name, "statistic": statistic, "edges": EDGES, "counts": list(counts or [5] * (len(EDGES) + 1))}


def latency(milliseconds: float = 8.0, count: int = 100) -> dict[str, Any]:
    counts = [0] * NUM_LATENCY_COUNTS
    counts[sum(milliseconds >= 0.01 * 2 ** (k / 2) for k in range(47))] = count
    return {"sum": milliseconds * count, "max": milliseconds, "counts": counts}


def event_json(device_id: str = "pi-1", windows_ago: int = 0, **changes: Any) -> dict[str, Any]:
    """An event as JSON has it; ``changes`` replace its fields."""
    start = this_window() - timedelta(minutes=5 * windows_ago)
    return {
        "schema_version": 1,
        "device_id": device_id,
        "model_name": "digits",
        "model_version": VERSION,
        "window_start": format_time(start),
        "window_seconds": 300,
        "quantization": "int8",
        "runtime": "ai-edge-litert 2.3.0",
        "delegate": "xnnpack",
        "delegated_fraction": 1.0,
        "expected_delegated_fraction": 1.0,
        "device_model": "Raspberry Pi 4 Model B Rev 1.4",
        "num_inferences": 100,
        "num_errors": 0,
        "latency_ms": latency(),
        "confidence": histogram("scores", "confidence"),
        "classes": [10] * 10,
        "values": None,
        "inputs": [histogram("image", "mean"), histogram("image", "deviation")],
        "battery_drain_percent": 0.5,
        "temperature_celsius": 41.5,
        "incidents": [],
    } | changes


def event(device_id: str = "pi-1", windows_ago: int = 0, **changes: Any) -> Event:
    """An event as the service reads it."""
    return Event.model_validate_json(json.dumps(event_json(device_id, windows_ago, **changes)))


def batch(*events: Mapping[str, Any]) -> bytes:
    """The body of a request."""
    return json.dumps({"events": list(events)}).encode()
