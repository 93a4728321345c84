"""Bounds of the service, each with its unit and its reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta


@dataclass(frozen=True)
class Settings:
    """How the service is run.

    Attributes:
        max_body_bytes: Of a request after decompression: 500 events of 4 kB, the largest that a device sends by itself.
        requests_per_minute: Per device; one every 5 minutes is usual, and a device that comes back empties its outbox.
        burst: Requests that a device may send at once after silence.
        retention: Events older than this are refused, and dropped.
        max_clock_lead: A window that starts later than this comes from a wrong clock.
        max_image_bytes: Of an example for feedback.
        max_waiting_rows: Rows that wait for the database; beyond it, devices are asked to come back.
        rows_per_commit: Of a batch to the database.
        retry_seconds: What a device is told to wait.
        is_open: Whether pages need no token: only where nobody else can reach them.
        class_names: Classes by model, for the page that labels; where a model is missing, those that were answered.
        maintenance_seconds: Between roll-ups.
    """

    max_body_bytes: int = 2 * 2**20
    requests_per_minute: float = 60.0
    burst: int = 30
    retention: timedelta = timedelta(days=30)
    max_clock_lead: timedelta = timedelta(days=1)
    max_image_bytes: int = 2**20
    max_waiting_rows: int = 20_000
    rows_per_commit: int = 5_000
    retry_seconds: int = 30
    is_open: bool = False
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    maintenance_seconds: float = 60.0


DEFAULTS = Settings()
