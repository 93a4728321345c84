"""Reads the signed past of a repository: who pointed what where and when.

Roles are numbered and never overwritten, and every snapshot names the one that it was built on, so the line of committed states can be
walked back to the first.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgeproof_edge.updating.channel import Pointer
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets

from releases.archive import ARCHIVE, Release, releases
from releases.channels import offered_models
from releases.stores.protocol import NotStored, role_file
from releases.stores.store import Store
from releases.trust.metadata import (
    BUILT_ON,
    SIGNED_AT,
    State,
    UntrustedError,
    delegated_roles,
    is_signed,
    lifetime,
    load,
    parse,
    text_of,
)


@dataclass(frozen=True)
class Event:
    """A committed change.

    Attributes:
        at: When, UTC.
        by: Who, as they said; empty where nobody was named.
        action: "point", "channel", "keys" or "retire".
        subject: The channel, role or release.
        detail: One sentence for people.
        keyids: Ids of the keys that signed it.
        snapshot: Version of the snapshot that committed it; 0 for roots, which devices see at once.
    """

    at: str
    by: str
    action: str
    subject: str
    detail: str
    keyids: tuple[str, ...]
    snapshot: int


def audit(store: Store, anchor: bytes) -> tuple[Event, ...]:
    """Every committed change, oldest first.

    Raises:
        UntrustedError: The present state is not what the trusted keys signed.
    """
    state = load(store, anchor)
    events = [_root_event(root, earlier) for earlier, root in zip((None, *state.roots), state.roots, strict=False)]
    earlier: Snapshot | None = None
    known: dict[str, Targets] = {}
    for snapshot in _line(store, state):
        events += _snapshot_events(store, snapshot, earlier, known)
        earlier = snapshot
    for release in releases(state.role(ARCHIVE)):
        if release.retired:
            events.append(_retire_event(release, state))
    return tuple(sorted(events, key=lambda event: event.at))


def _line(store: Store, state: State) -> list[Snapshot]:
    """The committed snapshots, oldest first: from the newest back, each by the one it was built on."""
    line = [state.snapshot]
    while True:
        version = line[-1].unrecognized_fields.get(BUILT_ON, 0)
        if not isinstance(version, int) or not 0 < version < line[-1].version:
            return line[::-1]
        file = role_file("snapshot", version)
        try:
            earlier = parse(store.read(file), Snapshot, file)
        except NotStored:
            return line[::-1]
        if not any(is_signed(root, "snapshot", earlier) for root in state.roots):
            raise UntrustedError(f"{file} in {store.location} was signed by no key that the repository ever trusted.")
        line.append(earlier.signed)


def _snapshot_events(
    store: Store, snapshot: Snapshot, earlier: Snapshot | None, known: dict[str, Targets]
) -> list[Event]:
    events: list[Event] = []
    for file, meta in sorted(snapshot.meta.items()):
        name = file.removesuffix(".json")
        if name == ARCHIVE or (
            earlier is not None and file in earlier.meta and earlier.meta[file].version == meta.version
        ):
            continue
        role = _committed_role(store, name, meta)
        if role is None:
            continue
        keyids = tuple(role.signatures)
        events_of = _key_events if name == "targets" else _channel_events
        events += events_of(name, role.signed, known.get(name), keyids, snapshot.version)
        known[name] = role.signed
    return events


def _committed_role(store: Store, name: str, meta: MetaFile) -> Metadata[Targets] | None:
    """A version of a role as it was committed; None where it was removed."""
    file = role_file(name, meta.version)
    try:
        data = store.read(file)
        meta.verify_length_and_hashes(data)
    except NotStored:
        return None
    except RepositoryError as error:
        raise UntrustedError(f"{file} in {store.location} was changed after it was committed: {error}") from error
    return parse(data, Targets, file)


def _channel_events(
    channel: str, role: Targets, before: Targets | None, keyids: tuple[str, ...], snapshot: int
) -> list[Event]:
    earlier = offered_models(before) if before else {}
    return [
        Event(
            pointer.at,
            pointer.by,
            "point",
            channel,
            _moved(channel, model, pointer, earlier.get(model)),
            keyids,
            snapshot,
        )
        for model, pointer in offered_models(role).items()
        if pointer != earlier.get(model)
    ]


def _moved(channel: str, model: str, pointer: Pointer, was: Pointer | None) -> str:
    share = "" if pointer.rollout == 100 else f" for {pointer.rollout} % of the devices"
    before = "" if was is None or was.release.version == pointer.release.version else f", before {was.release.version}"
    is_back = was is not None and pointer.release.sequence < was.release.sequence
    return f"{channel} {'rolled back' if is_back else 'pointed'} to {model} {pointer.release.version}{share}{before}"


def _key_events(
    targets: str, role: Targets, before: Targets | None, keyids: tuple[str, ...], snapshot: int
) -> list[Event]:
    events = []
    at = text_of(role.expires - lifetime(targets))
    for name, delegated in _delegated(role).items():
        old = _delegated(before).get(name) if before else None
        new = ", ".join(keyid[:8] for keyid in delegated)
        if old is None and name != ARCHIVE:
            events.append(Event(at, "", "channel", name, f"channel {name} made, signed by key {new}", keyids, snapshot))
        elif old is not None and old != delegated:
            was = ", ".join(keyid[:8] for keyid in old)
            events.append(Event(at, "", "keys", name, f"{name} signed by key {new}, before {was}", keyids, snapshot))
    return events


def _delegated(role: Targets) -> dict[str, list[str]]:
    return {name: list(each.keyids) for name, each in delegated_roles(role).items()}


def _root_event(root: Root, earlier: Root | None) -> Event:
    at = root.unrecognized_fields.get(SIGNED_AT) or text_of(root.expires - lifetime("root"))
    changed = [
        f"{name} {', '.join(keyid[:8] for keyid in role.keyids)}"
        for name, role in root.roles.items()
        if name in ("root", "targets", "snapshot", "timestamp")
        and (earlier is None or earlier.roles[name].keyids != role.keyids)
    ]
    detail = f"root {root.version}: keys of {'; '.join(changed)}" if changed else f"root {root.version}: signed anew"
    return Event(str(at), "", "keys", "root", detail, tuple(root.roles["root"].keyids), 0)


def _retire_event(release: Release, state: State) -> Event:
    assert release.retired is not None
    detail = f"release {release.version} of {release.model} retired: {release.retired.reason}"
    signatures = state.signatures[ARCHIVE]
    return Event(release.retired.at, release.retired.by, "retire", release.version, detail, signatures, 0)
