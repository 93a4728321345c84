"""SQLite in one file: what ``edgeproof telemetry serve`` uses unless it is given a PostgreSQL address. Up to about a thousand devices.

Rules, in order: 1. Write-ahead log and ``synchronous=full``: what was answered as stored survives a power cut. 2. One writer at a time,
who waits its turn instead of failing. 3. The schema is made when the file is first used: there is nothing to set up.
"""

from __future__ import annotations

import contextlib
import json
import queue
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from telemetry.database.database import Database, Transaction, Written
from telemetry.database.rows import EVENT_COLUMNS, EventRows, histogram_counts, histogram_ids, key_of
from telemetry.errors import DatabaseError
from telemetry.event import Event, parse_time
from telemetry.latency import add
from telemetry.migrations import NEWEST, upgrade

#: How long a writer waits for another one.
BUSY_SECONDS = 30.0
_PLACES = ", ".join("?" * len(EVENT_COLUMNS))
_INSERT = f"insert into event ({', '.join(EVENT_COLUMNS)}) values ({_PLACES}) on conflict do nothing"
_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"
#: A device computes less on its delegate than where the model was judged, by more than this: it has fallen back.
FALLBACK_MARGIN = 0.1


class SqliteDatabase(Database):
    """An SQLite file; any number of threads and processes may use it."""

    def __init__(self, file: Path) -> None:
        self.name = str(file)
        self._file = file
        self._idle: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue()
        self._lock = threading.Lock()
        self._is_migrated = False

    @contextlib.contextmanager
    def transaction(self, lock: str | None = None) -> Iterator[Transaction]:
        self._make_schema()
        with self._connection() as connection:
            # A deferred transaction that reads and then writes may fail at once; an immediate one waits.
            connection.execute("begin immediate")
            try:
                yield _SqliteTransaction(connection)
                connection.execute("commit")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("rollback")
                raise

    def query(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        self._make_schema()
        with self._connection() as connection:
            return connection.execute(statement, values).fetchall()

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            connection = self._connect()
        try:
            yield connection
        except sqlite3.OperationalError as error:
            raise DatabaseError(
                f"{self._file} cannot be used: {error}. Check the disk, and that the path is a telemetry file."
            ) from error
        finally:
            self._idle.put(connection)

    def _connect(self) -> sqlite3.Connection:
        try:
            connection = sqlite3.connect(
                self._file, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            connection.execute("pragma journal_mode=wal")
            connection.execute("pragma synchronous=full")
        except sqlite3.Error as error:
            raise DatabaseError(
                f"{self._file} cannot be opened: {error}. Check the path and its permissions."
            ) from error
        return connection

    def _make_schema(self) -> None:
        if not self._is_migrated:
            with self._lock:
                if not self._is_migrated and self.revision() != NEWEST:
                    self.migrate()
                self._is_migrated = True

    def write_events(self, rows: EventRows) -> Written:
        with self.transaction() as transaction:
            known = frozenset(
                key_of(event) for event in rows.events if transaction.run(_INSERT, self._values(event)) == 0
            )
            for number, shape in rows.shapes.items():
                transaction.run(
                    "insert into histogram_shape values (?, ?, ?, ?) on conflict do nothing",
                    (number, shape.name, shape.statistic, json.dumps(shape.edges)),
                )
            for event, incident in rows.incidents:
                at = self.time_value(parse_time(incident.at))
                transaction.run(
                    "insert into incident (device_id, at, kind, model_name, model_version, detail) "
                    "values (?, ?, ?, ?, ?, ?) on conflict do nothing",
                    (event.device_id, at, incident.kind, event.model_name, incident.model_version, incident.detail),
                )
        return Written(len(rows.events) - len(known), known)

    def _values(self, event: Event) -> tuple[Any, ...]:
        latency = event.latency_ms
        return (
            event.device_id,
            event.model_name,
            event.model_version,
            self.time_value(event.start),
            event.window_seconds,
            event.quantization,
            event.runtime,
            event.delegate,
            event.delegated_fraction,
            event.expected_delegated_fraction,
            event.device_model,
            event.num_inferences,
            event.num_errors,
            latency.sum,
            latency.max,
            json.dumps(latency.counts),
            json.dumps(event.classes),
            json.dumps(histogram_ids(event)),
            json.dumps(histogram_counts(event)),
            event.battery_drain_percent,
            event.temperature_celsius,
        )

    def roll_up(self, hours: Sequence[datetime]) -> None:
        for hour in hours:
            with self.transaction() as transaction:
                start, end = self.time_value(hour), self.time_value(hour + timedelta(hours=1))
                transaction.run("delete from hourly where hour = ?", (start,))
                rows = transaction.query(
                    "select model_name, model_version, quantization, delegate, coalesce(device_model, ''), device_id, num_inferences,"
                    " num_errors, delegated_fraction, expected_delegated_fraction, latency_sum_ms, latency_max_ms, latency_counts,"
                    " battery_drain_percent from event where window_start >= ? and window_start < ?",
                    (start, end),
                )
                groups: defaultdict[tuple[Any, ...], _Group] = defaultdict(_Group)
                for row in rows:
                    groups[row[:5]].take(*row[5:])
                for key, group in groups.items():
                    values = (start, *key, *group.values())
                    transaction.run(f"insert into hourly values ({', '.join('?' * len(values))})", values)

    def drop_events(self, before: datetime) -> int:
        midnight = before.replace(hour=0, minute=0, second=0, microsecond=0)
        with self.transaction() as transaction:
            return transaction.run("delete from event where window_start < ?", (self.time_value(midnight),))

    def migrate(self) -> str:
        new = not self._file.exists()
        self._connect().close()
        if new:
            self._file.chmod(0o600)  # it holds images and hashes of tokens
        with self._connection() as connection:
            connection.execute("pragma user_version")
        revision = upgrade(f"sqlite:///{self._file.absolute()}", None)
        self._is_migrated = True
        return revision

    def revision(self) -> str | None:
        if not self._file.exists():
            return None
        with self._connection() as connection:
            if not connection.execute("select 1 from sqlite_master where name = 'alembic_version'").fetchall():
                return None
            rows = connection.execute("select version_num from alembic_version").fetchall()
        return str(rows[0][0]) if rows else None

    def list_value(self, values: Sequence[float | int]) -> Any:
        return json.dumps(list(values))

    def as_list(self, stored: Any) -> list[Any]:
        values = json.loads(stored)
        assert isinstance(values, list)
        return values

    def time_value(self, time: datetime) -> Any:
        return time.astimezone(timezone.utc).strftime(_FORMAT)

    def as_time(self, stored: Any) -> datetime:
        return datetime.strptime(stored, _FORMAT).replace(tzinfo=timezone.utc)

    def close(self) -> None:
        while not self._idle.empty():
            self._idle.get_nowait().close()


@dataclass
class _Group:
    """One row of ``hourly`` while it is added up."""

    devices: set[str] = field(default_factory=set)
    num_windows: int = 0
    num_inferences: int = 0
    num_errors: int = 0
    num_fallback_windows: int = 0
    latency_sum_ms: float = 0.0
    latency_max_ms: float = 0.0
    latency_counts: list[list[int]] = field(default_factory=list)
    drains: list[float] = field(default_factory=list)

    def take(
        self,
        device_id: str,
        num_inferences: int,
        num_errors: int,
        delegated: float | None,
        expected: float | None,
        latency_sum_ms: float,
        latency_max_ms: float,
        latency_counts: str,
        drain: float | None,
    ) -> None:
        self.devices.add(device_id)
        self.num_windows += 1
        self.num_inferences += num_inferences
        self.num_errors += num_errors
        self.num_fallback_windows += (
            delegated is not None and expected is not None and delegated < expected - FALLBACK_MARGIN
        )
        self.latency_sum_ms += latency_sum_ms
        self.latency_max_ms = max(self.latency_max_ms, latency_max_ms)
        self.latency_counts.append(json.loads(latency_counts))
        if drain is not None:
            self.drains.append(drain)

    def values(self) -> tuple[Any, ...]:
        return (
            len(self.devices),
            self.num_windows,
            self.num_inferences,
            self.num_errors,
            self.num_fallback_windows,
            self.latency_sum_ms,
            self.latency_max_ms,
            json.dumps(add(self.latency_counts)),
            sum(self.drains),
            len(self.drains),
        )


class _SqliteTransaction:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def query(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._connection.execute(statement, values).fetchall()

    def run(self, statement: str, values: Sequence[Any] = ()) -> int:
        return self._connection.execute(statement, values).rowcount
