"""The directory of a device's releases: what is in it, what is sound, and every step that changes it.

    home/current -> versions/<version>-<hash>    replaced in one step; what the runtime loads
    home/versions/<version>-<hash>/              the files of a bundle, never changed once they have that name
    home/state.json                              trials, releases marked bad, the way back (`boot_guard`)
    home/metadata/                               TUF's cache; may be lost, it is rebuilt from the root
    home/.part-<hash>                            a download that goes on
    home/.trash-*, home/.staging-*               on the way in or out; a killed update's are removed by the next

Rules, in order: 1. A release gets its name when all its files are there, and loses it before the first is removed: a kill
or a power cut leaves it whole or nameless. 2. Whatever stands under a release's name is held against its manifest, every
byte, before it is switched to, and again whenever it is asked for. 3. Names are matched whole: nothing outside of
`versions` is ever run or removed. 4. A damaged release is never repaired in place, where a runtime may have it open: it
is fetched again under a name of its own (`<name>+1`).
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from edgeproof_edge.bundle import MANIFEST_FILE, file_sha256
from edgeproof_edge.durable_files import sync_directory
from edgeproof_edge.errors import InputError, SurroundingsError
from edgeproof_edge.manifest import Manifest
from edgeproof_edge.updating.channel import VERSION, ReleaseReference

CURRENT = "current"
VERSIONS = "versions"
METADATA = "metadata"

_LOCK = ".update-lock"
_STAGING_PREFIX = ".staging-"
_TRASH_PREFIX = ".trash-"
_PART_PREFIX = ".part-"
_DIGEST_CHARACTERS = 12
_NAME = re.compile(rf"({VERSION.pattern})-([0-9a-f]{{{_DIGEST_CHARACTERS}}})(\+[0-9]{{1,4}})?")


class NoModelError(SurroundingsError):
    """The device has no sound model."""


@dataclass(frozen=True)
class Installed:
    """A release on this device.

    Attributes:
        version: Its version.
        sha256: The first 12 hex digits of its bundle's SHA-256.
        directory: Where its files are.
    """

    version: str
    sha256: str
    directory: Path

    @property
    def name(self) -> str:
        """What the release is called on this device, whatever directory it is in."""
        return f"{self.version}-{self.sha256}"


@dataclass(frozen=True)
class Startable:
    """The release to run now.

    Attributes:
        installed: The release.
        damage: Why it is not the one that `current` names; None where it is.
    """

    installed: Installed
    damage: str | None


class DeviceHome:
    """The directory of one device's releases."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metadata = path / METADATA
        self._versions = path / VERSIONS
        self._current = path / CURRENT

    def current(self) -> Installed | None:
        """The release that `current` names, sound or not; None where it names none."""
        try:
            target = self._current.readlink()
        except OSError:
            return None
        directory = self.path / target
        return self._installed(directory) if directory.parent == self._versions else None

    def installed(self) -> list[Installed]:
        """All releases on the device, sound or not, the newest last."""
        try:
            directories = sorted(self._versions.iterdir())
        except OSError:
            return []
        return [installed for entry in directories if (installed := self._installed(entry)) is not None]

    def damage(self) -> str | None:
        """What is wrong with what `current` names; None where it is sound, or nothing was ever installed."""
        if not os.path.lexists(self._current):
            return None if not self.installed() else f"{self._current} is missing"
        installed = self.current()
        if installed is None:
            return f"{self._current} is no link to a release in {self._versions}"
        return damage_of(installed)

    def startable(self, preferred: str | None = None) -> Startable:
        """The release to run: the current one where it is sound, else the newest other one that is.

        Nothing is changed: a runtime may have no right to.

        Args:
            preferred: Name of the release to fall back to first.

        Raises:
            NoModelError: No release on the device is sound.
        """
        current, damage = self.current(), self.damage()
        if current is not None and damage is None:
            return Startable(current, None)
        others = [installed for installed in reversed(self.installed()) if installed != current]
        for installed in sorted(others, key=lambda other: other.name != preferred):
            if damage_of(installed) is None:
                return Startable(installed, damage or f"{self._current} is missing")
        what = damage or "nothing was installed yet"
        raise NoModelError(f"{self.path} holds no sound model: {what}. Run `edgeproof-edge update`.")

    def find(self, release: ReleaseReference) -> Installed | None:
        """A sound copy of a release on this device."""
        name = release_name(release)
        sound = (installed for installed in self.installed() if installed.name == name and damage_of(installed) is None)
        return next(sound, None)

    def add(self, unpacked: Path, release: ReleaseReference) -> Installed:
        """Gives an unpacked bundle, whose files are synced, a name that no other directory has."""
        self._versions.mkdir(exist_ok=True)
        name = release_name(release)
        taken = {entry.name for entry in self._versions.iterdir()}
        free = next(free for free in (name, *(f"{name}+{number}" for number in range(1, 10000))) if free not in taken)
        os.rename(unpacked, self._versions / free)
        sync_directory(self._versions)
        return Installed(release.version, release.sha256[:_DIGEST_CHARACTERS], self._versions / free)

    def switch(self, installed: Installed) -> None:
        """Makes a release the current one, in one step."""
        staged = self.path / f".{CURRENT}.new"
        self._discard(staged)
        staged.symlink_to(Path(VERSIONS) / installed.directory.name)
        if self._current.is_dir() and not self._current.is_symlink():
            self._discard(self._current)  # a copy that some tool made of the link
        os.replace(staged, self._current)
        sync_directory(self.path)

    def remove(self, installed: Installed) -> None:
        """Removes a release: its name first."""
        self._discard(installed.directory)

    def keep_only(self, *kept: Installed) -> None:
        """Removes all releases but some."""
        directories = {installed.directory for installed in kept}
        for installed in self.installed():
            if installed.directory not in directories:
                self.remove(installed)

    def part(self, release: ReleaseReference) -> Path:
        """Where a release's bundle is downloaded to; parts of other releases are removed."""
        own = self.path / f"{_PART_PREFIX}{release.sha256}"
        self.remove_parts(but=own)
        return own

    def remove_parts(self, but: Path | None = None) -> None:
        """Removes what was downloaded of bundles that are not needed any more."""
        for part in self.path.glob(f"{_PART_PREFIX}*"):
            if part != but:
                self._discard(part)

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """A directory that is gone afterwards."""
        with tempfile.TemporaryDirectory(dir=self.path, prefix=_STAGING_PREFIX, ignore_cleanup_errors=True) as staging:
            yield Path(staging)

    @contextmanager
    def lock(self) -> Iterator[bool]:
        """Holds the lock of updates; yields False where another process has it."""
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / _LOCK).open("a") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            self._sweep()
            yield True

    def _sweep(self) -> None:
        """Removes what a killed update left."""
        for pattern in (f"{_STAGING_PREFIX}*", f"{_TRASH_PREFIX}*"):
            for leftover in self.path.glob(pattern):
                shutil.rmtree(leftover, ignore_errors=True)
        if self._versions.exists() and not self._versions.is_dir():
            self._discard(self._versions)
        if self.metadata.exists() and not self.metadata.is_dir():
            self._discard(self.metadata)

    def _discard(self, path: Path) -> None:
        """Takes a file or directory its name, then removes it. What cannot be removed now is swept up later."""
        trash = Path(tempfile.mkdtemp(dir=self.path, prefix=_TRASH_PREFIX))
        with suppress(FileNotFoundError):
            os.rename(path, trash / path.name)
            sync_directory(path.parent)
        shutil.rmtree(trash, ignore_errors=True)

    def _installed(self, directory: Path) -> Installed | None:
        match = _NAME.fullmatch(directory.name)
        return Installed(match[1], match[2], directory) if match else None


def damage_of(installed: Installed) -> str | None:
    """What is wrong with a release: every file is held against the manifest; None where all is well."""
    directory = installed.directory
    try:
        manifest = Manifest.from_json((directory / MANIFEST_FILE).read_bytes())
    except (OSError, InputError) as error:
        return f"{directory} is damaged: {error}"
    if manifest.version != installed.version:
        return f"{directory} holds release {manifest.version}"
    return manifest_damage(directory, manifest)


def manifest_damage(directory: Path, manifest: Manifest) -> str | None:
    """What is wrong with the files beside a manifest; None where all is well."""
    try:
        for entry in manifest.files:
            path = directory / entry.name
            if path.is_symlink() or path.stat().st_size != entry.size_bytes:
                return f"{path} has not the {entry.size_bytes} bytes that its manifest says"
            if file_sha256(path) != entry.sha256:
                return f"{path} is not what its manifest says: its SHA-256 differs"
    except OSError as error:
        return f"{directory} is damaged: {error}"
    return None


def release_name(release: ReleaseReference) -> str:
    """What a release is called on a device."""
    return f"{release.version}-{release.sha256[:_DIGEST_CHARACTERS]}"
