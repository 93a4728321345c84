"""Brings a device to the release that its channel offers, or leaves it as it is: nothing in between.

Rules, in order: 1. Trust starts from the root given at build time (`bootstrap`), never from a file on the disk. 2. A
bundle is downloaded to a staging directory, checked against its signed hash and its manifest, synced, and only then
named (`device_home`). 3. The self-test runs before the switch; a release that fails it stays unused. 4. Whatever goes
wrong, the current model stays, and the error says what was wrong by its type (`update_errors`). 5. One updater per device
at a time, and none for longer than its deadline. 6. A current model that is damaged is replaced by the one before at
once, and fetched again. 7. A release that this device has marked bad is not fetched again (`boot_guard`).

Use it from a short-lived process: TUF's client costs half a second and 28 MB, which inference should not carry.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from tuf.api.metadata import Metadata, Root
from tuf.ngclient import Updater as TufClient

from edgeproof_edge.bundle import MANIFEST_FILE, MAX_BUNDLE_BYTES, BundleError, file_sha256, unpack_to
from edgeproof_edge.errors import InputError, SurroundingsError
from edgeproof_edge.manifest import Manifest
from edgeproof_edge.updating import errors as update_errors
from edgeproof_edge.updating.boot_guard import BootGuard
from edgeproof_edge.updating.channel import NAME, Pointer, ReleaseReference, bundle_path, pointer_path
from edgeproof_edge.updating.device_home import (
    CURRENT,
    METADATA,
    VERSIONS,
    DeviceHome,
    Installed,
    damage_of,
    release_name,
)
from edgeproof_edge.updating.errors import (
    BusyError,
    ClockError,
    DeadlineError,
    EndlessDataError,
    ExpiredError,
    MissingLibraryError,
    NotOfferedError,
    ReplayError,
    SelfTestError,
    TamperedError,
    UnreachableError,
    UpdateError,
    WrongKeyError,
    named_errors,
)
from edgeproof_edge.updating.fetcher import Fetcher

__all__ = [
    "CURRENT",
    "DEADLINE_SECONDS",
    "METADATA",
    "VERSIONS",
    "BusyError",
    "ClockError",
    "DeadlineError",
    "EndlessDataError",
    "ExpiredError",
    "Installed",
    "MissingLibraryError",
    "NotOfferedError",
    "ReplayError",
    "SelfTest",
    "SelfTestError",
    "Subscription",
    "TamperedError",
    "UnreachableError",
    "Update",
    "UpdateError",
    "Updater",
    "WrongKeyError",
]

#: Longest update. A model of 5 MB over a line of 10 kB/s takes 500 s; what takes longer goes on next time.
DEADLINE_SECONDS = 900.0

#: Field of Edgeproof's root: when it was signed. A clock before that is wrong.
_SIGNED_AT = "signed_at"
#: A clock that was set back by less than this may have been set right.
_CLOCK_SLACK = timedelta(days=1)
_DEVICE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,126}")

_utc_now = update_errors.utc_now


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

    def __post_init__(self) -> None:
        """Refuses names that cannot be any; raises InputError."""
        for what, value, pattern in (
            ("model", self.model, NAME),
            ("channel", self.channel, NAME),
            ("device_id", self.device_id, _DEVICE_ID),
        ):
            if not pattern.fullmatch(value):
                raise InputError(f"{what} {value!r} is no name that a release or device can have: {pattern.pattern}")
        if not self.url.startswith(("http://", "https://")):
            raise InputError(f"url {self.url!r} must start with https:// (or http:// for development).")


@dataclass(frozen=True)
class Update:
    """What `update` did.

    Attributes:
        installed: What the device runs now; None where it has nothing.
        is_new: Whether it did not run that before.
        held_back: Why the release that is offered was not taken; None where it was, or none is.
        damage: What was wrong with the model that the device had; None where nothing was.
    """

    installed: Installed | None
    is_new: bool
    held_back: str | None = None
    damage: str | None = None


#: Looks at an unpacked release before it is switched to; raises or returns False to refuse it.
SelfTest = Callable[[Path, Manifest], bool]


class Updater:
    """Updates one device from one channel."""

    def __init__(
        self, home: Path, subscription: Subscription, root: bytes, deadline_seconds: float = DEADLINE_SECONDS
    ) -> None:
        """Prepares; nothing is fetched yet.

        Args:
            home: directory of the device's releases, on one file system.
            subscription: what the device runs.
            root: root metadata that came with the device.
            deadline_seconds: longest time of one `check` or `update`, without the self-test.
        """
        self._home = DeviceHome(home)
        self._guard = BootGuard(self._home)
        self._subscription = subscription
        self._root = root
        self._deadline_seconds = deadline_seconds

    def current(self) -> Installed | None:
        """The release that the device runs, sound or not; None before the first."""
        return self._home.current()

    def check(self) -> ReleaseReference | None:
        """Asks the channel, and proves that the answer is fresh; two requests where nothing is new.

        Returns:
            The release that this device should run; None where it should keep what it has.

        Raises:
            UpdateError: see its kinds.
        """
        with self._only_one(), Fetcher(self._deadline_seconds) as fetcher:
            return self._offered(self._client(fetcher))

    def update(self, self_test: SelfTest | None = None) -> Update:
        """Installs the release that the channel offers, and switches to it.

        Args:
            self_test: run on the unpacked release before the switch.

        Raises:
            UpdateError: see its kinds; the current model stays.
            SurroundingsError: the disk is full or not writable; the current model stays.
        """
        with self._only_one():
            damage = self._fall_back()
            with Fetcher(self._deadline_seconds) as fetcher:
                client = self._client(fetcher)
                offered = self._offered(client)
                present = self._home.current()
                if offered is None or (damage is None and _is(present, offered)):
                    self._home.remove_parts()
                    return Update(present, False, damage=damage)
                if (reason := self._guard.is_bad(release_name(offered))) is not None:
                    held_back = f"release {offered.version} is marked bad on this device: {reason}"
                    return Update(present, False, held_back, damage)
                installed = self._home.find(offered) or self._install(fetcher, offered)
            self._test(installed, self_test)
            self._activate(installed, present)
            return Update(installed, True, damage=damage)

    def _fall_back(self) -> str | None:
        """Where the current model is damaged: says how, and switches to a sound one if there is any."""
        damage = self._home.damage()
        if damage is not None:
            sound = [installed for installed in self._home.installed() if damage_of(installed) is None]
            state = self._guard.state()
            usable = [installed for installed in sound if installed.name not in state.bad]
            if usable:
                self._home.switch(max(usable, key=lambda installed: (installed.name == state.fallback, installed.name)))
        return damage

    def _client(self, fetcher: Fetcher) -> TufClient:
        self._check_clock()
        self._home.metadata.mkdir(parents=True, exist_ok=True)
        return TufClient(
            str(self._home.metadata),
            f"{self._base_url}/metadata/",
            None,
            f"{self._base_url}/targets/",
            fetcher,
            bootstrap=self._root,
        )

    @property
    def _base_url(self) -> str:
        return self._subscription.url.rstrip("/")

    def _check_clock(self) -> None:
        now = _utc_now()
        signed = Metadata[Root].from_bytes(self._root).signed.unrecognized_fields.get(_SIGNED_AT)
        if isinstance(signed, str) and now < datetime.strptime(signed, "%Y-%m-%dT%H:%M:%SZ").replace(
            tzinfo=timezone.utc
        ):
            raise ClockError(
                f"the clock says {now:%Y-%m-%dT%H:%M:%SZ}, before this device's root was signed ({signed}). "
                "Wait for time synchronization, then check again."
            )
        last = datetime.fromtimestamp(self._guard.state().last_success, timezone.utc)
        if now < last - _CLOCK_SLACK:
            raise ClockError(
                f"the clock says {now:%Y-%m-%dT%H:%M:%SZ}, and this device had a fresh answer on {last:%Y-%m-%dT%H:%M:%SZ}. "
                "Wait for time synchronization, then check again."
            )

    def _offered(self, client: TufClient) -> ReleaseReference | None:
        wanted = self._subscription
        target = client.get_targetinfo(pointer_path(wanted.channel, wanted.model))
        self._guard.succeeded_at(int(_utc_now().timestamp()))
        if target is None:
            raise NotOfferedError(f"channel {wanted.channel} of {wanted.url} offers no release of {wanted.model}.")
        return Pointer.from_custom(target.custom).offered_to(wanted.device_id)

    def _install(self, fetcher: Fetcher, offered: ReleaseReference) -> Installed:
        if not 0 < offered.size_bytes <= MAX_BUNDLE_BYTES:
            raise BundleError(f"a bundle of {offered.size_bytes} bytes is beyond the limit of {MAX_BUNDLE_BYTES}.")
        part = self._home.part(offered)
        try:
            self._download(fetcher, offered, part)
            with self._home.staging() as staging:
                unpacked = staging / "unpacked"
                unpacked.mkdir()
                manifest = unpack_to(part, unpacked)
                if manifest.version != offered.version or manifest.model_name != self._subscription.model:
                    raise BundleError(f"the bundle of {offered.version} says it is {manifest.version}.")
                installed = self._home.add(unpacked, offered)
        except (BundleError, TamperedError):
            part.unlink(missing_ok=True)
            raise
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                part.unlink(missing_ok=True)  # a full disk gets its space back
            raise
        return installed

    def _download(self, fetcher: Fetcher, offered: ReleaseReference, part: Path) -> None:
        """Fetches a bundle, from where an earlier try stopped; from the start where that is not what was signed."""
        path = bundle_path(self._subscription.model, offered.version)
        directory, separator, file = path.rpartition("/")
        url = f"{self._base_url}/targets/{directory}{separator}{offered.sha256}.{file}"
        went_on = part.exists()
        fetcher.resume(url, part, offered.size_bytes)
        digest = file_sha256(part)
        if digest != offered.sha256 and went_on:
            part.unlink()
            fetcher.resume(url, part, offered.size_bytes)
            digest = file_sha256(part)
        if digest != offered.sha256:
            raise TamperedError(
                f"the bundle of {offered.version} has SHA-256 {digest}; {offered.sha256} was signed. "
                "The device stays as it is."
            )

    def _test(self, installed: Installed, self_test: SelfTest | None) -> None:
        """Tests a release; one that fails is removed and marked bad. What this machine did is not held against it."""
        if self_test is None:
            return
        manifest = Manifest.from_json((installed.directory / MANIFEST_FILE).read_bytes())
        try:
            passed = self_test(installed.directory, manifest)
            reason = "" if passed else "it gave other answers than it should"
        except SurroundingsError:
            raise
        except Exception as error:
            passed, reason = False, str(error).rstrip(".") or type(error).__name__
        if not passed:
            self._guard.mark_bad(installed.name, f"it failed its self-test: {reason}")
            self._home.remove(installed)
            raise SelfTestError(
                f"release {installed.version} failed its self-test: {reason}. It is marked bad and not fetched again. "
                "The device stays as it is."
            )

    def _activate(self, installed: Installed, present: Installed | None) -> None:
        self._guard.on_trial(installed, present)
        self._home.switch(installed)
        state = self._guard.state()
        kept = [old for old in self._home.installed() if old == present or old.name == state.fallback]
        self._home.keep_only(installed, *kept)
        self._home.remove_parts()

    @contextmanager
    def _only_one(self) -> Iterator[None]:
        """Holds the device's lock, and gives every error its name."""
        with named_errors(self._home.path, self._subscription.url, self._root):
            with self._home.lock() as is_held:
                if not is_held:
                    raise BusyError(f"another update is under way in {self._home.path}. Wait for it.")
                yield


def _is(installed: Installed | None, release: ReleaseReference) -> bool:
    return installed is not None and installed.name == release_name(release)
