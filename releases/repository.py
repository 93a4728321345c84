"""A repository of releases under The Update Framework (TUF): immutable bundles, channels that point at them, proof of freshness.

    metadata/N.root.json       which keys count; kept offline
    metadata/N.targets.json    delegates to the channels and the archive; kept offline
    metadata/N.<channel>.json  what a channel offers: a pointer per model; numbered, so the past stays readable
    metadata/N.archive.json    every release; read by publishers, never by devices
    metadata/N.snapshot.json   which versions belong together
    metadata/timestamp.json    names the newest snapshot; replacing it is the one commit point
    targets/models/<model>/<sha256>.<version>.tar

Rules, in order: 1. Nothing is signed that was not verified first (``metadata.load``). 2. A change is committed as a whole or not at
all (``commit``). 3. The same model again is the same release, and an old one never takes a channel back by a retry. 4. Promotion
and rollback are the same act.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256

from edgeproof_edge.updating.channel import Pointer
from securesystemslib.signer import Signer
from tuf.api.metadata import Targets

from releases import archive as archives
from releases.archive import ARCHIVE, Release, Retirement, last_sequence, releases, sequence_of, version_of
from releases.bundles.bundle import Draft, build
from releases.channels import (
    check_bundle,
    check_channel_names,
    find_release,
    moved,
    offerable,
    offered,
    offered_models,
    only_model,
    pointer_in,
    prunable_releases,
    put_pointer,
    release_before,
)
from releases.commit import KEPT_ARCHIVES, Change, Committer, Roles
from releases.errors import ReleaseError
from releases.stores.protocol import NotStored, role_file
from releases.stores.store import Store
from releases.trust.freshness import Refreshed, refresh_repository
from releases.trust.keys import KeyRing
from releases.trust.metadata import State, text_of
from releases.trust.signing import Clock, delegate, key_name, unwritten, utc_now


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
class Pruned:
    """What ``prune`` removed."""

    releases: tuple[Release, ...]
    num_files: int


class Repository:
    """An open repository. Reading needs no keys."""

    def __init__(self, store: Store, anchor: bytes, ring: KeyRing | None = None, clock: Clock = utc_now) -> None:
        """Opens a repository; nothing is read yet. See ``Committer`` for the arguments."""
        self.committer = Committer(store, anchor, ring, clock)

    @classmethod
    def of(cls, store: Store, ring: KeyRing, clock: Clock = utc_now) -> Repository:
        """Opens the repository that a directory of keys belongs to."""
        return cls(store, ring.trusted_root, ring, clock)

    @property
    def store(self) -> Store:
        return self.committer.store

    @property
    def anchor(self) -> bytes:
        return self.committer.anchor

    @property
    def ring(self) -> KeyRing:
        return self.committer.ring

    def load(self) -> State:
        """Reads and verifies the present state; see ``metadata.load`` for what it raises."""
        return self.committer.load()

    def listing(self) -> Listing:
        """Releases, channels and what they offer."""
        state = self.load()
        pointers = [
            ChannelState(channel, model, pointer)
            for channel in state.channels
            for model, pointer in offered_models(state.role(channel)).items()
        ]
        return Listing(
            releases(state.role(ARCHIVE)),
            state.channels,
            tuple(pointers),
            state.timestamp.expires,
            self.committer.is_aging("timestamp", state.timestamp),
        )

    def find(self, name: str, model: str | None = None) -> Release:
        """The release of a version, a number, or the one that a channel offers.

        Raises:
            ReleaseError: None, or several models have one.
        """
        return find_release(self.load(), name, model)

    def read_bundle(self, release: Release) -> bytes:
        """Returns a release's bundle, checked against its signed hash.

        Raises:
            ReleaseError: It is missing or was changed.
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
            EdgeproofError: As ``publish`` would.
        """
        state = self.load()
        self.committer.check_clock(state)
        state.role(channel)
        self.committer.signers(state, [ARCHIVE, channel, "snapshot", "timestamp"])

    def publish(self, draft: Draft, channel: str | None, by: str) -> Release:
        """Publishes a model as its next release and points a channel at it, in one step.

        The same content again is the same release; it moves the channel only where that never offered it or a newer one.

        Args:
            draft: The content.
            channel: The channel to point; None leaves all channels as they are.
            by: Who, for the audit.

        Returns:
            The release that holds the content.

        Raises:
            ReleaseError: The content was retired, the channel does not exist, or a key is not the right one.
            SurroundingsError: Disk full, not writable, and the like; devices still see the state before.
        """
        return self.committer.commit_change(lambda state: self._published(state, draft, channel, by))

    def _published(self, state: State, draft: Draft, channel: str | None, by: str) -> Change[Release]:
        archive = state.role(ARCHIVE)
        roles: Roles = {}
        role = state.role(channel) if channel is not None else None
        signers = self.committer.signers(state, [ARCHIVE, *([] if channel is None else [channel])])
        release = _published_before(archive, draft)
        if release is None:
            release = self._store_bundle(draft, last_sequence(archive, draft.model) + 1, signers[ARCHIVE])
            archives.put(archive, release)
            roles[ARCHIVE] = archive
        if channel is not None and role is not None:
            current = pointer_in(role, channel, draft.model)
            if current is None or current.newest < release.sequence:
                put_pointer(
                    role, channel, draft.model, moved(current, release, 100, by, self.committer.now(), _no_release)
                )
                roles[channel] = role
        return Change(roles, release)

    def point(self, name: str, channel: str, rollout: int, by: str, model: str | None = None) -> ChannelState:
        """Points a channel at a published release: promotion forward, rollback backward.

        Args:
            name: Version, number, or channel whose release is meant.
            channel: The channel to move.
            rollout: Percent of the devices, 0 to 100; the others stay with what the channel offered to all.
            by: Who, for the audit.
            model: The model, where the repository has several.

        Raises:
            ReleaseError: The release does not exist, was pruned, retired or changed; the channel does not exist.
        """
        if not 0 <= rollout <= 100:
            raise ReleaseError(f"a rollout is 0 to 100 percent of the devices; found {rollout}.")

        return self.committer.commit_change(
            lambda state: self._pointed(state, find_release(state, name, model), channel, rollout, by)
        )

    def roll_back(self, channel: str, by: str, to: str | None = None, model: str | None = None) -> ChannelState:
        """Points a channel at the release it offered before, or at ``to``.

        Without ``to`` it undoes the last promotion, and run again it changes nothing: nobody goes back two steps by a retry.

        Raises:
            ReleaseError: There is nothing to go back to.
        """

        def change(state: State) -> Change[ChannelState]:
            chosen = find_release(state, to, model).model if to else only_model(state, channel, model)
            current = pointer_in(state.role(channel), channel, chosen)
            if to is None and current is not None and current.undone is not None:
                return Change({}, ChannelState(channel, chosen, current))
            release = find_release(state, to, model) if to else release_before(state, channel, chosen)
            return self._pointed(state, release, channel, 100, by, is_rollback=True)

        return self.committer.commit_change(change)

    def way_back(self, channel: str, model: str | None = None) -> Release:
        """The release that ``roll_back`` would go to: the present one where the last promotion is undone already."""
        state = self.load()
        chosen = only_model(state, channel, model)
        current = pointer_in(state.role(channel), channel, chosen)
        if current is not None and current.undone is not None:
            return find_release(state, current.release.version, chosen)
        return release_before(state, channel, chosen)

    def retire(self, name: str, reason: str, by: str, model: str | None = None) -> Release:
        """Marks a release so that no channel can offer it again.

        Raises:
            ReleaseError: A channel still offers it.
        """

        def change(state: State) -> Change[Release]:
            release = find_release(state, name, model)
            if release.retired:
                return Change({}, release)
            offering = sorted(offered(state).get((release.model, release.version), ()))
            if offering:
                raise ReleaseError(
                    f"release {release.version} is offered by {', '.join(offering)}. Promote or roll back first, then "
                    "retire it."
                )
            retired = replace(release, retired=Retirement(by, text_of(self.committer.now()), reason))
            archive = state.role(ARCHIVE)
            archives.put(archive, retired)
            return Change({ARCHIVE: archive}, retired)

        return self.committer.commit_change(change)

    def refresh(self) -> Refreshed:
        """Signs the timestamp anew, and every other role that is past half its life and whose key is here."""
        return refresh_repository(self.committer)

    def prune(self, keep: int) -> Pruned:
        """Removes all but the newest ``keep`` releases of each model and those that a channel offers.

        Raises:
            ReleaseError: ``keep`` is below 1.
        """
        if keep < 1:
            raise ReleaseError(f"prune keeps at least 1 release; found {keep}.")

        def change(state: State) -> Change[tuple[Release, ...]]:
            archive = state.role(ARCHIVE)
            removed = prunable_releases(state, keep)
            for release in removed:
                del archive.targets[release.path]
            return Change({ARCHIVE: archive} if removed else {}, removed)

        removed = self.committer.commit_change(change)
        with self.committer.alone():
            return Pruned(removed, self._remove_unreferenced(self.load()))

    def prunable(self, keep: int) -> tuple[Release, ...]:
        """The releases that ``prune`` would remove."""
        return prunable_releases(self.load(), keep)

    def add_channels(self, channels: Sequence[str]) -> None:
        """Adds the channels that do not exist yet; needs the key ``targets``.

        Raises:
            ReleaseError: A name is unusable.
        """
        check_channel_names(channels)

        def change(state: State) -> Change[None]:
            new = [channel for channel in channels if channel not in state.channels]
            if not new:
                return Change({}, None)
            targets = state.targets
            assert targets.delegations is not None
            for channel in new:
                delegate(targets.delegations, channel, key_name(channel, self.ring), self.ring)
            return Change({"targets": targets, **{channel: unwritten(Targets()) for channel in new}}, None)

        self.committer.commit_change(change)

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

    def _store_bundle(self, draft: Draft, sequence: int, signer: Signer) -> Release:
        created = text_of(self.committer.now())
        version = version_of(sequence, draft.content_sha256)
        data = build(draft, sequence, version, created, signer)
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
    ) -> Change[ChannelState]:
        if release.retired:
            raise ReleaseError(
                f"release {release.version} was retired by {release.retired.by}: {release.retired.reason}. "
                "Choose another; `edgeproof release list` shows them."
            )
        role = state.role(channel)
        current = pointer_in(role, channel, release.model)
        self.committer.signers(state, [channel])
        check_bundle(self.read_bundle(release), release)
        pointer = moved(current, release, rollout, by, self.committer.now(), offerable(state, release.model))
        if current is not None and is_rollback:
            pointer = replace(pointer, undone=current.release.version)
        if current is not None and _offers_the_same(pointer, current):
            return Change({}, ChannelState(channel, release.model, current))
        put_pointer(role, channel, release.model, pointer)
        return Change({channel: role}, ChannelState(channel, release.model, pointer))


def _offers_the_same(pointer: Pointer, current: Pointer) -> bool:
    return replace(pointer, by=current.by, at=current.at, undone=current.undone) == current


def _no_release(version: str) -> None:
    """Nothing to fall back to is looked for where all devices get the release."""


def _published_before(archive: Targets, draft: Draft) -> Release | None:
    """The release that holds the content of a draft already; None for a new one.

    Raises:
        ReleaseError: It was retired.
    """
    digest = draft.content_sha256
    known = [r for r in releases(archive) if (r.model, r.content_sha256) == (draft.model, digest)]
    if known and known[-1].retired:
        raise ReleaseError(
            f"this content is release {known[-1].version}, which was retired: {known[-1].retired.reason}"
        )
    return known[-1] if known else None


def _versions(store: Store, name: str) -> list[int]:
    """Versions of a role that lie in the store."""
    suffix = f".{name}.json"
    names = [file.removesuffix(suffix) for file in store.list("metadata") if file.endswith(suffix)]
    return sorted(int(number) for number in names if number.isdigit())
