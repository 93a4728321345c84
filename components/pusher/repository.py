"""A repository of releases under The Update Framework (TUF): immutable bundles, channels that point at them, proof of freshness.

    metadata/N.root.json       which keys count; kept offline
    metadata/N.targets.json    delegates to the channels and the archive; kept offline
    metadata/N.<channel>.json  what a channel offers: a pointer per model; numbered, so the past stays readable
    metadata/N.archive.json    every release; read by publishers, never by devices
    metadata/N.snapshot.json   which versions belong together
    metadata/timestamp.json    names the newest snapshot; replacing it is the one commit point
    targets/models/<model>/<sha256>.<version>.tar

Rules, in order: 1. Nothing is signed that was not verified first (`metadata.load`). 2. Every key that a change needs is
opened before the first byte is written. 3. Files first, timestamp.json last: devices see the old state or the new one.
A file that a killed writer left is numbered past, never overwritten. 4. Creating the next snapshot is the
compare-and-swap: where the store has no lock, the loser loads again and starts over. 5. The same model again is the
same release, and an old one never takes a channel back by a retry. 6. Promotion and rollback are the same act.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import TypeVar

from edgeproof_edge.channel import Pointer
from edgeproof_edge.errors import EdgeproofError, SurroundingsError
from securesystemslib.signer import Signer
from tuf.api.metadata import MetaFile, Root, Signed, Snapshot, Targets, Timestamp

from components.errors import ReleaseError
from components.pusher import archive as archives
from components.pusher.archive import ARCHIVE, Release, Retirement, last_sequence, releases, sequence_of, version_of
from components.pusher.bundle import Draft, build
from components.pusher.keys import ONLINE, KeyRing, ReleaseKeyError
from components.pusher.metadata import (
    BUILT_ON,
    REFRESHES_PER_SNAPSHOT,
    SIGNED_AT,
    TIMESTAMP_FILE,
    State,
    lifetime,
    load,
    newest_version,
    role_file,
    text_of,
    time_of,
)
from components.pusher.pointing import (
    check_bundle,
    check_channel_names,
    find,
    moved,
    offerable,
    offered,
    only_model,
    pointer_in,
    prunable,
    put_pointer,
    way_back,
)
from components.pusher.signing import Clock, create_next, delegate, key_name, sign, unwritten, utc_now
from components.pusher.store import AlreadyStored, NotStored, Store

#: Archive metadata kept behind the newest, for readers that are under way. All of it would grow quadratically.
KEPT_ARCHIVES = 10
#: A clock this far behind the last signature is wrong; less is what machines without NTP differ by.
CLOCK_TOLERANCE = timedelta(minutes=10)

_MAX_ATTEMPTS = 100
_MAX_PAUSE_S = 1.0

_Result = TypeVar("_Result")
Roles = dict[str, Targets]


class _Conflict(Exception):
    """Another writer was faster; load again."""


class ClockError(SurroundingsError):
    """This machine's clock cannot be right."""


@dataclass(frozen=True)
class ChannelState:
    """What a channel offers of one model."""

    channel: str
    model: str
    pointer: Pointer


@dataclass(frozen=True)
class Listing:
    """What a repository holds, without opening a bundle."""

    releases: tuple[Release, ...]
    channels: tuple[str, ...]
    pointers: tuple[ChannelState, ...]
    fresh_until: datetime
    is_aging: bool


@dataclass(frozen=True)
class Refreshed:
    """What `refresh` signed anew, and what will expire because its key is not here."""

    signed: tuple[str, ...]
    fresh_until: datetime
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Pruned:
    """What `prune` removed."""

    releases: tuple[Release, ...]
    num_files: int


