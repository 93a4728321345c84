"""Why a device was not updated: one type per cause, and the one place that knows whose error means which.

A device's owner reacts to the type (try later, call somebody, replace the card); the sentence says what, where and what
to do. Whatever TUF's client, urllib3 or the disk let out becomes one of these here: TUF's client wraps only some of
urllib3's errors, and says of most that a download failed.
"""

from __future__ import annotations

import errno
import re
import shutil
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from importlib.util import find_spec
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
    UnsignedMetadataError,
)

from edgeproof_edge.bundle import BundleError
from edgeproof_edge.errors import EdgeproofError, SurroundingsError
from edgeproof_edge.updating.channel import ChannelError

_STAYS = "The device stays as it is."
_FULL = (errno.ENOSPC, errno.EDQUOT)
_NO_ROUTE = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN)
#: Types of keys that TUF's own pure-Python code verifies; others need the library `cryptography`.
_PURE_PYTHON_KEYS = frozenset({"ed25519"})
_KEY_TYPE = re.compile(rb'"keytype"\s*:\s*"([A-Za-z0-9_-]+)"')


class UpdateError(EdgeproofError):
    """No update; the current model stays."""


class UnreachableError(UpdateError):
    """The server did not answer, or the connection broke. Try again later."""


class DeadlineError(UnreachableError):
    """The update took longer than it may. What was fetched of a bundle is kept, and the next update goes on from there."""


class TamperedError(UpdateError):
    """Bytes are not those that were signed: changed, cut short, or of another state of the repository."""


class EndlessDataError(UpdateError):
    """The server sends more than was signed."""


class WrongKeyError(UpdateError):
    """Metadata is not signed by the keys that this device trusts for it."""


class MissingLibraryError(UpdateError):
    """Metadata is signed with keys that this device cannot verify, because a library is not installed."""


class ReplayError(UpdateError):
    """Metadata is older than what this device has seen."""


class ExpiredError(UpdateError):
    """Metadata's signature has ended: nobody renews it, someone holds newer data back, or the clock is wrong."""


class ClockError(UpdateError):
    """The clock is before a time that must have passed: it cannot tell what has expired."""


class NotOfferedError(UpdateError):
    """The channel does not exist, or offers no release of this model."""


class SelfTestError(UpdateError):
    """The new release failed its self-test on this device: refused by a rule, as the gate refuses."""

    exit_code = 1


class BusyError(UpdateError):
    """Another update is under way on this device."""


@contextmanager
def named_errors(home: Path, url: str, root: bytes = b"") -> Iterator[None]:
    """Turns whatever is raised inside into one of the errors above.

    Args:
        home: The device's directory, for what is said about its disk.
        url: Address of the repository.
        root: The root metadata that the device came with.
    """
    try:
        yield
    except (BundleError, ChannelError) as error:
        raise TamperedError(f"{error} {_STAYS}") from error
    except EdgeproofError:
        raise
    except (DownloadError, RepositoryError, urllib3.exceptions.HTTPError) as error:
        within = next((cause for cause in causes(error) if isinstance(cause, UpdateError)), None)
        raise (within or _of_client(error, home, url, root)) from error
    except OSError as error:
        raise SurroundingsError(f"the update cannot be stored: {_of_disk(error, home)}. {_STAYS}") from error


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error, what it was raised from, and so on."""
    pending: list[object] = [error]
    seen: set[int] = set()
    while pending:
        cause = pending.pop(0)
        if not isinstance(cause, BaseException) or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        pending += [getattr(cause, "reason", None), cause.__cause__, cause.__context__, *cause.args]


def _of_client(error: Exception, home: Path, url: str, root: bytes) -> UpdateError:
    if isinstance(error, DownloadLengthMismatchError):
        return EndlessDataError(f"the server sends more than was signed: {error}. {_STAYS}")
    if isinstance(error, DownloadHTTPError):
        return UnreachableError(f"{url} lacks a file, or refuses it (HTTP {error.status_code}). {_STAYS}")
    if isinstance(error, (DownloadError, urllib3.exceptions.HTTPError)):
        return UnreachableError(f"{url} cannot be reached: {connection_cause(error)}. {_STAYS}")
    if isinstance(error, LengthOrHashMismatchError):
        return TamperedError(f"not what was signed: {error}. {_STAYS}")
    if isinstance(error, UnsignedMetadataError):
        return _of_signature(error, _key_types(home, root))
    if isinstance(error, BadVersionNumberError):
        return ReplayError(f"older than what this device has seen: {error}. {_STAYS}")
    if isinstance(error, ExpiredMetadataError):
        return ExpiredError(
            f"{error}; this device's clock says {utc_now():%Y-%m-%dT%H:%M:%SZ}. Either the repository is not refreshed, "
            f"newer data is held back, or the clock is wrong. {_STAYS}"
        )
    return TamperedError(f"metadata cannot be used: {error}. {_STAYS}")


def _of_signature(error: UnsignedMetadataError, key_types: set[str]) -> UpdateError:
    unverifiable = sorted(key_types - _PURE_PYTHON_KEYS)
    if unverifiable and find_spec("cryptography") is None:
        return MissingLibraryError(
            f"{error}. The repository uses keys of type {', '.join(unverifiable)}, and the library `cryptography`, which "
            f"verifies them, is not installed: pip install 'edgeproof-edge[crypto]'. {_STAYS}"
        )
    return WrongKeyError(f"signed by other keys than the trusted ones: {error}. {_STAYS}")


def _key_types(home: Path, root: bytes) -> set[str]:
    """Types of the keys that the trusted metadata on this device names."""
    texts = [root, *(path.read_bytes() for path in (home / "metadata").rglob("*.json") if path.is_file())]
    return {match.decode() for text in texts for match in _KEY_TYPE.findall(text)}


def connection_cause(error: BaseException) -> str:
    """Why there is no connection, in words: the most telling of an error's causes."""
    chain = list(causes(error))
    for says in _CAUSES:
        for cause in chain:
            if (text := says(cause)) is not None:
                return text
    texts = [" ".join(str(cause).split()) for cause in chain]
    return next((text for text in reversed(texts) if text), type(error).__name__).rstrip(".")


