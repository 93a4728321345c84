"""Brings a device to the release that its channel offers, or leaves it as it is: nothing in between.

    home/current -> versions/<version>-<hash>    replaced in one step; what the runtime loads
    home/versions/<version>-<hash>/              the files of a bundle
    home/metadata/                               TUF's cache; may be lost, it is rebuilt from the root

Rules, in order: 1. Trust starts from the root given at build time (`bootstrap`), never from a file on the disk. 2. A
bundle is downloaded to a staging directory, checked against its signed hash and its manifest, synced, and only then
named. 3. The self-test runs before the switch; a release that fails it stays unused. 4. Whatever goes wrong, the current
model stays, and the error says what was wrong by its type. 5. One updater per device at a time.

Use it from a short-lived process: TUF's client costs half a second and 28 MB, which inference should not carry.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import urllib3
from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
    SlowRetrievalError,
    UnsignedMetadataError,
)
from tuf.api.metadata import Metadata, Root, TargetFile
from tuf.ngclient import Updater as TufClient
from tuf.ngclient.urllib3_fetcher import Urllib3Fetcher

from edgeproof_edge import __version__
from edgeproof_edge.bundle import MANIFEST_FILE, BundleError, open_bundle
from edgeproof_edge.channel import ChannelError, Pointer, ReleaseReference, bundle_path, pointer_path
from edgeproof_edge.errors import EdgeproofError, SurroundingsError
from edgeproof_edge.manifest import Manifest

CURRENT = "current"
VERSIONS = "versions"
METADATA = "metadata"

_LOCK = ".update-lock"
_STAGING_PREFIX = ".staging-"
_DIGEST_CHARACTERS = 12
#: Field of Edgeproof's root: when it was signed. A clock before that is wrong.
_SIGNED_AT = "signed_at"


class UpdateError(EdgeproofError):
    """No update; the current model stays."""


class UnreachableError(UpdateError):
    """The server did not answer, or the connection broke. Try again later."""


class TamperedError(UpdateError):
    """Bytes are not those that were signed: changed, cut short, or of another state of the repository."""


class EndlessDataError(UpdateError):
    """The server sends more than was signed."""


class WrongKeyError(UpdateError):
    """Metadata is not signed by the keys that this device trusts for it."""


class ReplayError(UpdateError):
    """Metadata is older than what this device has seen."""


class ExpiredError(UpdateError):
    """Metadata's signature has ended: nobody renews it, someone holds newer data back, or the clock is wrong."""


class ClockError(UpdateError):
    """The clock is before the time that the device's own root was signed: it cannot tell what has expired."""


class NotOfferedError(UpdateError):
    """The channel does not exist, or offers no release of this model."""


class SelfTestError(UpdateError):
    """The new release failed its self-test on this device."""


class BusyError(UpdateError):
    """Another update is under way on this device."""


@dataclass(frozen=True)
class Subscription:
    """What a device runs.

    Attributes:
        url: address of the repository, with `metadata/` and `targets/` below it.
        model: name of the model.
        channel: name of the channel.
        device_id: stable name of the device; decides its place in a staged rollout.
    """

    url: str
    model: str
    channel: str
    device_id: str


@dataclass(frozen=True)
class Installed:
    """A release on this device."""

    version: str
    sha256: str
    directory: Path


@dataclass(frozen=True)
class Update:
    """What `update` did: `installed` runs now; `is_new` says whether it did not before."""

    installed: Installed | None
    is_new: bool


#: Looks at an unpacked release before it is switched to; raises or returns False to refuse it.
SelfTest = Callable[[Path, Manifest], bool]


class _Fetcher(Urllib3Fetcher):
    """Closes connections of downloads that were stopped; TUF's own leaves them to the garbage collector."""

    def __init__(self) -> None:
        super().__init__(app_user_agent=f"edgeproof-edge/{__version__}")
        self._responses: list[urllib3.response.BaseHTTPResponse] = []

    def _chunks(self, response: urllib3.response.BaseHTTPResponse) -> Iterator[bytes]:
        self._responses.append(response)
        return super()._chunks(response)

    def close(self) -> None:
        """Closes what is still open."""
        for response in self._responses:
            response.close()
        self._responses.clear()


