"""What the database says of a fleet, as typed figures: by version, by hour and by device. Questions only; nothing is decided here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from telemetry.database.database import Database
from telemetry.latency import add, quantile_ms

#: A device computes less on its delegate than where the model was judged, by more than this: it has fallen back.
FALLBACK_MARGIN = 0.1


@dataclass(frozen=True)
class GroupFigures:
    """A group of windows added up: those of a version on a device model, say.

    Attributes:
        model_version: Of the release.
        quantization: The recipe.
        delegate: What computed.
        device_model: Empty where devices do not tell.
        num_devices: The most that reported in one hour.
        num_windows: Windows.
        num_inferences: Answers.
        num_errors: Failed ones.
        num_fallback_windows: Windows whose delegate computed less than where the model was judged.
        latency_counts: The latency histogram.
        battery_drain_percent: Mean of the windows; None without batteries.
    """

    model_version: str
    quantization: str
    delegate: str
    device_model: str
    num_devices: int
    num_windows: int
    num_inferences: int
    num_errors: int
    num_fallback_windows: int
    latency_counts: tuple[int, ...]
    battery_drain_percent: float | None

    def quantile_ms(self, share: float) -> float | None:
        """A quantile of the latency."""
        return quantile_ms(self.latency_counts, share)


@dataclass(frozen=True)
class HourFigures:
    """One version in one hour, over all devices."""

    hour: datetime
    model_version: str
    num_devices: int
    num_inferences: int
    p50_ms: float | None
    p95_ms: float | None


@dataclass(frozen=True)
class DeviceFigures:
    """One device with one version, over the hours that were asked for."""

    device_id: str
    model_version: str
    device_model: str
    delegate: str
    delegated_fraction: float | None
    expected_delegated_fraction: float | None
    num_inferences: int
    num_errors: int
    latency_counts: tuple[int, ...]

    @property
    def has_fallen_back(self) -> bool:
        """Whether its delegate computes clearly less than where the model was judged."""
        delegated, expected = self.delegated_fraction, self.expected_delegated_fraction
        return delegated is not None and expected is not None and delegated < expected - FALLBACK_MARGIN


@dataclass(frozen=True)
class LastSeen:
    """What a device reported last."""

    device_id: str
    model_version: str
    device_model: str
    delegate: str
    last_window: datetime


@dataclass(frozen=True)
class IncidentRecord:
    """Something that went wrong on a device."""

    device_id: str
    at: datetime
    kind: str
    model_version: str | None
    detail: str


class Fleet:
    """A model's devices in a database."""

    def __init__(self, database: Database, model_name: str) -> None:
        self._database = database
        self._model_name = model_name

    def groups(self, since: datetime) -> tuple[GroupFigures, ...]:
        """Figures by version, scheme, delegate and device model, from the hourly sums."""
        rows = self._query(
            "select model_version, quantization, delegate, device_model, num_devices, num_windows, num_inferences, num_errors,"
            " num_fallback_windows, latency_counts, battery_drain_sum, num_battery_windows from hourly"
            " where model_name = ? and hour >= ?",
            self._hour_before(since),
        )
        parts: defaultdict[tuple[str, ...], list[tuple[Any, ...]]] = defaultdict(list)
        for row in rows:
            parts[row[:4]].append(row[4:])
        return tuple(self._group(key, parts[key]) for key in sorted(parts))

    def hours(self, since: datetime) -> tuple[HourFigures, ...]:
        """Figures by hour and version."""
        rows = self._query(
            "select hour, model_version, num_devices, num_inferences, latency_counts from hourly where model_name = ? and hour >= ?",
            self._hour_before(since),
        )
        parts: defaultdict[tuple[datetime, str], list[tuple[Any, ...]]] = defaultdict(list)
        for hour, version, *values in rows:
            parts[self._database.as_time(hour), version].append(tuple(values))
        return tuple(self._hour(key, parts[key]) for key in sorted(parts))

    def devices(self, since: datetime) -> tuple[DeviceFigures, ...]:
        """Figures by device and version, from the events themselves: ask for hours, not for weeks."""
        rows = self._query(
            "select device_id, model_version, coalesce(device_model, ''), delegate, delegated_fraction, expected_delegated_fraction,"
            " num_inferences, num_errors, latency_counts from event where model_name = ? and window_start >= ? order by window_start",
            since,
        )
        parts: defaultdict[tuple[str, str], list[tuple[Any, ...]]] = defaultdict(list)
        for row in rows:
            parts[row[:2]].append(row[2:])
        return tuple(self._device(key, parts[key]) for key in sorted(parts))

    def last_seen(self) -> tuple[LastSeen, ...]:
        """Every device, the one that is silent longest first."""
        with self._database.transaction() as transaction:
            rows = transaction.query(
                "select device_id, model_version, coalesce(device_model, ''), delegate, last_window from device where model_name = ?"
                " order by last_window, device_id",
                (self._model_name,),
            )
        as_time = self._database.as_time
        return tuple(LastSeen(device, version, model, by, as_time(last)) for device, version, model, by, last in rows)

    def incidents(self, since: datetime, limit: int = 100) -> tuple[IncidentRecord, ...]:
        """Incidents, the newest first."""
        with self._database.transaction() as transaction:
            rows = transaction.query(
                "select device_id, at, kind, model_version, detail from incident where model_name = ? and at >= ?"
                " order by at desc, device_id limit ?",
                (self._model_name, self._database.time_value(since), limit),
            )
        as_time = self._database.as_time
        return tuple(IncidentRecord(device, as_time(at), *rest) for device, at, *rest in rows)

    def _query(self, statement: str, since: datetime) -> list[tuple[Any, ...]]:
        return self._database.query(statement, (self._model_name, self._database.time_value(since)))

    @staticmethod
    def _hour_before(since: datetime) -> datetime:
        return since.replace(minute=0, second=0, microsecond=0)

    def _group(self, key: tuple[str, ...], rows: Sequence[tuple[Any, ...]]) -> GroupFigures:
        devices, windows, inferences, errors, fallback, counts, drains, num_drains = zip(*rows, strict=True)
        version, quantization, delegate, device_model = key
        return GroupFigures(
            model_version=version,
            quantization=quantization,
            delegate=delegate,
            device_model=device_model,
            num_devices=max(devices),
            num_windows=sum(windows),
            num_inferences=sum(inferences),
            num_errors=sum(errors),
            num_fallback_windows=sum(fallback),
            latency_counts=tuple(add(self._database.as_list(stored) for stored in counts)),
            battery_drain_percent=sum(drains) / sum(num_drains) if sum(num_drains) else None,
        )

    def _hour(self, key: tuple[datetime, str], rows: Sequence[tuple[Any, ...]]) -> HourFigures:
        devices, inferences, counts = zip(*rows, strict=True)
        total = add(self._database.as_list(stored) for stored in counts)
        return HourFigures(*key, sum(devices), sum(inferences), quantile_ms(total, 0.5), quantile_ms(total, 0.95))

    def _device(self, key: tuple[str, str], rows: Sequence[tuple[Any, ...]]) -> DeviceFigures:
        device_model, delegate, delegated, expected = rows[-1][:4]
        return DeviceFigures(
            *key, device_model, delegate, delegated, expected,
            num_inferences=sum(row[4] for row in rows),
            num_errors=sum(row[5] for row in rows),
            latency_counts=tuple(add(self._database.as_list(row[6]) for row in rows)),
        )  # fmt: skip


def model_names(database: Database) -> tuple[str, ...]:
    """Models that devices report on, or that have feedback or decisions."""
    with database.transaction() as transaction:
        rows = transaction.query(
            "select model_name from hourly union select model_name from device union select model_name from feedback"
            " union select model_name from trigger_decision order by 1"
        )
    return tuple(name for (name,) in rows)


def hours_before(now: datetime, hours: float) -> datetime:
    """A time so many hours ago."""
    return now - timedelta(hours=hours)
