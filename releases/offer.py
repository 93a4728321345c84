"""Reads what a channel offers now, for whoever compares with it: the model that devices run.

Rules, in order: 1. Nothing is believed that is not signed: root, timestamp, snapshot, channel, then the bundle by its
signed hash, and the bundle's files by its manifest. 2. Trust starts from the root that lies with the keys; where they are
not at hand, from the repository's own first, as a person who was given no other would: whoever publishes afterwards holds the
same repository against the keys. 3. An expired signature is read: it keeps devices from updating, so what they run is
still this. 4. Nothing offered yet is an answer; anything that cannot be read is an error.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

from edgeproof_edge.bundle import MODEL_FILE, unpack
from edgeproof_edge.errors import EdgeproofError
from edgeproof_edge.updating.channel import ChannelError, Pointer, ReleaseReference

from releases.channels import check_bundle, find_release, only_model, pointer_in
from releases.errors import ReleaseError
from releases.repository import Repository
from releases.stores.location import open_store
from releases.stores.protocol import role_file
from releases.stores.store import Store
from releases.trust.metadata import MissingRepositoryError, State, UntrustedError, load
from releases.verification import trusted_root

#: From this percentage of the devices on, a staged rollout is what the channel's devices run.
MAJORITY = 50


@dataclass(frozen=True)
class OfferedModel:
    """The model that most devices of a channel run.

    Attributes:
        channel: The channel.
        version: Version of the release.
        sha256: SHA-256 of model.tflite, lower-case hex.
        data: Model.tflite.
    """

    channel: str
    version: str
    sha256: str
    data: bytes = field(repr=False)


@dataclass(frozen=True)
class NothingOffered:
    """There is no release to read yet; ``reason`` is a sentence."""

    reason: str


def read_offered(location: str, keys: Path, channel: str, model: str | None = None) -> OfferedModel | NothingOffered:
    """Reads and verifies the release that most devices of a channel run.

    Args:
        location: Directory or address of the repository.
        keys: Directory of its keys; only the root in it is read, and it need not exist.
        channel: Name of the channel.
        model: Name of the model; None where the channel offers one only.

    Raises:
        ReleaseError: The repository is not what the trusted keys signed, has no such channel, or the bundle is missing, changed
            or damaged.
        SurroundingsError: The place cannot be read.
    """
    store = open_store(location)
    try:
        state = load(store, trusted_root(store, keys))
    except MissingRepositoryError:
        return NothingOffered(f"there is no release repository in {location} yet.")
    role = state.role(channel)
    if not role.targets and model is None:
        return NothingOffered(f"channel {channel} of {location} offers no release yet.")
    name = only_model(state, channel, model)
    try:
        pointer = pointer_in(role, channel, name)
    except ChannelError as error:
        raise ReleaseError(f"channel {channel} of {location}: {error}") from error
    if pointer is None:
        return NothingOffered(f"channel {channel} of {location} offers no release of {name} yet.")
    data = _read_model(store, state, name, _run_by_most(pointer))
    return OfferedModel(channel, _run_by_most(pointer).version, sha256(data).hexdigest(), data)


def channel_state(location: str, keys: Path, channel: str) -> str:
    """A digest of what a channel says; a new value each time where there is nothing to read, or nothing to trust.

    Nobody reads it: as a parameter of a node it lets the TFX cache see that the channel moved. Roles are numbered and signed, so that a
    channel that was moved away and back has another digest than before.
    """
    try:
        store = open_store(location)
        state = load(store, trusted_root(store, keys))
        state.role(channel)
        role = store.read(role_file(channel, state.snapshot.meta[f"{channel}.json"].version))
    except EdgeproofError:
        return uuid4().hex
    return sha256(role).hexdigest()


def check_offered(location: str, keys: Path, channel: str, model: str) -> str:
    """Reads what a channel offers before a run does, and says so in one sentence.

    Raises:
        EdgeproofError: As :func:``read_offered``.
    """
    champion = read_offered(location, keys, channel, model)
    if isinstance(champion, NothingOffered):
        return f"champion: none, {champion.reason.rstrip('.')}"
    return f"champion: release {champion.version} on channel {champion.channel}"


def _run_by_most(pointer: Pointer) -> ReleaseReference:
    if pointer.rollout >= MAJORITY or pointer.otherwise is None:
        return pointer.release
    return pointer.otherwise


def _read_model(store: Store, state: State, model: str, reference: ReleaseReference) -> bytes:
    release = find_release(state, reference.version, model)
    if release.bundle_sha256 != reference.sha256:
        raise UntrustedError(
            f"release {reference.version} of {store.location} has one SHA-256 in its channel and another in the archive. "
            "Run `edgeproof release verify`."
        )
    data = Repository(store, b"").read_bundle(release)
    check_bundle(data, release)
    try:
        return unpack(data)[MODEL_FILE]
    except KeyError:
        raise ReleaseError(f"release {release.version} of {store.location} holds no {MODEL_FILE}.") from None