class Updater:
    """Updates one device from one channel."""

    def __init__(self, home: Path, subscription: Subscription, root: bytes) -> None:
        """Prepares; nothing is fetched yet.

        Args:
            home: directory of the device's releases, on one file system.
            subscription: what the device runs.
            root: root metadata that came with the device.
        """
        self._home = home
        self._subscription = subscription
        self._root = root
        self._fetcher = _Fetcher()

    def current(self) -> Installed | None:
        """The release that the device runs; None before the first."""
        try:
            name = (self._home / CURRENT).readlink().name
        except FileNotFoundError:
            return None
        directory = self._home / VERSIONS / name
        version, _, digest = name.rpartition("-")
        return Installed(version, digest, directory)

    def check(self) -> ReleaseReference | None:
        """Asks the channel, and proves that the answer is fresh; two requests where nothing is new.

        Returns:
            The release that this device should run; None where it should keep what it has.

        Raises:
            UpdateError: see its kinds.
        """
        with self._only_one(), _named():
            return self._offered(self._client())

    def update(self, self_test: SelfTest | None = None) -> Update:
        """Installs the release that the channel offers, and switches to it.

        Args:
            self_test: run on the unpacked release before the switch.

        Raises:
            UpdateError: see its kinds; the current model stays.
            SurroundingsError: the disk is full or not writable; the current model stays.
        """
        with self._only_one():
            with _named():
                client = self._client()
                offered = self._offered(client)
            present = self.current()
            if offered is None or (present is not None and present.directory.name == _name(offered)):
                return Update(present, False)
            directory = self._home / VERSIONS / _name(offered)
            with _named():
                if not directory.exists():
                    self._install(client, offered, directory)
            self._test(directory, self_test)
            with _named():
                self._switch(directory)
                self._forget({directory, present.directory if present else directory})
            return Update(self.current(), True)

    def _client(self) -> TufClient:
        self._check_clock()
        metadata = self._home / METADATA
        metadata.mkdir(parents=True, exist_ok=True)
        base = self._subscription.url.rstrip("/")
        return TufClient(
            str(metadata),
            f"{base}/metadata/",
            None,
            f"{base}/targets/",
            self._fetcher,
            bootstrap=self._root,
        )

    def _check_clock(self) -> None:
        signed = Metadata[Root].from_bytes(self._root).signed.unrecognized_fields.get(_SIGNED_AT)
        now = _utc_now()
        if isinstance(signed, str) and now < datetime.strptime(signed, "%Y-%m-%dT%H:%M:%SZ").replace(
            tzinfo=timezone.utc
        ):
            raise ClockError(
                f"the clock says {now:%Y-%m-%dT%H:%M:%SZ}, before this device's root was signed ({signed}). "
                "Wait for time synchronization, then check again."
            )

    def _offered(self, client: TufClient) -> ReleaseReference | None:
        one = self._subscription
        target = client.get_targetinfo(pointer_path(one.channel, one.model))
        if target is None:
            raise NotOfferedError(f"channel {one.channel} of {one.url} offers no release of {one.model}.")
        return Pointer.from_custom(target.custom).offered_to(one.device_id)

    def _install(self, client: TufClient, offered: ReleaseReference, directory: Path) -> None:
        path = bundle_path(self._subscription.model, offered.version)
        target = TargetFile(offered.size_bytes, {"sha256": offered.sha256}, path)  # from signed metadata, never listed
        directory.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._home, prefix=_STAGING_PREFIX) as staging:
            archive = Path(staging) / "bundle.tar"
            client.download_target(target, str(archive))
            bundle = open_bundle(archive.read_bytes())
            if bundle.manifest.version != offered.version or bundle.manifest.model_name != self._subscription.model:
                raise BundleError(f"the bundle of {offered.version} says it is {bundle.manifest.version}.")
            unpacked = Path(staging) / "unpacked"
            unpacked.mkdir()
            for name, data in bundle.files.items():
                _write_synced(unpacked / name, data)
            _sync(unpacked)
            os.rename(unpacked, directory)
            _sync(directory.parent)

    def _test(self, directory: Path, self_test: SelfTest | None) -> None:
        """Tests a release; one that fails is removed, and would be fetched again if it were still offered later."""
        if self_test is None:
            return
        manifest = Manifest.from_json((directory / MANIFEST_FILE).read_bytes())
        try:
            passed = self_test(directory, manifest)
        except Exception as error:
            shutil.rmtree(directory, ignore_errors=True)
            raise SelfTestError(
                f"release {manifest.version} failed its self-test: {error}. The device stays as it is."
            ) from error
        if not passed:
            shutil.rmtree(directory, ignore_errors=True)
            raise SelfTestError(f"release {manifest.version} failed its self-test. The device stays as it is.")

    def _switch(self, directory: Path) -> None:
        staged = self._home / f".{CURRENT}.new"
        staged.unlink(missing_ok=True)
        staged.symlink_to(Path(VERSIONS) / directory.name)
        os.replace(staged, self._home / CURRENT)
        _sync(self._home)

    def _forget(self, kept: set[Path]) -> None:
        """Removes all releases but the current one and the one before."""
        for directory in (self._home / VERSIONS).iterdir():
            if directory not in kept:
                shutil.rmtree(directory, ignore_errors=True)

    @contextmanager
    def _only_one(self) -> Iterator[None]:
        """Holds the device's lock, and removes what a killed update left."""
        with _named():
            self._home.mkdir(parents=True, exist_ok=True)
            lock = (self._home / _LOCK).open("a")
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BusyError(f"another update is under way in {self._home}. Wait for it.") from None
            for leftover in self._home.glob(f"{_STAGING_PREFIX}*"):
                shutil.rmtree(leftover, ignore_errors=True)
            try:
                yield
            finally:
                self._fetcher.close()


