"""Signs what a change to a repository asks for and commits it, so that readers see the old state or the new one.

Rules, in order: 1. Every key that a change needs is opened before the first byte is written. 2. Files first, timestamp.json
last: its replacement is the one commit point. A file that a killed writer left is numbered past, never overwritten. 3. The store's
protocol orders writers: a lock, or the loser loads again and starts over. 4. A clock that cannot be right signs nothing. 5. What was signed
with a key that was replaced meanwhile is signed anew by the next commit.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Generic, TypeVar

from edgeproof_edge.errors import EdgeproofError, SurroundingsError
from securesystemslib.signer import Signer
from tuf.api.metadata import MetaFile, Root, Signed, Snapshot, Targets, Timestamp

from releases.archive import ARCHIVE
from releases.errors import ReleaseError
from releases.stores.protocol import AlreadyStored, NotStored, OvertakenError, newest_version, role_file
from releases.stores.store import Store
from releases.trust.keys import ONLINE, KeyRing
from releases.trust.metadata import (
    BUILT_ON,
    REFRESHES_PER_SNAPSHOT,
    SIGNED_AT,
    TIMESTAMP_FILE,
    State,
    is_signed,
    lifetime,
    load,
    parse,
    text_of,
    time_of,
)
from releases.trust.private_keys import ReleaseKeyError
from releases.trust.signing import Clock, create_next, key_name, sign, utc_now

#: Archive metadata kept behind the newest, for readers that are under way. All of it would grow quadratically.
KEPT_ARCHIVES = 10
#: A clock this far behind the last signature is wrong; less is what machines without NTP differ by.
CLOCK_TOLERANCE = timedelta(minutes=10)

_MAX_ATTEMPTS = 100
_MAX_PAUSE_S = 1.0
_POLL_S = 0.2

_Result = TypeVar("_Result")
Roles = dict[str, Targets]


class ClockError(SurroundingsError):
    """This machine's clock cannot be right."""


@dataclass(frozen=True)
class Change(Generic[_Result]):
    """What a change asks for: the roles to sign anew, none for "nothing to do", and what it reports."""

    roles: Roles
    result: _Result