def _name_cause(cause: BaseException) -> str | None:
    if isinstance(cause, urllib3.exceptions.NameResolutionError):
        return "the host name is unknown here (check the address, and DNS)"
    if isinstance(cause, (urllib3.exceptions.LocationParseError, urllib3.exceptions.URLSchemeUnknown)):
        return f"that is no address ({cause})"
    return None


def _certificate_cause(cause: BaseException) -> str | None:
    if not isinstance(cause, ssl.SSLCertVerificationError):
        return None
    return (
        f"TLS refuses the server's certificate: {cause.verify_message} (check the clock, and the authorities that this "
        "device trusts: SSL_CERT_FILE)"
    )


def _tls_cause(cause: BaseException) -> str | None:
    if isinstance(cause, ssl.SSLError):
        return f"TLS failed: {' '.join(str(cause.reason or cause).split())} (does the port speak https?)"
    return None


def _socket_cause(cause: BaseException) -> str | None:
    if isinstance(cause, ConnectionRefusedError):
        return "the port refuses connections (is the server running?)"
    if isinstance(cause, OSError) and cause.errno in _NO_ROUTE:
        return f"there is no route to it: {cause.strerror} (is this device online?)"
    if isinstance(cause, (ConnectionResetError, urllib3.exceptions.IncompleteRead)):
        return "the connection broke; what was fetched of a bundle is kept"
    return None


def _proxy_cause(cause: BaseException) -> str | None:
    if isinstance(cause, urllib3.exceptions.ProxyError):
        return f"the proxy that the environment names fails: {cause.args[0]}"
    return None


def _silence_cause(cause: BaseException) -> str | None:
    if isinstance(cause, (TimeoutError, urllib3.exceptions.TimeoutError)):
        return "it does not answer in time"
    return None


#: In the order in which they tell most: urllib3's error of a refused port is one of a timeout, too.
_CAUSES = (_name_cause, _certificate_cause, _tls_cause, _socket_cause, _proxy_cause, _silence_cause)


def _of_disk(error: OSError, home: Path) -> str:
    if error.errno not in _FULL:
        return f"{error}; see that {home} can be written by this user"
    places = {str(place): shutil.disk_usage(_existing(place)) for place in (home, Path(tempfile.gettempdir()))}
    free = " and ".join(
        f"{usage.free // 1024} KiB of {usage.total // 1024} free in {place}" for place, usage in places.items()
    )
    quota = " (or a quota is used up)" if error.errno == errno.EDQUOT else ""
    return f"the disk is full{quota}: {free}{f', when {error.filename} was written' if error.filename else ''}"


def _existing(path: Path) -> Path:
    return next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())


def utc_now() -> datetime:
    """The device's clock."""
    return datetime.now(timezone.utc)
