"""What keeps the database small and its summaries fresh; any number of processes may do it, over and over.

Rules, in order: 1. An hour is added up again when events of it came in since the last time: devices may be late by days. 2. The present
hour counts, too: dashboards lag by a minute. 3. Events go after the retention, hours after two years.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from telemetry.database.database import Database, Transaction

#: An event's time of receipt is that of its transaction's start, so what commits late is looked for again.
OVERLAP = timedelta(minutes=5)
KEPT_HOURS = timedelta(days=730)
_WATERMARK = "rolled up until"


@dataclass(frozen=True)
class Upkeep:
    """What one round did."""

    num_hours: int
    num_dropped: int


def maintain(database: Database, now: datetime, retention: timedelta) -> Upkeep:
    """One round: devices, hours, retention.

    Raises:
        DatabaseError: The database is away; the next round does it.
    """
    since = _watermark(database)
    hours = _hours_since(database, since)
    _note_devices(database, since)
    database.roll_up(hours)
    num_dropped = database.drop_events(now - retention)
    with database.transaction(lock="maintenance") as transaction:
        transaction.run("delete from hourly where hour < ?", (database.time_value(now - KEPT_HOURS),))
        _set_watermark(database, transaction, now - OVERLAP)
    return Upkeep(len(hours), num_dropped)


def _watermark(database: Database) -> datetime:
    with database.transaction() as transaction:
        rows = transaction.query("select at from maintenance where name = ?", (_WATERMARK,))
    return database.as_time(rows[0][0]) if rows else datetime(1970, 1, 1, tzinfo=timezone.utc)


def _set_watermark(database: Database, transaction: Transaction, at: datetime) -> None:
    value = database.time_value(at)
    transaction.run(
        "insert into maintenance values (?, ?) on conflict (name) do update set at = ?", (_WATERMARK, value, value)
    )


def _hours_since(database: Database, since: datetime) -> list[datetime]:
    with database.transaction() as transaction:
        rows = transaction.query(
            "select distinct window_start from event where received_at >= ?", (database.time_value(since),)
        )
    starts = (database.as_time(start) for (start,) in rows)
    return sorted({start.replace(minute=0, second=0, microsecond=0) for start in starts})


_LATEST = """
insert into device
select device_id, model_name, model_version, device_model, quantization, runtime, delegate, delegated_fraction,
       expected_delegated_fraction, window_start, received_at
from (select *, row_number() over (partition by device_id, model_name order by window_start desc) as place
      from event where received_at >= ?) as latest
where place = 1
on conflict (device_id, model_name) do update set
  model_version = excluded.model_version, device_model = excluded.device_model, quantization = excluded.quantization,
  runtime = excluded.runtime, delegate = excluded.delegate, delegated_fraction = excluded.delegated_fraction,
  expected_delegated_fraction = excluded.expected_delegated_fraction, last_window = excluded.last_window,
  last_received = excluded.last_received
where excluded.last_window >= device.last_window
"""


def _note_devices(database: Database, since: datetime) -> None:
    with database.transaction(lock="maintenance") as transaction:
        transaction.run(_LATEST, (database.time_value(since),))