class Repository:
    """An open repository. Reading needs no keys."""

    def __init__(self, store: Store, anchor: bytes, ring: KeyRing | None = None, clock: Clock = utc_now) -> None:
        """Opens a repository; nothing is read yet.

        Args:
            store: where it is.
            anchor: the root metadata to trust.
            ring: keys; None for a reader.
            clock: tells the time.
        """
        self.store = store
        self.anchor = anchor
        self._ring = ring
        self._clock = clock

    @classmethod
    def of(cls, store: Store, ring: KeyRing, clock: Clock = utc_now) -> Repository:
        """Opens the repository that a directory of keys belongs to."""
        return cls(store, ring.trusted_root, ring, clock)

    @property
    def ring(self) -> KeyRing:
        """The keys.

        Raises:
            ReleaseKeyError: opened without.
        """
        if self._ring is None:
            raise ReleaseKeyError("this needs keys. Give their directory with --keys.")
        return self._ring

    def now(self) -> datetime:
        """The time, as the repository's clock tells it."""
        return self._clock()

    def load(self) -> State:
        """Reads and verifies the present state; see `metadata.load` for what it raises."""
        return load(self.store, self.anchor)

    def listing(self) -> Listing:
        """Releases, channels and what they offer."""
        state = self.load()
        pointers = []
        for channel in state.channels:
            for path, target in sorted(state.role(channel).targets.items()):
                pointers.append(ChannelState(channel, path.split("/")[1], Pointer.from_custom(target.custom)))
        found = releases(state.role(ARCHIVE))
        return Listing(
            found,
            state.channels,
            tuple(pointers),
            state.timestamp.expires,
            self._is_aging("timestamp", state.timestamp),
        )

    def find(self, name: str, model: str | None = None) -> Release:
        """The release of a version, a number, or the one that a channel offers.

        Raises:
            ReleaseError: none, or several models have one.
        """
        return find(self.load(), name, model)

    def read_bundle(self, release: Release) -> bytes:
        """Returns a release's bundle, checked against its signed hash.

        Raises:
            ReleaseError: it is missing or was changed.
        """
        try:
            data = self.store.read(release.file)
        except NotStored as error:
            raise ReleaseError(
                f"the bundle of release {release.version} is missing from {self.store.location} ({release.file}). "
                "Restore it from a backup or a mirror: its name is its hash."
            ) from error
        if sha256(data).hexdigest() != release.bundle_sha256 or len(data) != release.size_bytes:
            raise ReleaseError(
                f"the bundle of release {release.version} in {self.store.location} was changed after publishing: its "
                f"SHA-256 is not {release.bundle_sha256}. Nothing was done; find out who changed {release.file}."
            )
        return data

    def check_publishing(self, channel: str) -> None:
        """Tries everything that publishing to a channel needs but the writing: before a day of training, not after.

        Raises:
            EdgeproofError: as `publish` would.
        """
        state = self.load()
        self._check_clock(state)
        state.role(channel)
        self._signers(state, [ARCHIVE, channel, "snapshot", "timestamp"])

    def publish(self, draft: Draft, channel: str | None, by: str) -> Release:
        """Publishes a model as its next release and points a channel at it, in one step.

        The same content again is the same release; it moves the channel only where that never offered it or a newer one.

        Args:
            draft: the content.
            channel: the channel to point; None leaves all channels as they are.
            by: who, for the audit.

        Returns:
            The release that holds the content.

        Raises:
            ReleaseError: the content was retired, the channel does not exist, or a key is not the right one.
            SurroundingsError: disk full, not writable, and the like; devices still see the state before.
        """
        digest = draft.content_sha256

        def change(state: State) -> tuple[Roles, Release]:
            archive = state.role(ARCHIVE)
            known = [one for one in releases(archive) if one.model == draft.model and one.content_sha256 == digest]
            roles: Roles = {}
            pointed = state.role(channel) if channel is not None else None
            self._signers(state, [ARCHIVE, *([] if channel is None else [channel])])
            if known and known[-1].retired:
                raise ReleaseError(
                    f"this content is release {known[-1].version}, which was retired: {known[-1].retired.reason}"
                )
            release = known[-1] if known else self._store_bundle(draft, last_sequence(archive, draft.model) + 1)
            if not known:
                archives.put(archive, release)
                roles[ARCHIVE] = archive
            if channel is not None and pointed is not None:
                current = pointer_in(pointed, channel, draft.model)
                if current is None or current.newest < release.sequence:
                    pointer = moved(current, release, 100, by, self.now(), _no_release)
                    put_pointer(pointed, channel, draft.model, pointer)
                    roles[channel] = pointed
            return roles, release

        return self.commit_change(change)

    def point(self, name: str, channel: str, rollout: int, by: str, model: str | None = None) -> ChannelState:
        """Points a channel at a published release: promotion forward, rollback backward.

        Args:
            name: version, number, or channel whose release is meant.
            channel: the channel to move.
            rollout: percent of the devices, 0 to 100; the others stay with what the channel offered to all.
            by: who, for the audit.
            model: the model, where the repository has several.

        Raises:
            ReleaseError: the release does not exist, was pruned, retired or changed; the channel does not exist.
        """
        if not 0 <= rollout <= 100:
            raise ReleaseError(f"a rollout is 0 to 100 percent of the devices; found {rollout}.")

        def change(state: State) -> tuple[Roles, ChannelState]:
            return self._pointed(state, find(state, name, model), channel, rollout, by)

        return self.commit_change(change)

    def roll_back(self, channel: str, by: str, to: str | None = None, model: str | None = None) -> ChannelState:
        """Points a channel at the release it offered before, or at `to`.

        Without `to` it undoes the last promotion, and run again it changes nothing: nobody goes back two steps by a retry.

        Raises:
            ReleaseError: there is nothing to go back to.
        """

        def change(state: State) -> tuple[Roles, ChannelState]:
            chosen = find(state, to, model).model if to else only_model(state, channel, model)
            current = pointer_in(state.role(channel), channel, chosen)
            if to is None and current is not None and current.undone is not None:
                return {}, ChannelState(channel, chosen, current)
            release = find(state, to, model) if to else way_back(state, channel, chosen)
            return self._pointed(state, release, channel, 100, by, is_rollback=True)

        return self.commit_change(change)

    def way_back(self, channel: str, model: str | None = None) -> Release:
        """The release that `roll_back` would go to: the present one where the last promotion is undone already."""
        state = self.load()
        chosen = only_model(state, channel, model)
        current = pointer_in(state.role(channel), channel, chosen)
        if current is not None and current.undone is not None:
            return find(state, current.release.version, chosen)
        return way_back(state, channel, chosen)

    def retire(self, name: str, reason: str, by: str, model: str | None = None) -> Release:
        """Marks a release so that no channel can offer it again.

        Raises:
            ReleaseError: a channel still offers it.
        """

        def change(state: State) -> tuple[Roles, Release]:
            release = find(state, name, model)
            if release.retired:
                return {}, release
            offering = sorted(offered(state).get((release.model, release.version), ()))
            if offering:
                raise ReleaseError(
                    f"release {release.version} is offered by {', '.join(offering)}. Promote or roll back first, then "
                    "retire it."
                )
            retired = replace(release, retired=Retirement(by, text_of(self.now()), reason))
            archive = state.role(ARCHIVE)
            archives.put(archive, retired)
            return {ARCHIVE: archive}, retired

        return self.commit_change(change)

    def refresh(self) -> Refreshed:
        """Signs the timestamp anew, and every other role that is past half its life and whose key is here."""
        renewed, root_warnings = self._renew_root()
        signed: list[str] = []
        warnings: list[str] = []

        def change(state: State) -> tuple[Roles, None]:
            signed[:], warnings[:] = ["timestamp"], []
            roles: Roles = {}
            for name in ("targets", ARCHIVE, *state.channels):
                role = state.targets if name == "targets" else state.role(name)
                if not self._is_aging(name, role):
                    continue
                if self._has_signer(state, name):
                    roles[name] = role
                    signed.append(name)
                else:
                    warnings.append(_expiry_warning(name, role.expires))
            if not roles and not self._needs_new_snapshot(state):
                self._stamp(state, state.snapshot, renew=True)
                return {}, None
            signed.append("snapshot")
            return roles, None

        self.commit_change(change, always=self._needs_new_snapshot)
        return Refreshed((*renewed, *signed), self.load().timestamp.expires, (*root_warnings, *warnings))

    def _renew_root(self) -> tuple[list[str], list[str]]:
        """Signs a root past half its life anew with its own key; what was signed, and what to warn of."""
        state = self.load()
        self._check_clock(state)
        if not self._is_aging("root", state.root):
            return [], []
        if not self._has_signer(state, "root"):
            return [], [_expiry_warning("root", state.root.expires)]
        self.write_root(state.root, self._signer(state, "root"))
        return ["root"], []

    def write_root(self, root: Root, *signers: Signer) -> None:
        """Writes the next root; devices see it at once.

        Raises:
            ReleaseError: another one was written meanwhile.
        """
        root.version += 1
        with self.store.lock():
            try:
                self.store.create(role_file("root", root.version), sign("root", root, self.now(), *signers))
            except AlreadyStored as error:
                raise ReleaseError(
                    f"somebody else wrote root {root.version} of {self.store.location} meanwhile. Run this again."
                ) from error

    def prune(self, keep: int) -> Pruned:
        """Removes all but the newest `keep` releases of each model and those that a channel offers.

        Raises:
            ReleaseError: `keep` is below 1.
        """
        if keep < 1:
            raise ReleaseError(f"prune keeps at least 1 release; found {keep}.")

        def change(state: State) -> tuple[Roles, tuple[Release, ...]]:
            archive = state.role(ARCHIVE)
            removed = prunable(state, keep)
            for release in removed:
                del archive.targets[release.path]
            return ({ARCHIVE: archive} if removed else {}), removed

        removed = self.commit_change(change)
        with self.store.lock():
            return Pruned(removed, self._remove_unreferenced(self.load()))

    def prunable(self, keep: int) -> tuple[Release, ...]:
        """The releases that `prune` would remove."""
        return prunable(self.load(), keep)

    def add_channels(self, channels: Sequence[str]) -> None:
        """Adds the channels that do not exist yet; needs the key `targets`.

        Raises:
            ReleaseError: a name is unusable.
        """
        check_channel_names(channels)

        def change(state: State) -> tuple[Roles, None]:
            new = [channel for channel in channels if channel not in state.channels]
            if not new:
                return {}, None
            targets = state.targets
            assert targets.delegations is not None
            for channel in new:
                delegate(targets.delegations, channel, key_name(channel, self.ring), self.ring)
            return {"targets": targets, **{channel: unwritten(Targets()) for channel in new}}, None

        self.commit_change(change)

    # --- Committing ---------------------------------------------------------------------------------------------------

    def commit_change(
        self,
        change: Callable[[State], tuple[Roles, _Result]],
        always: Callable[[State], bool] | None = None,
        signers: Mapping[str, Signer] | None = None,
    ) -> _Result:
        """Loads, changes, commits; starts over where another writer was faster.

        Args:
            change: gives the roles to sign anew, none for "nothing to do", and the result.
            always: whether to commit a new snapshot even without changed roles.
            signers: keys to use instead of those that the state names, by role.
        """
        with self.store.lock():
            for attempt in range(_MAX_ATTEMPTS):
                try:
                    state = self.load()
                    self._check_clock(state)
                    roles, result = change(state)
                    if roles or (always is not None and always(state)):
                        self._commit(state, roles, signers or {})
                    elif not state.is_stamped:  # a writer without a lock was killed before the commit point
                        self._stamp(state, state.snapshot)
                    return result
                except (_Conflict, NotStored):
                    if self.store.is_exclusive:
                        raise
                    # Overtaken; or overtaken so often that the archive that was being read is gone.
                    time.sleep(random.random() * min(_MAX_PAUSE_S, 0.05 * (attempt + 1)))
        raise SurroundingsError(
            f"{_MAX_ATTEMPTS} times another publisher was faster in {self.store.location}. Run this again later."
        )

    def _commit(self, state: State, roles: Roles, given: Mapping[str, Signer]) -> None:
        signers = self._signers(
            state, [*roles, "snapshot", "timestamp"], {**given, **self._new_channel_signers(state, roles)}
        )
        meta = dict(state.snapshot.meta)
        for name, role in roles.items():
            meta[f"{name}.json"] = create_next(self.store, name, role, signers[name], self.now())
        snapshot = Snapshot(version=state.snapshot.version, meta=meta)
        snapshot.unrecognized_fields[BUILT_ON] = state.snapshot.version
        if self.store.is_exclusive:
            create_next(self.store, "snapshot", snapshot, signers["snapshot"], self.now())
        else:
            self._create_exactly_next_snapshot(snapshot, signers["snapshot"])
        self._stamp(state, snapshot, signers["timestamp"])
        self._forget_old_archives(roles)

    def _create_exactly_next_snapshot(self, snapshot: Snapshot, signer: Signer) -> None:
        snapshot.version += 1
        try:
            self.store.create(role_file("snapshot", snapshot.version), self._sign("snapshot", snapshot, signer))
        except AlreadyStored:
            raise _Conflict from None

    def _stamp(self, state: State, snapshot: Snapshot, signer: Signer | None = None, renew: bool = False) -> None:
        """Replaces timestamp.json: the commit point. Without a lock, makes sure that the newest snapshot is named."""
        signer = signer or self._signers(state, ["timestamp"])["timestamp"]
        version = snapshot.version
        while True:
            newest = version if self.store.is_exclusive else newest_version(self.store, "snapshot", version)
            data = self.store.read(role_file("snapshot", newest))
            meta = MetaFile(newest, len(data), {"sha256": sha256(data).hexdigest()})
            stamp = Timestamp(version=_stamp_version(state, newest, renew), snapshot_meta=meta)
            if stamp.version % REFRESHES_PER_SNAPSHOT == REFRESHES_PER_SNAPSHOT - 1:
                raise SurroundingsError("the timestamp was refreshed too often; run `edgeproof release refresh` again.")
            self.store.replace(TIMESTAMP_FILE, self._sign("timestamp", stamp, signer))
            if self.store.is_exclusive or newest_version(self.store, "snapshot", newest) == newest:
                return
            version = newest

    def _sign(self, name: str, role: Signed, *signers: Signer) -> bytes:
        return sign(name, role, self.now(), *signers)

    def _signers(
        self, state: State, names: Sequence[str], given: Mapping[str, Signer] | None = None
    ) -> dict[str, Signer]:
        """Opens the keys for roles, before anything is written."""
        return {name: (given or {}).get(name) or self._signer(state, name) for name in names}

    def _signer(self, state: State, name: str) -> Signer:
        trusted = state.keyids(name)
        for key in self.ring.names:
            if self.ring.public(key).keyid in trusted:
                return self.ring.signer(key)
        wanted = ONLINE if name in ("snapshot", "timestamp", ARCHIVE) else name
        raise ReleaseKeyError(
            f"{self.store.location} lets {name} be signed by {', '.join(keyid[:8] for keyid in trusted)} only, and no "
            f"key in {self.ring.location} is that one (a key {wanted!r}, or the one of this channel). Nothing was "
            "changed; give the right directory with --keys."
        )

    def _has_signer(self, state: State, name: str) -> bool:
        try:
            self._signer(state, name)
        except EdgeproofError:  # its file lies elsewhere, as it should, or its vault does not answer
            return False
        return True

    def _new_channel_signers(self, state: State, roles: Roles) -> dict[str, Signer]:
        new = [name for name in roles if name not in ("targets", ARCHIVE, *state.channels)]
        return {name: self.ring.signer(key_name(name, self.ring)) for name in new}

    def _forget_old_archives(self, roles: Roles) -> None:
        if ARCHIVE in roles:
            outdated = roles[ARCHIVE].version - KEPT_ARCHIVES
            for version in range(max(1, outdated - 3), outdated + 1):  # some numbers were skipped
                self.store.remove(role_file(ARCHIVE, version))

    def _remove_unreferenced(self, state: State) -> int:
        """Removes bundles that no release has, and archive metadata that no reader can be at; returns how many files."""
        archive = state.role(ARCHIVE)
        kept = {release.file for release in releases(archive)}
        outdated = [
            role_file(ARCHIVE, version)
            for version in _versions(self.store, ARCHIVE)
            if version <= archive.version - KEPT_ARCHIVES
        ]
        for model in self.store.list("targets/models"):
            for name in self.store.list(f"targets/models/{model}"):
                sequence = sequence_of(name.partition(".")[2].removesuffix(".tar"))
                # A bundle with a number not yet given may be a publisher's that is under way.
                is_settled = sequence is not None and sequence <= last_sequence(archive, model)
                if is_settled and f"targets/models/{model}/{name}" not in kept:
                    outdated.append(f"targets/models/{model}/{name}")
        for file in outdated:
            self.store.remove(file)
        return len(outdated)

    # --- Deciding -----------------------------------------------------------------------------------------------------

    def _store_bundle(self, draft: Draft, sequence: int) -> Release:
        created = text_of(self.now())
        version = version_of(sequence, draft.content_sha256)
        data = build(draft, sequence, version, created)
        verdict = draft.manifest.verdict
        release = Release(
            model=draft.model,
            sequence=sequence,
            version=version,
            created=created,
            content_sha256=draft.content_sha256,
            bundle_sha256=sha256(data).hexdigest(),
            size_bytes=len(data),
            recipe=draft.manifest.recipe,
            num_examples=verdict.num_examples,
            num_correct_float=verdict.num_correct_float,
            num_correct_candidate=verdict.num_correct_candidate,
            metric=verdict.metric,
            float_value=verdict.float_value,
            candidate_value=verdict.candidate_value,
        )
        self.store.create(release.file, data)
        return release

    def _pointed(
        self, state: State, release: Release, channel: str, rollout: int, by: str, is_rollback: bool = False
    ) -> tuple[Roles, ChannelState]:
        if release.retired:
            raise ReleaseError(
                f"release {release.version} was retired by {release.retired.by}: {release.retired.reason}. "
                "Choose another; `edgeproof release list` shows them."
            )
        role = state.role(channel)
        current = pointer_in(role, channel, release.model)
        self._signers(state, [channel])
        check_bundle(self.read_bundle(release), release)
        pointer = moved(current, release, rollout, by, self.now(), offerable(state, release.model))
        if current is not None and is_rollback:
            pointer = replace(pointer, undone=current.release.version)
        if current is not None and _offers_the_same(pointer, current):
            return {}, ChannelState(channel, release.model, current)
        put_pointer(role, channel, release.model, pointer)
        return {channel: role}, ChannelState(channel, release.model, pointer)

    def _is_aging(self, name: str, role: Signed) -> bool:
        return role.expires - self.now() < lifetime(name) / 2

    def _needs_new_snapshot(self, state: State) -> bool:
        num_refreshes = state.timestamp.version % REFRESHES_PER_SNAPSHOT
        return self._is_aging("snapshot", state.snapshot) or num_refreshes >= REFRESHES_PER_SNAPSHOT - 2

    def _check_clock(self, state: State) -> None:
        """A clock in the past signs what is expired at once; one in the future signs what never expires."""
        now = self.now()
        signed = state.timestamp.unrecognized_fields.get(SIGNED_AT)
        if isinstance(signed, str) and now < time_of(signed) - CLOCK_TOLERANCE:
            raise ClockError(
                f"this machine's clock says {text_of(now)}, but {self.store.location} was signed at {signed} already. "
                "Set the clock; nothing was changed."
            )
        if now > state.root.expires:
            raise ClockError(
                f"this machine's clock says {text_of(now)}, and the root of {self.store.location} expired at "
                f"{text_of(state.root.expires)}. If the clock is wrong, set it; if it is right, run "
                "`edgeproof release keys rotate root`. Nothing was changed."
            )


def _stamp_version(state: State, snapshot_version: int, renew: bool) -> int:
    if renew and state.timestamp.snapshot_meta.version == snapshot_version:
        return state.timestamp.version + 1
    return snapshot_version * REFRESHES_PER_SNAPSHOT


def _offers_the_same(pointer: Pointer, current: Pointer) -> bool:
    return replace(pointer, by=current.by, at=current.at, undone=current.undone) == current


def _no_release(version: str) -> None:
    """Nothing to fall back to is looked for where all devices get the release."""


def _expiry_warning(name: str, expires: datetime) -> str:
    return f"{name} expires at {text_of(expires)} and its key is not here; refresh where it is before that."


def _versions(store: Store, name: str) -> list[int]:
    """Versions of a role that lie in the store."""
    suffix = f".{name}.json"
    names = [file.removesuffix(suffix) for file in store.list("metadata") if file.endswith(suffix)]
    return sorted(int(number) for number in names if number.isdigit())
