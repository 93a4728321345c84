"""What both kinds of database offer: transactions, values that survive the way in and out, and the few statements that differ.

Statements are written once, with ``?`` for a value. A time is a ``datetime`` in UTC and a list is a list on this side of it, whatever
the database keeps.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from telemetry.database.rows import EventKey, EventRows


class Transaction(Protocol):
    """An open transaction: all of it is kept, or nothing."""

    def query(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Runs a statement; returns its rows, or none where it gives none."""

    def run(self, statement: str, values: Sequence[Any] = ()) -> int:
        """Runs a statement; returns how many rows it changed."""


@dataclass(frozen=True)
class Written:
    """What became of a batch: how many rows are new, and the keys that were there."""

    num_accepted: int
    known: frozenset[EventKey] = frozenset()


class Database(ABC):
    """A database of telemetry."""

    #: For people: the address without its password.
    name: str

    @abstractmethod
    def transaction(self, lock: str | None = None) -> AbstractContextManager[Transaction]:
        """A transaction, committed at the end of the block and rolled back by an exception.

        Args:
            lock: Only one transaction of a name runs at a time, over all processes.

        Raises:
            DatabaseError: The database is away, or has no schema.
        """

    @abstractmethod
    def query(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Runs one statement that only reads, without a transaction around it: it waits for no writer.

        Raises:
            DatabaseError: As :meth:`transaction`.
        """

    @abstractmethod
    def write_events(self, rows: EventRows) -> Written:
        """Stores events; those whose key is there stay as they are. On disk when it returns.

        Raises:
            DatabaseError: It cannot be said whether they are stored; the same rows again do no harm.
        """

    @abstractmethod
    def roll_up(self, hours: Sequence[datetime]) -> None:
        """Adds the events of these hours up again into ``hourly``."""

    @abstractmethod
    def drop_events(self, before: datetime) -> int:
        """Removes events of whole days before a time; returns how many days or rows went."""

    @abstractmethod
    def migrate(self) -> str:
        """Creates the schema, or brings it up to date.

        Returns:
            The revision that it has now.
        """

    @abstractmethod
    def revision(self) -> str | None:
        """The revision of the schema; None where there is none."""

    @abstractmethod
    def list_value(self, values: Sequence[float | int]) -> Any:
        """A list as this database takes it in a statement."""

    @abstractmethod
    def as_list(self, stored: Any) -> list[Any]:
        """A stored list."""

    @abstractmethod
    def time_value(self, time: datetime) -> Any:
        """A time as this database takes it in a statement."""

    @abstractmethod
    def as_time(self, stored: Any) -> datetime:
        """A stored time, in UTC."""

    @abstractmethod
    def close(self) -> None:
        """Closes all connections."""