@contextmanager
def _named() -> Iterator[None]:
    """Turns whatever TUF's client lets out into one of our errors. It wraps only some of urllib3's."""
    try:
        yield
    except EdgeproofError as error:
        if isinstance(error, (BundleError, ChannelError)):
            raise TamperedError(f"{error} The device stays as it is.") from error
        raise
    except DownloadLengthMismatchError as error:
        raise EndlessDataError(f"the server sends more than was signed: {error}. The device stays as it is.") from error
    except DownloadHTTPError as error:
        raise UnreachableError(f"the repository lacks a file, or refuses it (HTTP {error.status_code}).") from error
    except (SlowRetrievalError, DownloadError, urllib3.exceptions.HTTPError) as error:
        raise UnreachableError(f"the connection failed: {type(error).__name__}: {error}. Try again later.") from error
    except LengthOrHashMismatchError as error:
        raise TamperedError(f"not what was signed: {error}. The device stays as it is.") from error
    except UnsignedMetadataError as error:
        raise WrongKeyError(
            f"signed by other keys than the trusted ones: {error}. The device stays as it is."
        ) from error
    except BadVersionNumberError as error:
        raise ReplayError(f"older than what this device has seen: {error}. The device stays as it is.") from error
    except ExpiredMetadataError as error:
        now = _utc_now()
        raise ExpiredError(
            f"{error}; this device's clock says {now:%Y-%m-%dT%H:%M:%SZ}. Either the repository is not refreshed, newer "
            "data is held back, or the clock is wrong. The device stays as it is."
        ) from error
    except RepositoryError as error:
        raise TamperedError(f"metadata cannot be used: {error}. The device stays as it is.") from error
    except OSError as error:
        what = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else str(error)
        raise SurroundingsError(f"the update cannot be stored: {what}. The device stays as it is.") from error


def _utc_now() -> datetime:
    return datetime.now(timezone.utc)


def _name(release: ReleaseReference) -> str:
    return f"{release.version}-{release.sha256[:_DIGEST_CHARACTERS]}"


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("xb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
