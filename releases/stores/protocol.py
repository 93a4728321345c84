"""Decides which of two writers was first, where a store keeps them apart and where it cannot.

A store hands out its protocol, and committing asks it instead of asking what kind of store it is. All agree on this: snapshots are
numbered and never overwritten, each is built on one before it, and timestamp.json names the one that devices see.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from releases.errors import ReleaseError

if TYPE_CHECKING:
    from releases.stores.store import Store


class NotStored(ReleaseError):
    """There is no file of that name in the store."""


class AlreadyStored(ReleaseError):
    """A file of that name is in the store with other bytes; nothing was written."""


class OvertakenError(Exception):
    """Another writer was faster; load again."""


class CommitProtocol(Protocol):
    """What a commit asks of the way in which a store orders its writers."""

    @property
    def starts_over(self) -> bool:
        """Whether a writer can be overtaken: it then loads again and starts over."""

    @property
    def linger_s(self) -> float:
        """Seconds for which a writer that began with an old key may still be writing; 0 where the lock kept it out."""

    def snapshot_to_read(self, store: Store, stamped: int) -> int:
        """The version of the snapshot that counts, where the timestamp names ``stamped``."""

    def snapshot_to_stamp(self, store: Store, written: int) -> int:
        """The version that the timestamp must name after the snapshot ``written``."""

    def create_snapshot(self, store: Store, version: int, signed: Callable[[int], bytes]) -> int:
        """Writes the snapshot that follows ``version``; returns its version.

        Raises:
            OvertakenError: Another writer did.
        """


class Locked:
    """One writer at a time, until it is done or dead: what the timestamp names counts, and what a killed writer left is numbered past."""

    starts_over = False
    linger_s = 0.0

    def snapshot_to_read(self, store: Store, stamped: int) -> int:
        return stamped

    def snapshot_to_stamp(self, store: Store, written: int) -> int:
        return written

    def create_snapshot(self, store: Store, version: int, signed: Callable[[int], bytes]) -> int:
        while True:
            version += 1
            try:
                store.create(role_file("snapshot", version), signed(version))
                return version
            except AlreadyStored:
                continue


class CompareAndSwap:
    """No lock: who creates the next snapshot was first. The newest counts, stamped or not: a writer that ignored it would lose it."""

    starts_over = True

    def __init__(self, linger_s: float = 3.0) -> None:
        self.linger_s = linger_s

    def snapshot_to_read(self, store: Store, stamped: int) -> int:
        return newest_version(store, "snapshot", stamped)

    def snapshot_to_stamp(self, store: Store, written: int) -> int:
        return newest_version(store, "snapshot", written)

    def create_snapshot(self, store: Store, version: int, signed: Callable[[int], bytes]) -> int:
        try:
            store.create(role_file("snapshot", version + 1), signed(version + 1))
        except AlreadyStored:
            raise OvertakenError from None
        return version + 1


def role_file(name: str, version: int) -> str:
    """Where a version of a role lies in the store."""
    return f"metadata/{version}.{name}.json"


def newest_version(store: Store, name: str, known: int) -> int:
    """The highest version of a role, starting from one that exists; cheaper than listing thousands of files."""
    while True:
        try:
            store.read(role_file(name, known + 1))
        except NotStored:
            return known
        known += 1
