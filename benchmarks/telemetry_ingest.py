"""What the telemetry database and service take in, beside a plain ``COPY`` of the same rows in the same run.

Run: ``python benchmarks/telemetry_ingest.py`` (starts a PostgreSQL server of its own with fsync on; ``--sqlite`` for the embedded one).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psycopg

sys.path.insert(0, str(Path(__file__).parent.parent))

from telemetry.database import open_database
from telemetry.database.postgresql import PostgresqlDatabase, copy_line
from telemetry.database.rows import EVENT_COLUMNS, EventRows
from telemetry.event import BATCH, Event
from tests.telemetry.samples import batch, event_json
from tests.telemetry.servers import SETTINGS, PostgresqlServer, find_binaries

NUM_DEVICES = 10_000
WINDOWS_PER_DEVICE = 4
ROWS_PER_COMMIT = 5_000
NUM_WRITERS = 2


def events() -> list[Event]:
    """Windows of many devices; all differ in key and counts."""
    bodies = [
        batch(*(event_json(f"device-{device}", windows_ago=ago) for ago in range(WINDOWS_PER_DEVICE)))
        for device in range(NUM_DEVICES)
    ]
    started = time.perf_counter()
    made = [event for body in bodies for event in BATCH.validate_json(body).events]
    rate = len(made) / (time.perf_counter() - started)
    print(f"{len(made):,} rows of {NUM_DEVICES:,} devices; read and checked as JSON at {rate:,.0f} rows/s on one core")
    return made


def seconds(work: Callable[[], None]) -> float:
    """How long something takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def plain_copy(address: str, rows: list[Event]) -> None:
    """The same rows into the same table, without anything around it."""
    columns = ", ".join(EVENT_COLUMNS)
    with psycopg.connect(PostgresqlDatabase(address)._address) as connection, connection.cursor() as cursor:
        with cursor.copy(f"copy event ({columns}) from stdin".encode()) as copy:
            for event in rows:
                copy.write(copy_line(event))


def batch_path(address: str, rows: list[Event]) -> None:
    """As the service writes: two writers, 5,000 rows per commit."""
    database = open_database(address)
    parts = [rows[start : start + ROWS_PER_COMMIT] for start in range(0, len(rows), ROWS_PER_COMMIT)]

    def write(mine: list[list[Event]]) -> None:
        for part in mine:
            written = database.write_events(EventRows.of(part))
            assert written.num_accepted == len(part)

    threads = [threading.Thread(target=write, args=(parts[n::NUM_WRITERS],)) for n in range(NUM_WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    database.close()


def main() -> None:
    """Prints rows per second, both ways, round by round."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sqlite", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rows = events()
    with tempfile.TemporaryDirectory(prefix="edgeproof-benchmark-") as directory:
        if options.sqlite:
            address = str(Path(directory) / "telemetry.db")
            open_database(address).migrate()
            print(f"sqlite, batch path: {len(rows) / seconds(lambda: batch_path(address, rows)):,.0f} rows/s")
            return
        binaries = find_binaries()
        if binaries is None:
            sys.exit("PostgreSQL is not installed: .ci/services installs it")
        server = PostgresqlServer.make(Path(directory), binaries, SETTINGS)  # with fsync
        server.start()
        try:
            for number in range(options.rounds):
                figures = []
                for name, work in (("plain COPY", plain_copy), ("batch path", batch_path)):
                    address = server.create_database(f"{name.replace(' ', '_').lower()}_{number}")
                    database = open_database(address)
                    database.migrate()
                    database.write_events(
                        EventRows.of(BATCH.validate_json(batch(event_json("first"))).events)
                    )  # the partition
                    database.close()
                    figures.append(f"{name} {len(rows) / seconds(partial(work, address, rows)):,.0f} rows/s")
                print(f"round {number + 1}: {', '.join(figures)}")
        finally:
            server.stop()


if __name__ == "__main__":
    main()
