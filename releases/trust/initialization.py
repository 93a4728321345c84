"""Makes a repository: its keys, its roles, its first snapshot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from tuf.api.metadata import Delegations, MetaFile, Root, Snapshot, Targets, Timestamp

from releases.archive import ARCHIVE
from releases.channels import check_channel_names
from releases.errors import ReleaseError
from releases.repository import Repository
from releases.stores.protocol import AlreadyStored, NotStored, role_file
from releases.stores.store import Store
from releases.trust.keys import BASE_KEYS, ONLINE, ROOT, TARGETS, KeyRing
from releases.trust.metadata import BUILT_ON, REFRESHES_PER_SNAPSHOT, TIMESTAMP_FILE, parse
from releases.trust.signing import Clock, create_next, delegate, key_name, sign, unwritten, utc_now

DEFAULT_CHANNELS = ("dev", "canary", "stable")


#: Channels with a key of their own: the thief of a build machine's key cannot move them.
DEFAULT_OWN_KEYS = ("stable",)

_KEYS_OF_ROLES = {"root": ROOT, "targets": TARGETS, "snapshot": ONLINE, "timestamp": ONLINE}


def initialize(
    store: Store,
    ring: KeyRing,
    channels: Sequence[str] = DEFAULT_CHANNELS,
    own_keys: Sequence[str] = DEFAULT_OWN_KEYS,
    uris: Mapping[str, str] | None = None,
    clock: Clock = utc_now,
    any_key_type: bool = False,
) -> Repository:
    """Makes a repository, completes one whose making was killed, or adds channels to one that exists.

    Args:
        store: Where.
        ring: The keys; those that are missing are made as files, or taken from ``uris``.
        channels: Names of the channels.
        own_keys: Channels that get a key of their own.
        uris: Signer URIs by name of the key.
        clock: Tells the time.
        any_key_type: Whether devices verify other types of keys than ed25519.

    Raises:
        ReleaseError: A name is unusable, the store holds a repository of other keys, or devices could not verify a key.
        SurroundingsError: The store cannot be written, or does not refuse a second create.
    """
    check_channel_names(channels)
    store.check()
    if exists(store) and ring.anchor is None:
        raise _no_anchor(store, ring)
    for name in (*BASE_KEYS, *(channel for channel in channels if channel in own_keys)):
        ring.add(name, (uris or {}).get(name), any_key_type)
    with store.lock():
        if not exists(store):
            _make(store, ring, channels, clock)
    repository = Repository.of(store, ring, clock)
    repository.add_channels(channels)
    return repository


def _no_anchor(store: Store, ring: KeyRing) -> ReleaseError:
    return ReleaseError(
        f"there is a repository in {store.location} already, and {ring.anchor_file}, the root that its keys belong to, is missing. If "
        f"these are its keys, copy {role_file('root', 1)} of the repository there; if not, give the right directory with --keys, or "
        "another place for a new repository. Nothing was changed."
    )


def exists(store: Store) -> bool:
    """Whether a repository is in the store, finished to its commit point."""
    try:
        store.read(TIMESTAMP_FILE)
    except NotStored:
        return False
    return True


def _make(store: Store, ring: KeyRing, channels: Sequence[str], clock: Clock) -> None:
    """Writes the first version of every role; the timestamp last, so that a killed making is no repository."""
    now = clock()
    _write_first_root(store, ring, now)
    snapshot = unwritten(Snapshot(meta=_write_first_roles(store, ring, channels, now)))
    snapshot.unrecognized_fields[BUILT_ON] = 0
    named = create_next(store, "snapshot", snapshot, ring.signer(ONLINE), now)
    stamp = Timestamp(version=named.version * REFRESHES_PER_SNAPSHOT, snapshot_meta=named)
    store.replace(TIMESTAMP_FILE, sign("timestamp", stamp, now, ring.signer(ONLINE)))


def _write_first_root(store: Store, ring: KeyRing, now: datetime) -> None:
    """Writes the root that these keys trust already, where a killed making left one that fits them; else a new one."""
    anchor = ring.anchor
    if anchor is None or not _fits(parse(anchor, Root, "the trusted root").signed, ring):
        root = Root(consistent_snapshot=True)
        for role, key in _KEYS_OF_ROLES.items():
            root.add_key(ring.public(key), role)
        anchor = sign("root", root, now, ring.signer(ROOT))
        ring.trust(anchor)
    try:
        store.create(role_file("root", parse(anchor, Root, "the trusted root").signed.version), anchor)
    except AlreadyStored as error:
        raise ReleaseError(
            f"{store.location} holds the beginning of a repository with other keys than {ring.location}. "
            "Give those keys with --keys, or choose another place."
        ) from error


def _write_first_roles(store: Store, ring: KeyRing, channels: Sequence[str], now: datetime) -> dict[str, MetaFile]:
    delegations = Delegations({}, {})
    for name in (*channels, ARCHIVE):
        delegate(delegations, name, key_name(name, ring), ring)
    roles: dict[str, tuple[Targets, str]] = {"targets": (unwritten(Targets(delegations=delegations)), TARGETS)}
    roles |= {name: (unwritten(Targets()), key_name(name, ring)) for name in (*channels, ARCHIVE)}
    return {
        f"{name}.json": create_next(store, name, role, ring.signer(key), now) for name, (role, key) in roles.items()
    }


def _fits(root: Root, ring: KeyRing) -> bool:
    return all(root.roles[role].keyids == [ring.public(key).keyid] for role, key in _KEYS_OF_ROLES.items())
