"""Signs what a change to a repository asks for and commits it, so that readers see the old state or the new one.

Rules, in order: 1. Every key that a change needs is opened before the first byte is written. 2. Files first, timestamp.json
last: its replacement is the one commit point. A file that a killed writer left is numbered past, never overwritten. 3. Creating
the next snapshot is the compare-and-swap: where the store has no lock, the loser loads again and starts over. 4. A clock
that cannot be right signs nothing.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from typing import TypeVar

from edgeproof_edge.errors import EdgeproofError, SurroundingsError
from securesystemslib.signer import Signer
from tuf.api.metadata import MetaFile, Root, Signed, Snapshot, Targets, Timestamp

from releases.archive import ARCHIVE
from releases.errors import ReleaseError
from releases.keys import ONLINE, KeyRing, ReleaseKeyError
from releases.metadata import (
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
from releases.signing import Clock, create_next, key_name, sign, utc_now
from releases.store import AlreadyStored, NotStored, Store

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


class Committer:
    """An open repository that can be changed as a whole."""

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
