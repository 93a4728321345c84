"""Looks at a repository from outside: `verify` as a stranger's device would, `audit` for who pointed what where and when.

`verify` runs TUF's own client over the store, from a root and nothing else, and opens every bundle. `audit` reads the
past: roles are numbered and never overwritten, and every snapshot names the one that it was built on, so the line of
committed states can be walked back to the first.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

from edgeproof_edge.bundle import BundleError, open_bundle
from edgeproof_edge.channel import ChannelError, Pointer, pointer_path
from tuf.api.exceptions import DownloadError, DownloadHTTPError, RepositoryError
from tuf.api.metadata import Metadata, Root, Snapshot, TargetFile, Targets
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from releases.archive import ARCHIVE, Release, releases
from releases.errors import ReleaseError
from releases.keys import ANCHOR_FILE
from releases.metadata import (
    BUILT_ON,
    SIGNED_AT,
    MissingRepositoryError,
    State,
    UntrustedError,
    lifetime,
    load,
    parse,
    text_of,
)
from releases.protocol import NotStored, role_file
from releases.signing import utc_now
from releases.store import Store

#: The archive grows by 400 bytes a release; TUF's client stops at 5 MB unless told otherwise.
MAX_ARCHIVE_BYTES = 200 * 2**20

_BASE_URL = "store://repository"


@dataclass(frozen=True)
class Verification:
    """What `verify` found.

    Attributes:
        num_releases: releases in the archive.
        num_bundles: bundles whose hash was computed and whose manifest holds.
        channels: channels whose pointers a device accepts.
        root_sha256: hash of the root that was trusted.
        fresh_until: when the proof of freshness ends, as in "2026-11-28T09:00:00Z"; empty where it could not be read.
        problems: one sentence each; none means that a device would accept everything.
        warnings: what will be a problem soon.
    """

    num_releases: int
    num_bundles: int
    channels: tuple[str, ...]
    root_sha256: str
    fresh_until: str
    problems: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Event:
    """A committed change.

    Attributes:
        at: when, UTC.
        by: who, as they said; empty where nobody was named.
        action: "point", "channel", "keys" or "retire".
        subject: the channel, role or release.
        detail: one sentence for people.
        keyids: ids of the keys that signed it.
        snapshot: version of the snapshot that committed it; 0 for roots, which devices see at once.
    """

    at: str
    by: str
    action: str
    subject: str
    detail: str
    keyids: tuple[str, ...]
    snapshot: int


def first_root(store: Store) -> bytes:
    """The repository's own first root: what a stranger trusts who was given no other.

    Raises:
        MissingRepositoryError: there is none.
    """
    try:
        return store.read(role_file("root", 1))
    except NotStored as error:
        raise MissingRepositoryError(
            f"there is no release repository in {store.location}. Check the path, or make one with "
            "`edgeproof release init`."
        ) from error


def trusted_root(store: Store, keys: Path) -> bytes:
    """The root that lies with the keys; the repository's own first where they are not at hand.

    Raises:
        MissingRepositoryError: there is neither.
    """
    file = keys / ANCHOR_FILE
    return file.read_bytes() if file.is_file() else first_root(store)


def verify(store: Store, anchor: bytes, now: datetime | None = None) -> Verification:
    """Checks signatures, freshness, pointers and bundles as a device does that has nothing but `anchor`."""
    problems: list[str] = []
    found: tuple[Release, ...] = ()
    channels: list[str] = []
    num_bundles, fresh_until = 0, ""
    warnings: tuple[str, ...] = ()
    with tempfile.TemporaryDirectory(prefix="edgeproof-verify-") as directory:
        try:
            state = load(store, anchor)
            fresh_until, warnings = text_of(state.timestamp.expires), _aging(state, now or utc_now())
            client = _client(store, anchor, Path(directory))
            client.refresh()
            found = _verified_archive(client, state, Path(directory))
            channels, wrong = _verified_channels(client, state, {(one.model, one.version) for one in found})
            problems += wrong
        except (RepositoryError, DownloadError, ReleaseError, OSError) as error:
            problems.append(_explained(error))
        for release in found:
            problem = _bundle_problem(store, release)
            num_bundles += problem is None
            problems += [problem] if problem else []
    root = sha256(anchor).hexdigest()
    return Verification(len(found), num_bundles, tuple(channels), root, fresh_until, tuple(problems), warnings)


def audit(store: Store, anchor: bytes) -> tuple[Event, ...]:
    """Every committed change, oldest first.

    Raises:
        UntrustedError: the present state is not what the trusted keys signed.
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


