"""Finds a repository by its address: a directory, or what the scheme of an address stands for (``s3://``, ``gs://``, ``az://``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

from edgeproof_edge.addresses import is_address
from edgeproof_edge.progress import progress

from releases.errors import ReleaseError
from releases.repository import Repository
from releases.stores.protocol import NotStored
from releases.stores.store import DirectoryStore, Store
from releases.trust.initialization import exists, initialize
from releases.trust.keys import KeyRing
from releases.trust.metadata import TIMESTAMP_FILE, MissingRepositoryError


def _bucket(address: str) -> Store:
    from releases.stores.bucket import BucketStore

    return BucketStore(address)


#: What opens an address, by its scheme. Another kind of store is a file and a line here.
STORES: Mapping[str, Callable[[str], Store]] = {
    "s3": _bucket,
    "gs": _bucket,
    "gcs": _bucket,
    "az": _bucket,
    "abfs": _bucket,
}


def open_store(location: str) -> Store:
    """Opens the store at a location; a directory need not exist yet.

    Raises:
        ReleaseError: The location is empty, or of a kind that cannot hold releases.
        SurroundingsError: The library for buckets is not installed.
    """
    if not location:
        raise ReleaseError(
            "the location of the releases is empty. Give a directory, or an address like s3://bucket/path."
        )
    if not is_address(location):
        return DirectoryStore(Path(location))
    opened = STORES.get(location.partition("://")[0])
    if opened is None:
        raise ReleaseError(
            f"{location} cannot hold releases: use a directory, or one of {', '.join(f'{scheme}://' for scheme in STORES)}."
        )
    return opened(location)


def open_for_publishing(location: str, keys: Path, channel: str, makes_missing: bool) -> Repository:
    """Opens a repository to publish to.

    Args:
        location: Where it is.
        keys: Directory of its keys.
        channel: The channel that will be pointed.
        makes_missing: Whether a repository that does not exist is made, with development keys in ``keys``.

    Raises:
        ReleaseError: There is no repository, and none is to be made; or the keys are not its own.
    """
    store = open_store(location)
    if exists(store):
        return Repository.of(store, KeyRing.open(keys))
    if not makes_missing or is_address(location):
        raise MissingRepositoryError(
            f"there is no release repository in {location}. Make one with "
            f"`edgeproof release init {location} --keys {keys}`, or check release.path in the config."
        )
    repository = initialize(store, KeyRing.create(keys))
    repository.add_channels([channel])
    progress.info("made a release repository in %s, with development keys in %s", location, keys)
    return repository


def check_publishing(location: str, keys: Path, channel: str, makes_missing: bool) -> str:
    """Checks that a run could publish, and says in one sentence where to.

    Raises:
        EdgeproofError: As ``open_for_publishing`` and ``Repository.publish`` would.
    """
    store = open_store(location)
    if not exists(store) and makes_missing and not is_address(location):
        return f"releases: {location}, which will be made with development keys"
    open_for_publishing(location, keys, channel, makes_missing).check_publishing(channel)
    return f"releases: channel {channel} of {location}"


def published_state(location: str, model: str) -> str:
    """Returns a digest of the releases that are there; before the first release, a new value each time.

    Nobody reads it: as a parameter of the Pusher it keeps the TFX cache from calling a model published after its
    repository was wiped.

    Raises:
        ReleaseError: The location cannot hold releases.
    """
    store = open_store(location)
    try:
        store.read(TIMESTAMP_FILE)
    except NotStored:
        return uuid4().hex
    # "nothing" may be what a cached Pusher saw before it published, and the repository was wiped since
    bundles = store.list(f"targets/models/{model}")
    return sha256("\n".join(bundles).encode()).hexdigest() if bundles else uuid4().hex
