"""One window of one model on one device, as it is sent: schemas/telemetry_event.schema.json in Python."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import Enum

SCHEMA_VERSION = 1
#: What the schema allows; longer texts are cut, more incidents are dropped.
MAX_DETAIL = 500
MAX_INCIDENTS = 32
MAX_COUNT = 2**31 - 1


class IncidentKind(str, Enum):
    """What a device tells beside its counts."""

    UPDATE_FAILED = "update_failed"
    RELEASE_REFUSED = "release_refused"
    ROLLED_BACK = "rolled_back"
    INSTALLED_DAMAGED = "installed_damaged"
    DELEGATE_FALLBACK = "delegate_fallback"
    CLOCK_SUSPECT = "clock_suspect"
    WINDOWS_DROPPED = "windows_dropped"


@dataclass(frozen=True)
class Incident:
    """Something that happened: what, when (UTC, as in "2026-11-21T09:00:00Z"), to which release, in words."""

    kind: IncidentKind
    at: str
    model_version: str | None
    detail: str


@dataclass(frozen=True)
class Histogram:
    """Counts over fixed edges; see `manifest.Histogram`."""

    name: str
    statistic: str
    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Latency:
    """How long answers took, in milliseconds; buckets as in `runtime.latency`."""

    sum: float
    max: float
    counts: tuple[int, ...]


@dataclass(frozen=True)
class TelemetryEvent:
    """One window; the schema says what each field is."""

    device_id: str
    model_name: str
    model_version: str
    window_start: str
    window_seconds: int
    quantization: str
    runtime: str
    delegate: str
    delegated_fraction: float | None
    expected_delegated_fraction: float | None
    device_model: str | None
    num_inferences: int
    num_errors: int
    latency_ms: Latency
    confidence: Histogram | None
    classes: tuple[int, ...]
    values: Histogram | None
    inputs: tuple[Histogram, ...]
    battery_drain_percent: float | None
    temperature_celsius: float | None
    incidents: tuple[Incident, ...]
    schema_version: int = SCHEMA_VERSION

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What makes this window this window: device, model, version, start."""
        return self.device_id, self.model_name, self.model_version, self.window_start

    def to_json(self) -> str:
        """The event as it is sent."""
        return json.dumps(asdict(self), separators=(",", ":"), allow_nan=False)
