"""The report for a terminal: figures by version, then what stands out, then what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from telemetry.findings import Fallback, Outlier, Regression, fallbacks, outliers, regressions
from telemetry.fleet import DeviceFigures, Fleet, GroupFigures, IncidentRecord, LastSeen, hours_before

#: Findings of a kind that are printed; all are in ``--json``.
MAX_LISTED = 10
#: A device that was silent this many hours is named.
SILENT_HOURS = 24


@dataclass(frozen=True)
class FleetReport:
    """What a fleet did in the last hours."""

    model_name: str
    hours: float
    groups: tuple[GroupFigures, ...]
    num_devices: int
    outliers: tuple[Outlier, ...]
    fallbacks: tuple[Fallback, ...]
    regressions: tuple[Regression, ...]
    incidents: tuple[IncidentRecord, ...]
    silent: tuple[LastSeen, ...]

    @property
    def is_quiet(self) -> bool:
        """Whether nothing stands out."""
        return not (self.outliers or self.fallbacks or self.regressions or self.incidents or self.silent)


def read_report(fleet: Fleet, model_name: str, now: datetime, hours: float) -> FleetReport:
    """Asks the database and compares."""
    since = hours_before(now, hours)
    devices = fleet.devices(since)
    silent_since = hours_before(now, SILENT_HOURS)
    return FleetReport(
        model_name,
        hours,
        fleet.groups(since),
        len({device.device_id for device in devices}),
        outliers(devices),
        fallbacks(devices),
        regressions(devices),
        fleet.incidents(since),
        tuple(seen for seen in fleet.last_seen() if seen.last_window < silent_since),
    )


def describe(report: FleetReport) -> str:
    """The report as lines."""
    lines = [f"{report.model_name}: {report.num_devices} devices in the last {report.hours:g} hours"]
    if not report.groups:
        return f"{lines[0]}; nothing was summed up yet (edgeproof telemetry serve does it every minute)"
    lines.append(
        f"{'version':<22}{'scheme':<10}{'device':<24}{'devices':>8}{'answers':>12}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}"
    )
    lines += [_group_line(group) for group in report.groups]
    for name, texts in lines_of(report).items():
        lines += _section(name, texts)
    if report.is_quiet:
        lines.append("nothing stands out")
    return "\n".join(lines)


def lines_of(report: FleetReport) -> dict[str, list[str]]:
    """What stands out, a sentence each, by its kind."""
    return {
        "SLOWER VERSION": [_regression(found) for found in report.regressions],
        "FALLEN BACK": [_fallback(found) for found in report.fallbacks],
        "OUTLIER": [_outlier(found) for found in report.outliers],
        "INCIDENT": [_incident(found) for found in report.incidents],
        "SILENT": [f"{seen.device_id} since {seen.last_window:%Y-%m-%d %H:%M} UTC" for seen in report.silent],
    }


def _section(name: str, found: Sequence[str]) -> list[str]:
    more = [f"{name}  and {len(found) - MAX_LISTED} more"] if len(found) > MAX_LISTED else []
    return [f"{name}  {text}" for text in found[:MAX_LISTED]] + more


def _group_line(group: GroupFigures) -> str:
    quantiles = "".join(f"{_ms(group.quantile_ms(share)):>9}" for share in (0.5, 0.95, 0.99))
    device = f"{group.device_model or 'unknown'}"[:23]
    return f"{group.model_version:<22}{group.quantization:<10}{device:<24}{group.num_devices:>8}{group.num_inferences:>12,}{quantiles}"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _regression(found: Regression) -> str:
    return (
        f"{found.after_version} on {found.device_model or 'unknown devices'}: p{round(found.quantile * 100)} {_ms(found.after_ms)} ms, "
        f"{found.factor:.2f} times {found.before_version}'s {_ms(found.before_ms)} ms ({found.num_devices_after} and "
        f"{found.num_devices_before} devices). Next: edgeproof release rollback"
    )


def _fallback(found: Fallback) -> str:
    device: DeviceFigures = found.device
    assert device.delegated_fraction is not None
    assert device.expected_delegated_fraction is not None
    return (
        f"{device.device_id} ({device.device_model or 'unknown'}) runs {device.model_version} with delegate {device.delegate} on "
        f"{device.delegated_fraction:.0%} of the operators; {device.expected_delegated_fraction:.0%} where it was judged"
    )


def _outlier(found: Outlier) -> str:
    return (
        f"{found.device.device_id} ({found.device.device_model or 'unknown'}, {found.device.delegate}): median {_ms(found.median_ms)} ms, "
        f"{found.median_ms / found.group_median_ms:.1f} times the {_ms(found.group_median_ms)} ms of {found.num_devices} alike"
    )


def _incident(found: IncidentRecord) -> str:
    about = f" ({found.model_version})" if found.model_version else ""
    return f"{found.at:%Y-%m-%d %H:%M} {found.device_id} {found.kind}{about}: {found.detail}"
