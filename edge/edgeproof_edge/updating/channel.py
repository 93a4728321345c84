"""What a channel says: which release of a model its devices should run, as signed `custom` data of a TUF target.

Promotion and rollback are the same act, a new pointer, so a pointer carries what both need: the release, the share of
devices that get it (`rollout`), the release for the others, and the way back. A device's share is
`sha256("<device id>/<epoch>") % 100`: stable while a rollout grows, because the epoch changes only with the release.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any

from edgeproof_edge.errors import InputError

#: Names of channels and models: they are parts of URLs and file names.
NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")
#: Roles of the repository itself; no channel may have their names.
RESERVED_NAMES = frozenset({"root", "targets", "snapshot", "timestamp", "archive"})

#: A release's version, matched whole: a device names a directory after it, so that it must never be a path.
VERSION = re.compile(r"[0-9]{6,12}-[0-9a-f]{12}")

_SHA256 = re.compile(r"[0-9a-f]{64}")


class ChannelError(InputError):
    """A channel's data cannot be understood."""


@dataclass(frozen=True)
class ReleaseReference:
    """A release and where its bundle is.

    Attributes:
        version: Its version.
        sequence: Its number among the releases of the model.
        sha256: SHA-256 of the bundle.
        size_bytes: Size of the bundle.
    """

    version: str
    sequence: int
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Pointer:
    """What a channel offers of one model.

    Attributes:
        release: The release that `rollout` percent of the devices should run.
        rollout: Percent of the devices, 0 to 100.
        epoch: Changes with the release; decides which devices come first.
        otherwise: What all other devices should run; None leaves them as they are.
        newest: The highest sequence that the channel ever offered.
        previous: Versions the channel offered to everyone before, the latest last: the way back.
        undone: The version that a rollback took back; None after a promotion. A rollback that is run twice, in a hurry
            or by a script, goes back once.
        by: Who pointed, for the audit.
        at: When, UTC, as in "2026-11-21T09:00:00Z".
    """

    release: ReleaseReference
    rollout: int
    epoch: int
    otherwise: ReleaseReference | None
    newest: int
    previous: tuple[str, ...]
    undone: str | None
    by: str
    at: str

    def offered_to(self, device_id: str) -> ReleaseReference | None:
        """The release that a device should run; None where it should keep what it has."""
        return self.release if share(device_id, self.epoch) < self.rollout else self.otherwise

    def to_custom(self) -> dict[str, Any]:
        """The pointer as the `custom` field of a TUF target."""
        content = asdict(self)
        content["previous"] = list(self.previous)
        return content

    @classmethod
    def from_custom(cls, custom: Mapping[str, Any]) -> Pointer:
        """Reads a pointer; keys of later versions are left alone.

        Raises:
            ChannelError: A key is missing or of another type.
        """
        try:
            return cls(
                release=_reference(custom["release"]),
                rollout=_integer(custom["rollout"], range(101)),
                epoch=_integer(custom["epoch"]),
                otherwise=None if custom["otherwise"] is None else _reference(custom["otherwise"]),
                newest=_integer(custom["newest"]),
                previous=tuple(_text(version) for version in custom["previous"]),
                undone=None if custom["undone"] is None else _text(custom["undone"]),
                by=_text(custom["by"]),
                at=_text(custom["at"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ChannelError(
                f"the channel's pointer cannot be understood ({type(error).__name__}: {error}). Update edgeproof-edge."
            ) from error


def pointer_path(channel: str, model: str) -> str:
    """The TUF target that carries a channel's pointer to a model; no file is behind it."""
    return f"{channel}/{model}/current.json"


def bundle_path(model: str, version: str) -> str:
    """The TUF target of a release's bundle; its file's name has the bundle's SHA-256 in front."""
    return f"models/{model}/{version}.tar"


def share(device_id: str, epoch: int) -> int:
    """A device's place in a rollout, 0 to 99."""
    return int(sha256(f"{device_id}/{epoch}".encode()).hexdigest(), 16) % 100


def _reference(fields: Mapping[str, Any]) -> ReleaseReference:
    return ReleaseReference(
        version=_text(fields["version"], VERSION),
        sequence=_integer(fields["sequence"]),
        sha256=_text(fields["sha256"], _SHA256),
        size_bytes=_integer(fields["size_bytes"]),
    )


def _text(value: object, pattern: re.Pattern[str] | None = None) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    if pattern is not None and not pattern.fullmatch(value):
        raise ValueError(f"{value!r} is not of the form {pattern.pattern}")
    return value


def _integer(value: object, allowed: range | None = None) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is no integer")
    if value not in (allowed or range(1 << 53)):
        raise ValueError(f"{value} is out of range")
    return value