class _StoreFetcher(FetcherInterface):
    """Lets TUF's client read a store as if it were a web server."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def _fetch(self, url: str) -> Iterator[bytes]:
        try:
            return iter([self._store.read(urlsplit(url).path.lstrip("/"))])
        except NotStored as error:
            raise DownloadHTTPError(str(error), 404) from error


def _client(store: Store, anchor: bytes, directory: Path) -> Updater:
    config = UpdaterConfig(targets_max_length=MAX_ARCHIVE_BYTES)
    metadata, targets = f"{_BASE_URL}/metadata/", f"{_BASE_URL}/targets/"
    return Updater(str(directory), metadata, str(directory), targets, _StoreFetcher(store), config, bootstrap=anchor)


def _verified_archive(client: Updater, state: State, directory: Path) -> tuple[Release, ...]:
    """Has the client fetch the archive, and reads what it accepted."""
    client.get_targetinfo("models/any/any")
    file = directory / f"{ARCHIVE}.json"
    if not file.exists():
        raise ReleaseError("a device's client does not accept the archive.")
    return releases(parse(file.read_bytes(), Targets, "the archive").signed)


def _verified_channels(client: Updater, state: State, known: set[tuple[str, str]]) -> tuple[list[str], list[str]]:
    channels, problems = [], []
    for channel in state.channels:
        try:
            for path in state.role(channel).targets:
                model = path.split("/")[1]
                target = client.get_targetinfo(path)
                problems += _pointer_problems(target, channel, model, known)
            channels.append(channel)
        except (RepositoryError, DownloadError, ReleaseError, ChannelError) as error:
            problems.append(f"channel {channel}: {_explained(error)}")
    return channels, problems


def _pointer_problems(target: TargetFile | None, channel: str, model: str, known: set[tuple[str, str]]) -> list[str]:
    if target is None:
        return [f"a device's client does not accept {pointer_path(channel, model)}"]
    pointer = Pointer.from_custom(target.custom)
    offered = [reference for reference in (pointer.release, pointer.otherwise) if reference is not None]
    return [
        f"channel {channel} offers release {one.version} of {model}, which is not in the archive"
        for one in offered
        if (model, one.version) not in known
    ]


def _bundle_problem(store: Store, release: Release) -> str | None:
    try:
        data = store.read(release.file)
        if sha256(data).hexdigest() != release.bundle_sha256 or len(data) != release.size_bytes:
            return f"{release.file} was changed: its SHA-256 is {sha256(data).hexdigest()}"
        manifest = open_bundle(data).manifest
        if (manifest.model_name, manifest.version) != (release.model, release.version):
            return f"{release.file} holds release {manifest.version} of {manifest.model_name}"
    except NotStored:
        return f"{release.file} is missing"
    except BundleError as error:
        return f"{release.file}: {error}"
    return None


def _aging(state: State, now: datetime) -> tuple[str, ...]:
    """Roles past half of their life: time enough to act, and nobody did."""
    roles = {"timestamp": state.timestamp, "snapshot": state.snapshot, "targets": state.targets, "root": state.root}
    roles |= {channel: state.role(channel) for channel in state.channels}
    return tuple(
        f"{name} {'expired' if role.expires <= now else 'expires'} at {text_of(role.expires)}; "
        "`edgeproof release refresh` renews it where its key is"
        for name, role in roles.items()
        if role.expires - now < lifetime(name) / 2
    )


def _explained(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _line(store: Store, state: State) -> list[Snapshot]:
    """The committed snapshots, oldest first: from the newest back, each by the one it was built on."""
    line = [state.snapshot]
    while True:
        version = line[-1].unrecognized_fields.get(BUILT_ON, 0)
        if not isinstance(version, int) or not 0 < version < line[-1].version:
            return line[::-1]
        file = role_file("snapshot", version)
        try:
            found = parse(store.read(file), Snapshot, file)
        except NotStored:
            return line[::-1]
        if not any(_is_signed(root, found) for root in state.roots):
            raise UntrustedError(f"{file} in {store.location} was signed by no key that the repository ever trusted.")
        line.append(found.signed)


def _is_signed(root: Root, snapshot: Metadata[Snapshot]) -> bool:
    try:
        root.verify_delegate("snapshot", snapshot.signed_bytes, snapshot.signatures)
    except RepositoryError:
        return False
    return True


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
        role = role_file(name, meta.version)
        try:
            data = store.read(role)
            meta.verify_length_and_hashes(data)
        except NotStored:
            continue
        except RepositoryError as error:
            raise UntrustedError(f"{role} in {store.location} was changed after it was committed: {error}") from error
        found = parse(data, Targets, role)
        keyids = tuple(found.signatures)
        if name == "targets":
            events += _key_events(found.signed, known.get(name), keyids, snapshot.version)
        else:
            events += _channel_events(name, found.signed, known.get(name), keyids, snapshot.version)
        known[name] = found.signed
    return events


def _channel_events(
    channel: str, role: Targets, before: Targets | None, keyids: tuple[str, ...], snapshot: int
) -> list[Event]:
    events = []
    for path, target in sorted(role.targets.items()):
        pointer = Pointer.from_custom(target.custom)
        old = before.targets.get(path) if before else None
        was = Pointer.from_custom(old.custom) if old else None
        if pointer != was:
            model = path.split("/")[1]
            events.append(
                Event(pointer.at, pointer.by, "point", channel, _moved(channel, model, pointer, was), keyids, snapshot)
            )
    return events


def _moved(channel: str, model: str, pointer: Pointer, was: Pointer | None) -> str:
    share = "" if pointer.rollout == 100 else f" for {pointer.rollout} % of the devices"
    before = "" if was is None or was.release.version == pointer.release.version else f", before {was.release.version}"
    is_back = was is not None and pointer.release.sequence < was.release.sequence
    return f"{channel} {'rolled back' if is_back else 'pointed'} to {model} {pointer.release.version}{share}{before}"


def _key_events(role: Targets, before: Targets | None, keyids: tuple[str, ...], snapshot: int) -> list[Event]:
    events = []
    at = text_of(role.expires - lifetime("targets"))
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
    roles = role.delegations.roles if role.delegations else None
    return {name: list(each.keyids) for name, each in (roles or {}).items()}


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
