"""Every query of the dashboard runs against a real PostgreSQL with a fleet in it, and says something."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psycopg
import pytest

from telemetry.database import open_database
from telemetry.latency import quantile_ms
from tests.telemetry.samples import latency
from tests.telemetry.servers import PostgresqlServer
from tests.telemetry.test_pages import fill

DASHBOARD = json.loads((Path(__file__).parents[2] / "telemetry" / "grafana" / "fleet.json").read_text(encoding="utf-8"))
NOW = datetime.now(timezone.utc)


def queries() -> Iterator[tuple[str, str, str]]:
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["format"], target["rawSql"]
    for annotation in DASHBOARD["annotations"]["list"]:
        yield annotation["name"], "table", annotation["target"]["rawSql"]
    for variable in DASHBOARD["templating"]["list"]:
        yield variable["label"], "table", variable["query"]


def as_grafana_sends_it(query: str) -> str:
    """The query with Grafana's macros and variables filled in."""
    query = re.sub(
        r"\$__timeFilter\(((?:[^()]|\([^()]*\))+)\)", r"\1 between now() - interval '24 hours' and now()", query
    )
    filled = query.replace("$model", "digits")
    assert "$" not in filled, filled
    return filled


@pytest.fixture(scope="module")
def fleet(postgresql: PostgresqlServer) -> str:
    address = postgresql.create_database("grafana")
    database = open_database(address)
    database.migrate()
    fill(database, NOW)
    database.close()
    return address


@pytest.mark.parametrize(("title", "format_", "query"), [pytest.param(*query, id=query[0]) for query in queries()])
def test_a_query_of_the_dashboard_runs_and_finds_something(fleet: str, title: str, format_: str, query: str) -> None:
    with psycopg.connect(fleet) as connection:  # without our search_path, as Grafana
        cursor = connection.execute(as_grafana_sends_it(query).encode())
        rows = cursor.fetchall()
    assert rows
    if format_ == "time_series":
        assert [column.name for column in cursor.description or ()] == ["time", "metric", "value"]
        assert all(isinstance(row[1], str) for row in rows)


def test_the_dashboard_shows_what_was_asked_for() -> None:
    titles = " ".join(panel["title"].lower() for panel in DASHBOARD["panels"])
    for wanted in (
        "by version",
        "by scheme",
        "by device model",
        "fell back",
        "devices per version",
        "drift",
        "last seen",
    ):
        assert wanted in titles


def test_the_database_reads_quantiles_as_python_does(fleet: str) -> None:
    histograms: list[list[int]] = [latency(ms, 10)["counts"] for ms in (0.001, 0.5, 8.0, 900.0, 1e6)]
    histograms += [[a + b for a, b in zip(histograms[1], histograms[2], strict=True)]]
    with psycopg.connect(fleet) as connection:
        for counts in histograms:
            for share in (0.01, 0.5, 0.95, 0.99):
                row: Any = connection.execute(
                    "select edgeproof.latency_quantile_ms(%s::bigint[], %s), edgeproof.latency_quantile_ms(null, 0.5)",
                    (counts, share),
                ).fetchone()
                assert row[0] == pytest.approx(quantile_ms(counts, share))
                assert row[1] is None
