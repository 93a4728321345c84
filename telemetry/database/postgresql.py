"""PostgreSQL 15 or newer.

Rules, in order: 1. A batch is one COPY into a table of this session, then one insert that leaves known keys alone: one commit for many
rows. 2. What is answered as stored was committed with ``synchronous_commit`` as the server has it. 3. A partition per day, made when the
first event of a day comes. 4. A server that is away costs a short wait, then an error at once until it is back.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta, timezone
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import psycopg
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from telemetry.database.database import Database, Transaction, Written
from telemetry.database.rows import (
    EVENT_COLUMNS,
    KEY_COLUMNS,
    EventKey,
    EventRows,
    day_of,
    histogram_counts,
    histogram_ids,
    key_of,
)
from telemetry.errors import DatabaseError
from telemetry.event import NUM_LATENCY_COUNTS, Event, format_time
from telemetry.migrations import upgrade

# The pool tells the standard error stream of every try; whoever asked for a connection is told anyway.
logging.getLogger("psycopg.pool").addHandler(logging.NullHandler())

#: How long a request waits for a connection before it says that the database is away.
CONNECT_SECONDS = 2.0
#: After a failure, how long nobody tries again.
PAUSE_SECONDS = 1.0
MAX_CONNECTIONS = 8
SCHEMA = "edgeproof"

_COLUMNS = ", ".join(EVENT_COLUMNS)
_STAGING = f"create temporary table if not exists staging as select {_COLUMNS} from event with no data"
_KEY = ", ".join(KEY_COLUMNS)
_INSERT = f"insert into event ({_COLUMNS}) select {_COLUMNS} from staging order by {_KEY} on conflict do nothing returning {_KEY}"
_PARTITION_PREFIX = "event_d"
#: Lines that are given to the server at once.
_LINES_PER_WRITE = 200
NULL = r"\N"


class PostgresqlDatabase(Database):
    """A PostgreSQL database behind a pool of connections."""

    def __init__(self, address: str) -> None:
        self._address = _with_search_path(address)
        self.name = _without_password(address)
        self._pool = ConnectionPool(
            self._address,
            min_size=0,
            max_size=MAX_CONNECTIONS,
            timeout=CONNECT_SECONDS,
            kwargs={"connect_timeout": 5, "autocommit": True},
            configure=_configure,
            reconnect_timeout=CONNECT_SECONDS,
            open=False,
        )
        self._is_open = False
        self._paused_until = 0.0
        self._known_days: set[str] = set()
        self._known_shapes: set[int] = set()

    @contextlib.contextmanager
    def transaction(self, lock: str | None = None) -> Iterator[Transaction]:
        with self._connection() as connection, connection.transaction():
            transaction = _PostgresqlTransaction(connection)
            if lock is not None:
                transaction.query("select pg_advisory_xact_lock(?)", (_lock_number(lock),))
            yield transaction

    @contextlib.contextmanager
    def _connection(self) -> Iterator[psycopg.Connection[Any]]:
        if time.monotonic() < self._paused_until:
            raise DatabaseError(f"the database {self.name} is away. It is asked again in a second.")
        if not self._is_open:
            self._pool.open(wait=False)
            self._is_open = True
        try:
            with self._pool.connection() as connection:
                yield connection
        except (PoolTimeout, psycopg.OperationalError, psycopg.InterfaceError) as error:
            if isinstance(error, PoolTimeout) or not _is_of_statement(error):
                self._paused_until = time.monotonic() + PAUSE_SECONDS
                self._drop_broken()
            raise DatabaseError(
                f"the database {self.name} does not answer: {_first_line(error)}. Check that it runs and that the address is right."
            ) from error
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName) as error:
            raise DatabaseError(
                f"the database {self.name} has no tables of telemetry. Run edgeproof telemetry init {self.name}."
            ) from error

    def query(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._connection() as connection:
            return _PostgresqlTransaction(connection).query(statement, values)

    def _drop_broken(self) -> None:
        """Lets go of idle connections that a server's restart has broken; asking at each use would be a round trip more."""
        with contextlib.suppress(psycopg.Error, PoolTimeout, PoolClosed):
            self._pool.check()

    def write_events(self, rows: EventRows) -> Written:
        try:
            return self._write_events(rows)
        except psycopg.errors.CheckViolation:  # a partition that was dropped while this process remembered it
            self._known_days.clear()
            return self._write_events(rows)

    def _write_events(self, rows: EventRows) -> Written:
        self._make_partitions({day_of(event) for event in rows.events})
        with self._connection() as connection, connection.transaction():
            self._write_shapes(connection, rows)
            connection.execute("truncate staging")
            with connection.cursor() as cursor:
                with cursor.copy(f"copy staging ({_COLUMNS}) from stdin".encode()) as copy:
                    for start in range(0, len(rows.events), _LINES_PER_WRITE):
                        copy.write("".join(map(copy_line, rows.events[start : start + _LINES_PER_WRITE])))
                cursor.execute(_INSERT.encode())
                known = _known_keys(rows, cursor)
            for event, incident in rows.incidents:
                connection.execute(
                    "insert into incident (device_id, at, kind, model_name, model_version, detail) "
                    "values (%s, %s, %s, %s, %s, %s) on conflict do nothing",
                    (
                        event.device_id,
                        incident.at,
                        incident.kind,
                        event.model_name,
                        incident.model_version,
                        incident.detail,
                    ),
                )
        self._known_shapes |= rows.shapes.keys()
        return Written(len(rows.events) - len(known), known)

    def _write_shapes(self, connection: psycopg.Connection[Any], rows: EventRows) -> None:
        for number, shape in sorted(rows.shapes.items()):
            if number not in self._known_shapes:
                connection.execute(
                    "insert into histogram_shape values (%s, %s, %s, %s) on conflict do nothing",
                    (number, shape.name, shape.statistic, list(shape.edges)),
                )

    def _make_partitions(self, days: set[str]) -> None:
        missing = sorted(days - self._known_days)
        if not missing:
            return
        with self.transaction(lock="partitions") as transaction:
            for day in missing:
                first = date.fromisoformat(day)
                transaction.run(
                    f"create table if not exists {_PARTITION_PREFIX}{first:%Y%m%d} partition of event "
                    f"for values from ('{first} 00:00+00') to ('{first + timedelta(days=1)} 00:00+00')"
                )
        self._known_days |= days

    def roll_up(self, hours: Sequence[datetime]) -> None:
        counts = ", ".join(f"sum(latency_counts[{bin_}]::bigint)::bigint" for bin_ in range(1, NUM_LATENCY_COUNTS + 1))
        for hour in hours:
            with self.transaction(lock="roll-up") as transaction:
                transaction.run("delete from hourly where hour = ?", (hour,))
                transaction.run(
                    f"""insert into hourly
                    select ?::timestamptz, model_name, model_version, quantization, delegate, coalesce(device_model, ''),
                           count(distinct device_id), count(*), sum(num_inferences), sum(num_errors),
                           count(*) filter (where delegated_fraction < expected_delegated_fraction - 0.1),
                           sum(latency_sum_ms), max(latency_max_ms), array[{counts}],
                           coalesce(sum(battery_drain_percent), 0), count(battery_drain_percent)
                    from event where window_start >= ? and window_start < ?
                    group by model_name, model_version, quantization, delegate, coalesce(device_model, '')""",
                    (hour, hour, hour + timedelta(hours=1)),
                )

    def drop_events(self, before: datetime) -> int:
        limit = f"{_PARTITION_PREFIX}{before:%Y%m%d}"
        with self.transaction(lock="partitions") as transaction:
            partitions = transaction.query(
                "select inhrelid::regclass::text from pg_inherits where inhparent = 'event'::regclass"
            )
            old = sorted(name for (name,) in partitions if name.split(".")[-1] < limit)
            for name in old:
                transaction.run(f"drop table {name}")
        self._known_days.clear()
        return len(old)

    def migrate(self) -> str:
        with self._plain_errors():
            return upgrade(_sqlalchemy_address(self._address), _search_path(self._address))

    def revision(self) -> str | None:
        try:
            with self.transaction() as transaction:
                rows = transaction.query("select version_num from alembic_version")
        except DatabaseError as error:
            if isinstance(error.__cause__, psycopg.errors.UndefinedTable):
                return None
            raise
        return str(rows[0][0]) if rows else None

    @contextlib.contextmanager
    def _plain_errors(self) -> Iterator[None]:
        from sqlalchemy.exc import OperationalError, ProgrammingError

        try:
            yield
        except (OperationalError, ProgrammingError) as error:
            raise DatabaseError(
                f"the schema cannot be made in {self.name}: {_first_line(error.orig or error)}. Check that the server runs and that "
                "the login may create a schema there."
            ) from error

    def list_value(self, values: Sequence[float | int]) -> Any:
        return list(values)

    def as_list(self, stored: Any) -> list[Any]:
        return list(stored)

    def time_value(self, time: datetime) -> Any:
        return time

    def as_time(self, stored: Any) -> datetime:
        assert isinstance(stored, datetime)
        return stored.astimezone(timezone.utc)

    def close(self) -> None:
        if self._is_open:
            self._pool.close()


