"""Reads the repository's signed metadata, and trusts none of it before it is verified.

A publisher that signed what it had not checked would launder whatever was slipped into the store. So every publisher
starts from the root it trusts and follows the same chain as a device: root by root, timestamp, snapshot, roles. Expiry
is not enforced here: a repository that expired must be brought back by signing it.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any, TypeVar

from securesystemslib.exceptions import Error as SslibError
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer

from releases.errors import ReleaseError
from releases.store import NotStored, Store

SERIALIZER = JSONSerializer(compact=True)
TIMESTAMP_FILE = "metadata/timestamp.json"

#: Days that a signature holds. A timestamp is renewed daily (`release refresh`): Foundries runs 7 days in production.
LIFETIME_DAYS = {"timestamp": 7, "snapshot": 30}
LIFETIME_DAYS_OF_OTHERS = 365
#: The timestamp's version counts the snapshot's and, below this, how often it was refreshed.
REFRESHES_PER_SNAPSHOT = 1000
#: Field of timestamp and root: when they were signed.
SIGNED_AT = "signed_at"
#: Field of the snapshot: the version it was built on. What a killed writer left is in nobody's line.
BUILT_ON = "built_on"

_TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
_Kind = TypeVar("_Kind", Root, Timestamp, Snapshot, Targets)


class UntrustedError(ReleaseError):
    """Metadata in the store is not what the trusted keys signed."""


class MissingRepositoryError(ReleaseError):
    """There is no repository here."""


def role_file(name: str, version: int) -> str:
    """Where a version of a role lies in the store."""
    return f"metadata/{version}.{name}.json"


def lifetime(name: str) -> timedelta:
    """How long a signature of a role holds."""
    return timedelta(days=LIFETIME_DAYS.get(name, LIFETIME_DAYS_OF_OTHERS))


def text_of(time: datetime) -> str:
    """A UTC time, as in "2026-11-21T09:00:00Z"."""
    return time.astimezone(timezone.utc).strftime(_TIME_FORMAT)


def time_of(text: str) -> datetime:
    """Reads what `text_of` wrote."""
    return datetime.strptime(text, _TIME_FORMAT).replace(tzinfo=timezone.utc)


def parse(data: bytes, kind: type[_Kind], name: str) -> Metadata[_Kind]:
    """Reads metadata of one kind; signatures are not looked at.

    Raises:
        UntrustedError: it is something else.
    """
    try:
        found: Metadata[Any] = Metadata.from_bytes(data)
        if not isinstance(found.signed, kind):
            raise ValueError(f"it is of type {found.signed.type}")
    except (RepositoryError, ValueError, KeyError, TypeError) as error:
        raise UntrustedError(
            f"{name} is no metadata of a release repository ({error}). Restore it from a backup."
        ) from error
    return found


class State:
    """One committed state of the repository, verified from the root down. Roles are read when they are asked for."""

    def __init__(self, store: Store, roots: tuple[Root, ...], timestamp: Timestamp, snapshot: Snapshot) -> None:
        self._store = store
        self.roots = roots
        self.timestamp = timestamp
        self.snapshot = snapshot
        #: Ids of the keys that signed a role, by its name; of those that were read.
        self.signatures: dict[str, tuple[str, ...]] = {}
        self.targets: Targets = self._verified("targets", self.root)

    @property
    def root(self) -> Root:
        return self.roots[-1]

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels, in the order they were made."""
        return tuple(name for name in self._delegated() if name != "archive")

    @property
    def is_stamped(self) -> bool:
        """Whether devices see this state: the timestamp names its snapshot."""
        return self.timestamp.snapshot_meta.version == self.snapshot.version

    def role(self, name: str) -> Targets:
        """Reads a channel or the archive; a fresh copy each time.

        Raises:
            ReleaseError: there is no such channel.
            UntrustedError: it was changed behind our back.
        """
        if name not in self._delegated():
            raise ReleaseError(
                f"{self._store.location} has no channel {name!r}; it has {', '.join(self.channels)}. "
                "`edgeproof release init --channel NAME` adds one."
            )
        return self._verified(name, self.targets)

    def keyids(self, name: str) -> list[str]:
        """Ids of the keys that may sign a role."""
        if name in self._delegated():
            return list(self._delegated()[name].keyids)
        return list(self.root.roles[name].keyids)

    def _delegated(self) -> dict[str, Any]:
        delegations = self.targets.delegations
        return delegations.roles or {} if delegations else {}

    def _verified(self, name: str, delegator: Root | Targets) -> Targets:
        meta = self.snapshot.meta[f"{name}.json"]
        file = role_file(name, meta.version)
        data = self._store.read(file)
        found = parse(data, Targets, file)
        try:
            meta.verify_length_and_hashes(data)
            delegator.verify_delegate(name, found.signed_bytes, found.signatures)
        except (RepositoryError, ValueError, SslibError) as error:
            raise _untrusted(self._store, file, error) from error
        self.signatures[name] = tuple(found.signatures)
        return found.signed


