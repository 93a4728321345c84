"""Checks a repository as a stranger's device would: TUF's own client over the store, from a root and nothing else; opens every bundle."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

from edgeproof_edge.bundle import BundleError, open_bundle
from edgeproof_edge.updating.channel import ChannelError, Pointer, pointer_path
from tuf.api.exceptions import DownloadError, DownloadHTTPError, RepositoryError
from tuf.api.metadata import TargetFile, Targets
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from releases.archive import ARCHIVE, Release
from releases.archive import releases as releases_in
from releases.channels import offered_models
from releases.errors import ReleaseError
from releases.stores.protocol import NotStored, role_file
from releases.stores.store import Store
from releases.trust.keys import ANCHOR_FILE
from releases.trust.metadata import (
    MissingRepositoryError,
    State,
    lifetime,
    load,
    parse,
    text_of,
)
from releases.trust.signing import utc_now

#: The archive grows by 400 bytes a release; TUF's client stops at 5 MB unless told otherwise.
MAX_ARCHIVE_BYTES = 200 * 2**20

_BASE_URL = "store://repository"


@dataclass(frozen=True)
class Verification:
    """What ``verify`` saw.

    Attributes:
        num_releases: Releases in the archive.
        num_bundles: Bundles whose hash was computed and whose manifest holds.
        channels: Channels whose pointers a device accepts.
        root_sha256: Hash of the root that was trusted.
        fresh_until: When the proof of freshness ends, as in "2026-11-28T09:00:00Z"; empty where it could not be read.
        problems: One sentence each; none means that a device would accept everything.
        warnings: What will be a problem soon.
    """

    num_releases: int
    num_bundles: int
    channels: tuple[str, ...]
    root_sha256: str
    fresh_until: str
    problems: tuple[str, ...]
    warnings: tuple[str, ...]


def first_root(store: Store) -> bytes:
    """The repository's own first root: what a stranger trusts who was given no other.

    Raises:
        MissingRepositoryError: There is none.
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
        MissingRepositoryError: There is neither.
    """
    file = keys / ANCHOR_FILE
    return file.read_bytes() if file.is_file() else first_root(store)


def verify(store: Store, anchor: bytes, now: datetime | None = None) -> Verification:
    """Checks signatures, freshness, pointers and bundles as a device does that has nothing but ``anchor``."""
    problems: list[str] = []
    releases: tuple[Release, ...] = ()
    channels: list[str] = []
    num_bundles, fresh_until = 0, ""
    warnings: tuple[str, ...] = ()
    with tempfile.TemporaryDirectory(prefix="edgeproof-verify-") as directory:
        try:
            state = load(store, anchor)
            fresh_until, warnings = text_of(state.timestamp.expires), _aging(state, now or utc_now())
            if not state.is_sound:
                problems.append(
                    "a key that was replaced signed last; run `edgeproof release refresh` with the new keys"
                )
            client = _client(store, anchor, Path(directory))
            client.refresh()
            releases = _verified_archive(client, Path(directory))
            known = {(release.model, release.version) for release in releases}
            channels, wrong = _verified_channels(client, state, known)
            problems += wrong
        except (RepositoryError, DownloadError, ReleaseError, OSError) as error:
            problems.append(_explained(error))
    for release in releases:
        problem = _bundle_problem(store, release)
        num_bundles += problem is None
        problems += [problem] if problem else []
    root = sha256(anchor).hexdigest()
    return Verification(len(releases), num_bundles, tuple(channels), root, fresh_until, tuple(problems), warnings)


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


def _verified_archive(client: Updater, directory: Path) -> tuple[Release, ...]:
    """Has the client fetch the archive, and reads what it accepted."""
    client.get_targetinfo("models/any/any")
    file = directory / f"{ARCHIVE}.json"
    if not file.exists():
        raise ReleaseError("a device's client does not accept the archive.")
    return releases_in(parse(file.read_bytes(), Targets, "the archive").signed)


def _verified_channels(client: Updater, state: State, known: set[tuple[str, str]]) -> tuple[list[str], list[str]]:
    channels, problems = [], []
    for channel in state.channels:
        try:
            for model in offered_models(state.role(channel)):
                target = client.get_targetinfo(pointer_path(channel, model))
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
        f"channel {channel} offers release {reference.version} of {model}, which is not in the archive"
        for reference in offered
        if (model, reference.version) not in known
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
