"""The status page: what a fleet does, for people without Grafana. One HTML file without scripts; it reloads itself each minute."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2

from telemetry.database.database import Database
from telemetry.decisions import Decisions, DriftPoint
from telemetry.feedback import FeedbackBook
from telemetry.fleet import Fleet, GroupFigures, HourFigures, hours_before, model_names
from telemetry.report_text import MAX_LISTED, FleetReport, lines_of, read_report
from telemetry.service.charts import Chart, Line, line_chart

TEMPLATES = Path(__file__).parent / "templates"
HOURS = 24.0
#: Devices are compared one by one over this time only: every event of it is read.
FINDING_HOURS = 1.0


@dataclass(frozen=True)
class Tile:
    """A large number."""

    name: str
    value: str
    note: str = ""
    tone: str = ""


@dataclass(frozen=True)
class Row:
    """A row of the table of versions."""

    texts: tuple[str, ...]
    numbers: tuple[str, ...]


def status_page(database: Database, model: str | None, now: datetime) -> str:
    """The page of a model; of the first one where none is named."""
    models = model_names(database)
    chosen = model if model in models else next(iter(models), None)
    content = {} if chosen is None else _content(database, chosen, now)
    return template("status.html.j2").render(
        css=stylesheet(), model=chosen, models=models, now=f"{now:%Y-%m-%d %H:%M}", **content
    )


def _content(database: Database, model: str, now: datetime) -> dict[str, Any]:
    fleet, decisions = Fleet(database, model), Decisions(database, model)
    since = hours_before(now, HOURS)
    groups, hours = fleet.groups(since), fleet.hours(since)
    report = read_report(fleet, model, now, FINDING_HOURS)
    feedback = FeedbackBook(database).counts(model)
    return {
        "num_waiting": feedback["waiting"],
        "tiles": _tiles(report, groups, feedback, len(fleet.last_seen())),
        "charts": _charts(hours, decisions.drift(since)),
        "findings": _findings(report),
        "versions": [_row(group) for group in groups],
        "decisions": decisions.latest(),
        "runs": decisions.runs(),
    }


def _tiles(report: FleetReport, groups: Sequence[GroupFigures], feedback: dict[str, int], num_known: int) -> list[Tile]:
    windows = sum(group.num_windows for group in groups)
    fallback = sum(group.num_fallback_windows for group in groups) / windows if windows else 0.0
    errors = sum(group.num_errors for group in groups)
    return [
        Tile("devices", f"{report.num_devices}", f"in the last hour, of {num_known} known"),
        Tile(
            "answers",
            f"{sum(group.num_inferences for group in groups):,}",
            f"{errors:,} errors",
            "bad" if errors else "",
        ),
        Tile("delegate fell back", f"{fallback:.1%}", "of the windows", "warn" if fallback > 0.01 else ""),
        Tile("silent devices", f"{len(report.silent)}", "for a day", "warn" if report.silent else ""),
        Tile("to label", f"{feedback['waiting']}", f"{feedback['new']} labelled and in no span yet"),
    ]


def _charts(hours: Sequence[HourFigures], drift: Sequence[DriftPoint]) -> list[Chart]:
    versions = sorted({hour.model_version for hour in hours})
    times = sorted({hour.hour for hour in hours})
    by_key = {(hour.hour, hour.model_version): hour for hour in hours}

    def lines(value: Any) -> list[Line]:
        return [
            Line(
                version, [(time, value(by_key[time, version]) if (time, version) in by_key else None) for time in times]
            )
            for version in versions
        ]

    figures: defaultdict[str, list[tuple[datetime, float | None]]] = defaultdict(list)
    for point in drift:
        figures[point.name].append((point.at, point.share_of_threshold))
    return [
        line_chart("latency, 95th percentile", lines(lambda hour: hour.p95_ms), " ms"),
        line_chart("latency, median", lines(lambda hour: hour.p50_ms), " ms"),
        line_chart("devices per version", lines(lambda hour: float(hour.num_devices)), ""),
        line_chart(
            "drift, 1 is the threshold", [Line(name, points) for name, points in sorted(figures.items())], "", 1.0
        ),
    ]


def _findings(report: FleetReport) -> list[tuple[str, str, str]]:
    tones = {"SLOWER VERSION": "bad", "FALLEN BACK": "warn", "OUTLIER": "warn", "INCIDENT": "bad", "SILENT": "warn"}
    return [
        (kind.lower(), tones[kind], text) for kind, texts in lines_of(report).items() for text in texts[:MAX_LISTED]
    ]


def _row(group: GroupFigures) -> Row:
    quantiles = (group.quantile_ms(share) for share in (0.5, 0.95, 0.99))
    share = group.num_fallback_windows / group.num_windows if group.num_windows else 0.0
    return Row(
        (group.model_version, group.quantization, group.device_model or "unknown", group.delegate),
        (
            f"{group.num_devices}",
            f"{group.num_inferences:,}",
            *("-" if value is None else f"{value:.3g}" for value in quantiles),
            f"{share:.1%}",
            f"{group.num_errors:,}",
        ),
    )


@lru_cache(maxsize=8)
def template(name: str) -> jinja2.Template:
    """A page's template; everything that is put in is escaped."""
    loader = jinja2.FileSystemLoader(TEMPLATES)
    return jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined).get_template(name)


@lru_cache(maxsize=1)
def stylesheet() -> Any:
    """The style of all pages, safe to put into one."""
    from markupsafe import Markup

    return Markup((TEMPLATES / "page.css").read_text(encoding="utf-8"))