def load(store: Store, anchor: bytes) -> State:
    """Reads the repository's state.

    In a store without a lock the newest snapshot counts, not the one that the timestamp names: it is created before the
    timestamp is replaced, and a writer that did not build on it would lose it.

    Args:
        store: where the repository is.
        anchor: root metadata that is trusted without further proof.

    Raises:
        MissingRepositoryError: there is none.
        UntrustedError: something in it is not signed by the keys that count.
    """
    try:
        stamped = parse(store.read(TIMESTAMP_FILE), Timestamp, TIMESTAMP_FILE)
    except NotStored as error:
        raise MissingRepositoryError(
            f"there is no release repository in {store.location}. Check the path, or make one with "
            "`edgeproof release init`."
        ) from error
    roots = load_roots(store, anchor)
    root = roots[-1]
    _verify(store, root, "timestamp", stamped, TIMESTAMP_FILE)
    version = stamped.signed.snapshot_meta.version
    if not store.is_exclusive:
        version = newest_version(store, "snapshot", version)
    file = role_file("snapshot", version)
    data = store.read(file)
    snapshot = parse(data, Snapshot, file)
    _verify(store, root, "snapshot", snapshot, file)
    if version == stamped.signed.snapshot_meta.version:
        try:
            stamped.signed.snapshot_meta.verify_length_and_hashes(data)
        except RepositoryError as error:
            raise _untrusted(store, file, error) from error
    return State(store, roots, stamped.signed, snapshot.signed)


def load_roots(store: Store, anchor: bytes) -> tuple[Root, ...]:
    """Follows the root keys from the trusted one to the newest, each signed by the one before and by itself."""
    trusted = parse(anchor, Root, "the trusted root")
    _verify(store, trusted.signed, "root", trusted, "the trusted root")
    roots = [trusted.signed]
    while True:
        file = role_file("root", roots[-1].version + 1)
        try:
            following = parse(store.read(file), Root, file)
        except NotStored:
            return tuple(roots)
        _verify(store, roots[-1], "root", following, file)
        _verify(store, following.signed, "root", following, file)
        if following.signed.version != roots[-1].version + 1:
            raise _untrusted(store, file, ValueError(f"it says it is version {following.signed.version}"))
        roots.append(following.signed)


def newest_version(store: Store, name: str, known: int) -> int:
    """The highest version of a role, starting from one that exists; cheaper than listing thousands of files."""
    while True:
        try:
            store.read(role_file(name, known + 1))
        except NotStored:
            return known
        known += 1


def _verify(store: Store, root: Root, name: str, found: Metadata[Any], file: str) -> None:
    try:
        root.verify_delegate(name, found.signed_bytes, found.signatures)
    except (RepositoryError, ValueError, SslibError) as error:
        raise _untrusted(store, file, error) from error


def _untrusted(store: Store, file: str, error: Exception) -> UntrustedError:
    return UntrustedError(
        f"{file} in {store.location} is not what the trusted keys signed: {error}. Either it was changed, or these keys "
        "belong to another repository. Nothing was published; check --keys, then run `edgeproof release verify`."
    )
