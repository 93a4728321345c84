"""A repository of releases under The Update Framework (TUF): immutable bundles, channels that point at them, proof of freshness.

    metadata/N.root.json       which keys count; kept offline
    metadata/N.targets.json    delegates to the channels and the archive; kept offline
    metadata/N.<channel>.json  what a channel offers: a pointer per model; numbered, so the past stays readable
    metadata/N.archive.json    every release; read by publishers, never by devices
    metadata/N.snapshot.json   which versions belong together
    metadata/timestamp.json    names the newest snapshot; replacing it is the one commit point
    targets/models/<model>/<sha256>.<version>.tar

Rules, in order: 1. Nothing is signed that was not verified first (`metadata.load`). 2. A change is committed as a whole or not at
all (`committing`). 3. The same model again is the same release, and an old one never takes a channel back by a retry. 4. Promotion
and rollback are the same act.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256

from edgeproof_edge.channel import Pointer
from tuf.api.metadata import Targets

from releases import archive as archives
from releases.archive import ARCHIVE, Release, Retirement, last_sequence, releases, sequence_of, version_of
from releases.bundle import Draft, build
from releases.channels import (
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
from releases.commit import KEPT_ARCHIVES, Committer, Roles
from releases.errors import ReleaseError
from releases.keys import KeyRing
from releases.metadata import (
    State,
    role_file,
    text_of,
)
from releases.signing import Clock, delegate, key_name, unwritten, utc_now
from releases.store import NotStored, Store


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


class Repository(Committer):
    """An open repository. Reading needs no keys."""

    @classmethod
    def of(cls, store: Store, ring: KeyRing, clock: Clock = utc_now) -> Repository:
        """Opens the repository that a directory of keys belongs to."""
        return cls(store, ring.trusted_root, ring, clock)

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
