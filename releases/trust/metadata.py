"""Reads the repository's signed metadata, and trusts none of it before it is verified.

A publisher that signed what it had not checked would launder whatever was slipped into the store. So every publisher
starts from the root it trusts and follows the same chain as a device: root by root, timestamp, snapshot, roles. Expiry
is not enforced here: a repository that expired must be brought back by signing it.

Nor does it end here where a writer used a key that was replaced meanwhile: devices refuse what it signed, and publishers could not mend it
if they refused it, too. Rules for that: 1. What an earlier root trusted is read, and the state says that it must be signed anew. 2. What is
believed rests on the newest snapshot that the present root trusts. 3. A role is newer than there only with a signature that counts now:
the thief of an old key moves nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, TypeVar

from securesystemslib.exceptions import Error as SslibError
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import DelegatedRole, Metadata, MetaFile, Root, Snapshot, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer

from releases.archive import ARCHIVE
from releases.errors import ReleaseError
from releases.stores.protocol import NotStored, newest_version, role_file
from releases.stores.store import Store

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


def lifetime(name: str) -> timedelta:
    """How long a signature of a role holds."""
    return timedelta(days=LIFETIME_DAYS.get(name, LIFETIME_DAYS_OF_OTHERS))


def text_of(time: datetime) -> str:
    """A UTC time, as in "2026-11-21T09:00:00Z"."""
    return time.astimezone(timezone.utc).strftime(_TIME_FORMAT)


def time_of(text: str) -> datetime:
    """Reads what ``text_of`` wrote."""
    return datetime.strptime(text, _TIME_FORMAT).replace(tzinfo=timezone.utc)


def parse(data: bytes, kind: type[_Kind], name: str) -> Metadata[_Kind]:
    """Reads metadata of one kind; signatures are not looked at.

    Raises:
        UntrustedError: It is something else.
    """
    try:
        metadata: Metadata[Any] = Metadata.from_bytes(data)
        if not isinstance(metadata.signed, kind):
            raise ValueError(f"it is of type {metadata.signed.type}")
    except (RepositoryError, ValueError, KeyError, TypeError) as error:
        raise UntrustedError(
            f"{name} is no metadata of a release repository ({error}). Restore it from a backup."
        ) from error
    return metadata


class State:
    """One committed state of the repository, verified from the root down. Roles are read when they are asked for.

    Attributes:
        is_sound: False where devices refuse what is stored, because a key that was replaced signed it; the next commit signs it anew.
    """

    def __init__(
        self,
        store: Store,
        roots: tuple[Root, ...],
        timestamp: Timestamp,
        snapshot: Snapshot,
        is_sound: bool = True,
    ) -> None:
        self._store = store
        self.roots = roots
        self.timestamp = timestamp
        self.snapshot = snapshot
        self.is_sound = is_sound
        #: Ids of the keys that signed a role, by its name; of those that were read.
        self.signatures: dict[str, tuple[str, ...]] = {}
        self.targets: Targets = self._verified("targets", self.root)

    @property
    def root(self) -> Root:
        return self.roots[-1]

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels, in the order they were made."""
        return tuple(name for name in delegated_roles(self.targets) if name != ARCHIVE)

    @property
    def is_stamped(self) -> bool:
        """Whether devices see this state: the timestamp names its snapshot."""
        return self.timestamp.snapshot_meta.version == self.snapshot.version

    def role(self, name: str) -> Targets:
        """Reads a channel or the archive; a fresh copy each time.

        Raises:
            ReleaseError: There is no such channel.
            UntrustedError: It was changed behind our back.
        """
        self._delegated(name)
        return self._verified(name, self.targets)

    def keyids(self, name: str) -> list[str]:
        """Ids of the keys that may sign a role.

        Raises:
            ReleaseError: There is no such channel.
        """
        return list((self.root.roles.get(name) or self._delegated(name)).keyids)

    def _delegated(self, name: str) -> DelegatedRole:
        delegated = delegated_roles(self.targets)
        if name not in delegated:
            raise ReleaseError(
                f"{self._store.location} has no channel {name!r}; it has {', '.join(self.channels)}. "
                "`edgeproof release init --channel NAME` adds one."
            )
        return delegated[name]

    def _verified(self, name: str, delegator: Root | Targets) -> Targets:
        role = _read_role(self._store, name, self.snapshot)
        _verify(self._store, delegator, name, role.metadata, role.file)
        self.signatures[name] = tuple(role.metadata.signatures)
        return role.metadata.signed


def load(store: Store, anchor: bytes) -> State:
    """Reads the repository's state.

    Which snapshot counts is the store's protocol to say: the one that the timestamp names, or the newest.

    Args:
        store: Where the repository is.
        anchor: Root metadata that is trusted without further proof.

    Raises:
        MissingRepositoryError: There is none.
        UntrustedError: Something in it is not signed by the keys that count.
    """
    try:
        stamped = parse(store.read(TIMESTAMP_FILE), Timestamp, TIMESTAMP_FILE)
    except NotStored as error:
        raise MissingRepositoryError(
            f"there is no release repository in {store.location}. Check the path, or make one with "
            "`edgeproof release init`."
        ) from error
    roots = load_roots(store, anchor)
    is_stamp_trusted = _is_trusted_now(store, roots, "timestamp", stamped, TIMESTAMP_FILE)
    named = stamped.signed.snapshot_meta
    snapshot, data = _read_snapshot(store, store.protocol.snapshot_to_read(store, named.version))
    if snapshot.signed.version == named.version:
        _verify_meta(store, named, data, role_file("snapshot", named.version))
    is_sound = is_stamp_trusted and _is_snapshot_trusted(store, roots, snapshot)
    believed = snapshot.signed if is_sound else _trusted_part(store, roots, snapshot.signed.version)
    return State(store, roots, stamped.signed, believed, is_sound)


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


