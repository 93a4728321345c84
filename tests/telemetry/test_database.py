"""Events are stored once, in both kinds of database, and add up by hour."""

from __future__ import annotations

import contextlib
import stat
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from telemetry.database import Database, open_database
from telemetry.database.rows import EventRows, key_of
from telemetry.errors import DatabaseError
from telemetry.latency import quantile_ms
from telemetry.migrations import NEWEST
from tests.telemetry.samples import event, latency

HOSTILE = "'; drop table event; -- %s ? \\ \" \U0001f600"


def test_the_same_event_again_is_known_and_adds_nothing(database: Database) -> None:
    rows = EventRows.of([event("a"), event("b")])
    first, again = database.write_events(rows), database.write_events(rows)
    assert (first.num_accepted, len(first.known)) == (2, 0)
    assert (again.num_accepted, again.known) == (0, {key_of(row) for row in rows.events})
    with database.transaction() as transaction:
        assert transaction.query("select count(*) from event") == [(2,)]


def test_a_key_that_comes_twice_in_a_batch_counts_once(database: Database) -> None:
    rows = EventRows.of([event("a", num_errors=1), event("a", num_errors=2)])
    assert database.write_events(rows).num_accepted == 1
    with database.transaction() as transaction:
        assert transaction.query("select num_errors from event") == [(1,)]


def test_text_stays_text(database: Database) -> None:
    database.write_events(EventRows.of([event("a", delegate=HOSTILE, runtime=HOSTILE)]))
    with database.transaction() as transaction:
        assert transaction.query("select delegate, runtime from event") == [(HOSTILE, HOSTILE)]


def test_the_view_has_the_five_columns_that_everybody_asks_for(database: Database) -> None:
    database.write_events(EventRows.of([event("a"), event("b", num_inferences=0)]))
    with database.transaction() as transaction:
        rows = transaction.query(
            'select device_id, model_version, inference_latency_ms, battery_drain_pct, "timestamp" from edge_metrics order by 1'
        )
    assert [row[:4] for row in rows] == [
        ("a", event().model_version, 8.0, 0.5),
        ("b", event().model_version, None, 0.5),
    ]
    assert database.as_time(rows[0][4]) == event().start


def test_an_hour_adds_up_by_version_scheme_delegate_and_device_model(database: Database) -> None:
    hour = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0) - timedelta(hours=2)
    windows = [(hour + timedelta(minutes=5 * number)).strftime("%Y-%m-%dT%H:%M:%SZ") for number in range(3)]
    events = [event("a", window_start=start) for start in windows]
    events += [event("b", window_start=start, latency_ms=latency(80.0)) for start in windows]
    events += [event("c", window_start=windows[0], delegate="builtin", delegated_fraction=0.0, device_model=None)]
    database.write_events(EventRows.of(events))
    for _ in range(2):  # the same again is the same
        database.roll_up([hour])
    with database.transaction() as transaction:
        rows = transaction.query(
            "select delegate, device_model, num_devices, num_windows, num_inferences, num_fallback_windows, latency_counts"
            " from hourly order by delegate"
        )
    assert [row[:6] for row in rows] == [
        ("builtin", "", 1, 1, 100, 1),
        ("xnnpack", "Raspberry Pi 4 Model B Rev 1.4", 2, 6, 600, 0),
    ]
    assert quantile_ms(database.as_list(rows[1][6]), 0.25) == pytest.approx(8.0, rel=0.2)
    assert quantile_ms(database.as_list(rows[1][6]), 0.75) == pytest.approx(80.0, rel=0.2)


def test_old_days_go_and_younger_ones_stay(database: Database) -> None:
    now = datetime.now(timezone.utc)
    starts = [(now - timedelta(days=days)).strftime("%Y-%m-%dT00:00:00Z") for days in (0, 5, 40)]
    database.write_events(EventRows.of(event("a", window_start=start) for start in starts))
    assert database.drop_events(now - timedelta(days=30)) == 1
    with database.transaction() as transaction:
        assert transaction.query("select count(*) from event") == [(2,)]
    database.write_events(EventRows.of([event("b", window_start=starts[2])]))  # its day is made again
    with database.transaction() as transaction:
        assert transaction.query("select count(*) from event") == [(3,)]


def test_writers_of_the_same_events_neither_fail_nor_double_them(database: Database) -> None:
    rows = [event(f"device-{number}") for number in range(40)]
    accepted: list[int] = []

    def write() -> None:
        for number in range(0, 40, 10):
            accepted.append(database.write_events(EventRows.of(rows[number : number + 10])).num_accepted)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(accepted) == 16
    assert sum(accepted) == 40


def test_migrating_twice_at_once_makes_one_schema(address: str) -> None:
    databases = [open_database(address) for _ in range(2)]
    revisions: list[str] = []
    threads = [threading.Thread(target=lambda d=database: revisions.append(d.migrate())) for database in databases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert revisions == [NEWEST, NEWEST]
    assert databases[0].revision() == NEWEST
    for database in databases:
        database.close()


def test_a_transaction_that_fails_leaves_nothing(database: Database) -> None:
    with contextlib.suppress(KeyError), database.transaction() as transaction:
        transaction.run("insert into maintenance values (?, ?)", ("x", database.time_value(datetime.now(timezone.utc))))
        raise KeyError("x")
    with database.transaction() as transaction:
        assert transaction.query("select * from maintenance") == []


def test_a_server_without_the_schema_says_what_to_run(address: str) -> None:
    database = open_database(address)
    if not address.startswith("postgresql"):
        assert database.revision() is None  # SQLite makes it on first use
        return
    assert database.revision() is None
    with pytest.raises(DatabaseError, match="telemetry init"):
        database.write_events(EventRows.of([event()]))
    database.close()


def test_a_server_that_is_away_is_an_error_and_not_a_wait() -> None:
    database = open_database("postgresql://nobody:secret@127.0.0.1:1/none")
    with pytest.raises(DatabaseError, match="does not answer") as raised:
        database.write_events(EventRows.of([event()]))
    assert "secret" not in str(raised.value)
    with pytest.raises(DatabaseError, match="is away"):
        database.write_events(EventRows.of([event()]))
    database.close()


def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    database = open_database(str(tmp_path / "t.db"))
    database.migrate()
    assert stat.S_IMODE((tmp_path / "t.db").stat().st_mode) == 0o600
    database.close()
