"""The windows that no server has yet: a SQLite file that survives power cuts and is bounded.

Rules, in order: 1. A window is there once `add` has returned, through a power cut too (WAL, synchronous=FULL: once per
window, not per inference). 2. A key is kept once: the same window again changes nothing, also after it was sent. 3. Where
the file has grown to its bound the oldest windows go, and their number is told. 4. A file that is damaged is put aside and
begun anew: reporting never stops a device. 5. Only what a server has acknowledged is removed.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from edgeproof_edge.errors import SurroundingsError
from edgeproof_edge.outbox.event import TelemetryEvent

#: 5 weeks of windows of 5 minutes, some 20 MB.
MAX_WINDOWS = 10_000
#: How long the keys of what was sent are remembered; a crash between sending and noting it is minutes.
KEYS_KEPT = 1_000

_SCHEMA = """
create table if not exists windows (
    number integer primary key autoincrement,
    device_id text not null, model_name text not null, model_version text not null, window_start text not null,
    event text, added real not null,
    unique (device_id, model_name, model_version, window_start)
);
create table if not exists facts (name text primary key, value integer not null);
"""


@dataclass(frozen=True)
class Waiting:
    """A window that waits: its number in the outbox, and its JSON."""

    number: int
    event: str


class Outbox:
    """The outbox of one device; safe among threads. Another process may use the same file."""

    def __init__(self, path: Path, max_windows: int = MAX_WINDOWS) -> None:
        """Opens the file; makes it where there is none.

        Raises:
            SurroundingsError: The directory cannot be written.
        """
        self.path = path
        self._max_windows = max_windows
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = self._open()
        except (sqlite3.Error, OSError) as error:
            raise SurroundingsError(
                f"the outbox {path} cannot be opened: {error}. Check its directory's owner."
            ) from error

    def add(self, event: TelemetryEvent) -> bool:
        """Keeps a window until a server has it.

        Returns:
            Whether it is new.

        Raises:
            SurroundingsError: The disk is full or not writable.
        """
        with self._lock:
            try:
                with self._connection:
                    added = self._connection.execute(
                        "insert or ignore into windows (device_id, model_name, model_version, window_start, event, added) "
                        "values (?, ?, ?, ?, ?, ?)",
                        (*event.key, event.to_json(), time.time()),
                    )
                    self._bound()
                    return added.rowcount == 1
            except sqlite3.Error as error:
                raise SurroundingsError(f"the outbox {self.path} cannot be written: {error}.") from error

    def waiting(self, limit: int) -> list[Waiting]:
        """The oldest windows that wait."""
        with self._lock:
            rows = self._connection.execute(
                "select number, event from windows where event is not null order by number limit ?", (limit,)
            ).fetchall()
        return [Waiting(number, event) for number, event in rows]

    def __len__(self) -> int:
        """How many windows wait."""
        with self._lock:
            (count,) = self._connection.execute("select count(*) from windows where event is not null").fetchone()
        return int(count)

    def acknowledge(self, numbers: Sequence[int]) -> None:
        """Lets go of windows that a server has; their keys are remembered for a while."""
        with self._lock, self._connection:
            self._connection.executemany("update windows set event = null where number = ?", [(n,) for n in numbers])
            self._connection.execute(
                "delete from windows where event is null and number <= (select max(number) from windows) - ?",
                (KEYS_KEPT,),
            )

    def take_num_dropped(self) -> int:
        """How many windows the bound has cost since the last call."""
        with self._lock, self._connection:
            row = self._connection.execute("select value from facts where name = 'num_dropped'").fetchone()
            self._connection.execute("delete from facts where name = 'num_dropped'")
        return 0 if row is None else int(row[0])

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Outbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _bound(self) -> None:
        (count,) = self._connection.execute("select count(*) from windows where event is not null").fetchone()
        surplus = count - self._max_windows
        if surplus <= 0:
            return
        self._connection.execute(
            "delete from windows where number in (select number from windows where event is not null order by number limit ?)",
            (surplus,),
        )
        self._connection.execute(
            "insert into facts values ('num_dropped', ?) on conflict (name) do update set value = value + excluded.value",
            (surplus,),
        )

    def _open(self) -> sqlite3.Connection:
        try:
            return _connected(self.path)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError) and not self.path.is_file():
                raise
            self._put_aside()
            return _connected(self.path)

    def _put_aside(self) -> None:
        """Keeps one damaged file for whoever wants to look, and begins anew."""
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                os.replace(f"{self.path}{suffix}", f"{self.path}.damaged{suffix}")


def _connected(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=10.0, check_same_thread=False)
    try:
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = full")
        connection.executescript(_SCHEMA)
        (verdict,) = connection.execute("pragma quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
        for (event,) in connection.execute("select event from windows where event is not null limit 1"):
            json.loads(event)
    except (sqlite3.Error, ValueError) as error:
        connection.close()
        raise sqlite3.DatabaseError(str(error)) from error
    return connection