class _PostgresqlTransaction:
    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def query(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        cursor = self._execute(statement, values)
        return cursor.fetchall() if cursor.description else []

    def run(self, statement: str, values: Sequence[Any] = ()) -> int:
        return self._execute(statement, values).rowcount

    def _execute(self, statement: str, values: Sequence[Any]) -> psycopg.Cursor[Any]:
        # Our own statements, with a value for every question mark; none holds a percent sign.
        return self._connection.execute(statement.replace("?", "%s").encode(), values)


def _configure(connection: psycopg.Connection[Any]) -> None:
    connection.execute("set time zone 'UTC'")
    if connection.execute("select to_regclass('event') is not null").fetchone() == (True,):
        connection.execute(_STAGING.encode())


#: What COPY reads as something else; NUL cannot come here.
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def copy_line(event: Event) -> str:
    """An event as a line of COPY's text format: half the time of adapting its values one by one."""
    latency = event.latency_ms
    device_model = event.device_model
    return (
        f"{event.device_id}\t{event.model_name}\t{event.model_version}\t{event.window_start}\t{event.window_seconds}\t"
        f"{event.quantization.translate(_ESCAPES)}\t{event.runtime.translate(_ESCAPES)}\t{event.delegate.translate(_ESCAPES)}\t"
        f"{_number(event.delegated_fraction)}\t{_number(event.expected_delegated_fraction)}\t"
        f"{NULL if device_model is None else device_model.translate(_ESCAPES)}\t{event.num_inferences}\t{event.num_errors}\t"
        f"{latency.sum!r}\t{latency.max!r}\t{_array(latency.counts)}\t{_array(event.classes)}\t"
        f"{_array(histogram_ids(event))}\t{_array(histogram_counts(event))}\t"
        f"{_number(event.battery_drain_percent)}\t{_number(event.temperature_celsius)}\n"
    )


def _number(value: float | None) -> str:
    return NULL if value is None else repr(value)


def _known_keys(rows: EventRows, inserted: psycopg.Cursor[Any]) -> frozenset[EventKey]:
    """Keys that an insert passed over; usually none, and then nothing is read."""
    if inserted.rowcount == len(rows.events):
        return frozenset()
    new = {(device, model, version, format_time(start)) for device, model, version, start in inserted.fetchall()}
    return frozenset(key_of(event) for event in rows.events) - new


def _array(numbers: Sequence[int]) -> str:
    return "{" + repr(list(numbers))[1:-1] + "}"


def _lock_number(name: str) -> int:
    return int.from_bytes(sha256(f"edgeproof {name}".encode()).digest()[:8], "big", signed=True)


def _is_of_statement(error: psycopg.Error) -> bool:
    """Whether the server answered, and refused one statement: it is not away."""
    return error.sqlstate is not None and not error.sqlstate.startswith(("08", "57P"))


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _parameters(address: str) -> Mapping[str, str]:
    return dict(parse_qsl(urlsplit(address).query))


def _search_path(address: str) -> str:
    for option in _parameters(address).get("options", "").replace("-c ", "-c").split():
        if option.startswith("-csearch_path="):
            return option.removeprefix("-csearch_path=")
    return SCHEMA


def _with_search_path(address: str) -> str:
    parts = urlsplit(address)
    parameters = dict(parse_qsl(parts.query))
    if "search_path" not in parameters.get("options", ""):
        parameters["options"] = f"{parameters.get('options', '')} -csearch_path={SCHEMA}".strip()
    # libpq reads %20 as a space, and a plus sign as itself.
    return urlunsplit(parts._replace(query=urlencode(parameters).replace("+", "%20")))


def _without_password(address: str) -> str:
    parts = urlsplit(address)
    if parts.password is None:
        return address
    return urlunsplit(parts._replace(netloc=f"{parts.username}@{parts.netloc.rpartition('@')[2]}"))


def _sqlalchemy_address(address: str) -> str:
    return "postgresql+psycopg://" + address.split("://", 1)[1]