class Committer:
    """Loads and commits the states of one repository, with one set of keys."""

    def __init__(self, store: Store, anchor: bytes, ring: KeyRing | None = None, clock: Clock = utc_now) -> None:
        """Opens a repository; nothing is read yet.

        Args:
            store: Where it is.
            anchor: The root metadata to trust.
            ring: Keys; None for a reader.
            clock: Tells the time.
        """
        self.store = store
        self.anchor = anchor
        self.now = clock
        self._ring = ring
        self._is_alone = False

    @property
    def ring(self) -> KeyRing:
        """The keys.

        Raises:
            ReleaseKeyError: Opened without.
        """
        if self._ring is None:
            raise ReleaseKeyError("this needs keys. Give their directory with --keys.")
        return self._ring

    def load(self) -> State:
        """Reads and verifies the present state; see ``metadata.load`` for what it raises."""
        return load(self.store, self.anchor)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keeps other writers out, where the store can, for all that is written inside; may be entered again inside."""
        if self._is_alone:
            yield
            return
        with self.store.lock():
            self._is_alone = True
            try:
                yield
            finally:
                self._is_alone = False

    def commit_change(
        self,
        change: Callable[[State], Change[_Result]],
        renews: bool = False,
        signers: Mapping[str, Signer] | None = None,
    ) -> _Result:
        """Loads, changes, commits; starts over where another writer was faster.

        Args:
            change: Decides what to sign anew; asked again for each state that is loaded.
            renews: Whether the proof of freshness is signed anew, even where nothing changes.
            signers: Keys to use instead of those that the state names, by role.
        """
        with self.alone():
            for attempt in range(_MAX_ATTEMPTS):
                try:
                    return self._attempt(change, renews, signers or {})
                except (OvertakenError, NotStored):
                    if not self.store.protocol.starts_over:
                        raise
                    # Overtaken; or overtaken so often that the archive that was being read is gone.
                    time.sleep(random.random() * min(_MAX_PAUSE_S, 0.05 * (attempt + 1)))
        raise SurroundingsError(
            f"{_MAX_ATTEMPTS} times another publisher was faster in {self.store.location}. Run this again later."
        )

    def _attempt(
        self, change: Callable[[State], Change[_Result]], renews: bool, signers: Mapping[str, Signer]
    ) -> _Result:
        if self._ring is not None:
            self._ring.reload()  # who waited for a rotation goes on with the key that it made
        state = self.load()
        self.check_clock(state)
        wanted = change(state)
        if wanted.roles or not state.is_sound or (renews and self.needs_new_snapshot(state)):
            self._commit(state, wanted.roles, signers)
        elif renews or not state.is_stamped:  # a writer without a lock was killed before the commit point
            self._stamp(state, state.snapshot.version, self.signers(state, ["timestamp"])["timestamp"], renews)
        return wanted.result

    def _commit(self, state: State, roles: Roles, given: Mapping[str, Signer]) -> None:
        signers = self.signers(
            state, [*roles, "snapshot", "timestamp"], {**given, **self._new_channel_signers(state, roles)}
        )
        meta = dict(state.snapshot.meta)
        for name, role in roles.items():
            meta[f"{name}.json"] = create_next(self.store, name, role, signers[name], self.now())

        def signed(version: int) -> bytes:
            snapshot = Snapshot(version=version, meta=meta, unrecognized_fields={BUILT_ON: state.snapshot.version})
            return sign("snapshot", snapshot, self.now(), signers["snapshot"])

        version = self.store.protocol.create_snapshot(self.store, state.snapshot.version, signed)
        self._stamp(state, version, signers["timestamp"])
        self._forget_old_archives(roles)

    def _stamp(self, state: State, version: int, signer: Signer, renews: bool = False) -> None:
        """Replaces timestamp.json: the commit point. Makes sure that it names the snapshot that counts."""
        while True:
            newest = self.store.protocol.snapshot_to_stamp(self.store, version)
            data = self._snapshot_to_stamp(state, newest)
            meta = MetaFile(newest, len(data), {"sha256": sha256(data).hexdigest()})
            stamp = Timestamp(version=_stamp_version(state, newest, renews), snapshot_meta=meta)
            if stamp.version % REFRESHES_PER_SNAPSHOT == REFRESHES_PER_SNAPSHOT - 1:
                raise SurroundingsError("the timestamp was refreshed too often; run `edgeproof release refresh` again.")
            signed = sign("timestamp", stamp, self.now(), signer)
            self._start_over_with_new_keys(state)
            self.store.replace(TIMESTAMP_FILE, signed)
            self._start_over_with_new_keys(state)
            version = self.store.protocol.snapshot_to_stamp(self.store, newest)
            if version == newest:
                return

    def _snapshot_to_stamp(self, state: State, version: int) -> bytes:
        """Reads a snapshot, which may be another writer's; one that was signed with a replaced key is not named."""
        file = role_file("snapshot", version)
        data = self.store.read(file)
        if not is_signed(state.root, "snapshot", parse(data, Snapshot, file)):
            raise OvertakenError
        return data

    def _start_over_with_new_keys(self, state: State) -> None:
        """Keys may be replaced while somebody writes who is not kept out: what is signed with the old ones, devices refuse."""
        if (
            self.store.protocol.starts_over
            and newest_version(self.store, "root", state.root.version) > state.root.version
        ):
            raise OvertakenError

    def signers(
        self, state: State, names: Sequence[str], given: Mapping[str, Signer] | None = None
    ) -> dict[str, Signer]:
        """Opens the keys for roles, before anything is written."""
        return {name: (given or {}).get(name) or self.signer(state, name) for name in names}

    def signer(self, state: State, name: str) -> Signer:
        """Opens the key for a role.

        Raises:
            ReleaseKeyError: It is not at hand.
        """
        trusted = state.keyids(name)
        signer = self.ring.signer_among(trusted)
        if signer is not None:
            return signer
        wanted = ONLINE if name in ("snapshot", "timestamp", ARCHIVE) else name
        raise ReleaseKeyError(
            f"{self.store.location} lets {name} be signed by {', '.join(keyid[:8] for keyid in trusted)} only, and no "
            f"key in {self.ring.location} is that one (a key {wanted!r}, or the one of this channel). {_after_rotation(state)}"
        )

    def has_signer(self, state: State, name: str) -> bool:
        """Whether the key for a role is at hand."""
        try:
            self.signer(state, name)
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

    def write_root(self, root: Root, *signers: Signer) -> None:
        """Writes the next root; devices see it at once.

        Raises:
            ReleaseError: Another one was written meanwhile.
        """
        root.version += 1
        with self.alone():
            try:
                self.store.create(role_file("root", root.version), sign("root", root, self.now(), *signers))
            except AlreadyStored as error:
                raise ReleaseError(
                    f"somebody else wrote root {root.version} of {self.store.location} meanwhile. Run this again."
                ) from error

    def sign_again(self) -> None:
        """Signs anew what a writer signed, with a key that was replaced, who is not kept out and began before; waits for such writers."""
        end = time.monotonic() + self.store.protocol.linger_s
        while True:
            self.commit_change(_no_change)
            if time.monotonic() >= end:
                return
            time.sleep(_POLL_S)

    def is_aging(self, name: str, role: Signed) -> bool:
        """Whether a role is past half of its life."""
        return role.expires - self.now() < lifetime(name) / 2

    def needs_new_snapshot(self, state: State) -> bool:
        """Whether a renewal must sign the snapshot, too."""
        num_refreshes = state.timestamp.version % REFRESHES_PER_SNAPSHOT
        is_last = num_refreshes >= REFRESHES_PER_SNAPSHOT - 2
        return not state.is_sound or is_last or self.is_aging("snapshot", state.snapshot)

    def check_clock(self, state: State) -> None:
        """A clock in the past signs what is expired at once; one in the future signs what never expires.

        Raises:
            ClockError: This machine's clock cannot be right.
        """
        now = self.now()
        signed = state.timestamp.unrecognized_fields.get(SIGNED_AT) if state.is_sound else None
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


def _no_change(_state: State) -> Change[None]:
    return Change({}, None)


def _after_rotation(state: State) -> str:
    if state.is_sound:
        return "Nothing was changed; give the right directory with --keys."
    return (
        "That key was replaced while the old one still signed, and devices refuse what it signed last. Run `edgeproof release refresh` "
        "with the new keys: it signs everything anew."
    )


def _stamp_version(state: State, snapshot_version: int, renews: bool) -> int:
    if renews and state.timestamp.snapshot_meta.version == snapshot_version:
        return state.timestamp.version + 1
    return snapshot_version * REFRESHES_PER_SNAPSHOT