def delegated_roles(targets: Targets | None) -> Mapping[str, DelegatedRole]:
    """The channels and the archive, by name, as a version of the role ``targets`` delegates to them."""
    roles = targets.delegations.roles if targets is not None and targets.delegations else None
    return roles or {}


@dataclass(frozen=True)
class _RoleFile:
    """A role as it lies in the store: held against its snapshot, its signatures not looked at."""

    file: str
    metadata: Metadata[Targets]


def _read_role(store: Store, name: str, snapshot: Snapshot) -> _RoleFile:
    meta = snapshot.meta[f"{name}.json"]
    file = role_file(name, meta.version)
    data = store.read(file)
    metadata = parse(data, Targets, file)
    _verify_meta(store, meta, data, file)
    return _RoleFile(file, metadata)


def _read_snapshot(store: Store, version: int) -> tuple[Metadata[Snapshot], bytes]:
    file = role_file("snapshot", version)
    data = store.read(file)
    snapshot = parse(data, Snapshot, file)
    if snapshot.signed.version != version:
        raise _untrusted(store, file, ValueError(f"it says it is version {snapshot.signed.version}"))
    return snapshot, data


def _is_snapshot_trusted(store: Store, roots: tuple[Root, ...], snapshot: Metadata[Snapshot]) -> bool:
    """Whether the present root trusts what signed a snapshot and the role ``targets`` in it; False where only an earlier one did.

    Raises:
        UntrustedError: No root ever did.
    """
    file = role_file("snapshot", snapshot.signed.version)
    if not _is_trusted_now(store, roots, "snapshot", snapshot, file):
        return False
    targets = _read_role(store, "targets", snapshot.signed)
    return _is_trusted_now(store, roots, "targets", targets.metadata, targets.file)


def _trusted_part(store: Store, roots: tuple[Root, ...], known: int) -> Snapshot:
    """What may be believed where a replaced key signed last, as a snapshot with the newest one's number that is to be signed anew.

    Whoever holds a replaced key cannot choose which snapshot it rests on: it is the newest that the present root trusts.
    """
    newest, _ = _read_snapshot(store, newest_version(store, "snapshot", known))
    _is_snapshot_trusted(store, roots, newest)
    base = _newest_trusted(store, roots[-1], newest.signed.version)
    targets = _read_role(store, "targets", base).metadata.signed
    meta = dict(base.meta)
    for name in delegated_roles(targets):
        file = f"{name}.json"
        later = newest.signed.meta.get(file, meta[file])
        if later.version > meta[file].version and _counts(store, targets, name, newest.signed):
            meta[file] = later
    return Snapshot(version=newest.signed.version, meta=meta)


def _counts(store: Store, targets: Targets, name: str, snapshot: Snapshot) -> bool:
    """Whether a role, in the version that a snapshot names, was signed by a key that counts now."""
    try:
        return is_signed(targets, name, _read_role(store, name, snapshot).metadata)
    except ReleaseError:
        return False


def _newest_trusted(store: Store, root: Root, newest: int) -> Snapshot:
    """The newest snapshot that the present root trusts, with its ``targets``: a rotation leaves one behind."""
    for version in range(newest, 0, -1):
        try:
            snapshot, _ = _read_snapshot(store, version)
        except NotStored:
            continue
        if is_signed(root, "snapshot", snapshot):
            targets = _read_role(store, "targets", snapshot.signed)
            if is_signed(root, "targets", targets.metadata):
                return snapshot.signed
    raise _untrusted(
        store, "the newest snapshot", ValueError("it was signed by a key that was replaced, and so was all before")
    )


def _is_trusted_now(store: Store, roots: tuple[Root, ...], name: str, metadata: Metadata[Any], file: str) -> bool:
    """Whether the present root trusts what signed a role; False where only an earlier one did.

    Raises:
        UntrustedError: No root ever did.
    """
    if is_signed(roots[-1], name, metadata):
        return True
    if any(is_signed(root, name, metadata) for root in roots[:-1]):
        return False
    _verify(store, roots[-1], name, metadata, file)
    raise AssertionError("verified twice, with two outcomes")


def is_signed(delegator: Root | Targets, name: str, metadata: Metadata[Any]) -> bool:
    """Whether a role was signed as its delegator asks for."""
    try:
        delegator.verify_delegate(name, metadata.signed_bytes, metadata.signatures)
    except (RepositoryError, ValueError, SslibError):
        return False
    return True


def _verify(store: Store, delegator: Root | Targets, name: str, metadata: Metadata[Any], file: str) -> None:
    try:
        delegator.verify_delegate(name, metadata.signed_bytes, metadata.signatures)
    except (RepositoryError, ValueError, SslibError) as error:
        raise _untrusted(store, file, error) from error


def _verify_meta(store: Store, meta: MetaFile, data: bytes, file: str) -> None:
    try:
        meta.verify_length_and_hashes(data)
    except (RepositoryError, ValueError) as error:
        raise _untrusted(store, file, error) from error


def _untrusted(store: Store, file: str, error: Exception) -> UntrustedError:
    return UntrustedError(
        f"{file} in {store.location} is not what the trusted keys signed: {error}. Either it was changed, or these keys "
        "belong to another repository. Nothing was published; check --keys, then run `edgeproof release verify`."
    )
