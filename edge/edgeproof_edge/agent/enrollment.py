"""What a device was told when it was set up: where releases come from, what it runs, who it is, where it reports.

    home/device.json     everything but the token
    home/root.json       the root metadata that trust starts from; put there by whoever made the device
    home/token           the device's token for telemetry, mode 0600

A file that is missing, damaged or of a later version is an error that says so: a device does not guess.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edgeproof_edge import durable_files
from edgeproof_edge.errors import InputError, SurroundingsError

HOME_VARIABLE = "EDGEPROOF_HOME"
DEFAULT_HOME = "/var/lib/edgeproof"
DEVICE_FILE = "device.json"
ROOT_FILE = "root.json"
TOKEN_FILE = "token"
OUTBOX_FILE = "outbox.db"
HEARTBEAT_FILE = "heartbeat"

_SCHEMA_VERSION = 1
_TOKEN = re.compile(r"[\x21-\x7e]{1,500}")


@dataclass(frozen=True)
class RuntimeSettings:
    """How models are run on this device; see `runtime.RuntimeOptions`."""

    kernels: str = "xnnpack"
    num_threads: int = 1
    num_interpreters: int = 1
    delegate: str | None = None
    require_delegate: bool = False
    minimum_delegated_fraction: float = 0.0


@dataclass(frozen=True)
class Enrollment:
    """What a device was told.

    Attributes:
        url: Address of the release repository.
        model: Name of the model.
        channel: Name of the channel.
        device_id: Name of the device.
        telemetry_url: Address of the telemetry service; None where nothing is reported.
        poll_seconds: Between two questions for a new release.
        window_seconds: Length of a telemetry window.
        runtime: How models are run.
    """

    url: str
    model: str
    channel: str
    device_id: str
    telemetry_url: str | None = None
    poll_seconds: float = 3600.0
    window_seconds: int = 300
    runtime: RuntimeSettings = field(default_factory=RuntimeSettings)

    def write(self, home: Path, root: bytes, token: str | None) -> None:
        """Stores it.

        Raises:
            InputError: The token is no text that a header can carry.
            SurroundingsError: The directory cannot be written.
        """
        if token is not None and not _TOKEN.fullmatch(token):
            raise InputError(
                "the token holds characters that no HTTP header can carry. Give it as the service issued it."
            )
        try:
            home.mkdir(parents=True, exist_ok=True)
            if token is not None:
                _write_secret(home / TOKEN_FILE, token)
            durable_files.replace(home / ROOT_FILE, root)
            content = {"schema_version": _SCHEMA_VERSION, **asdict(self)}
            durable_files.replace(home / DEVICE_FILE, (json.dumps(content, indent=2) + "\n").encode())
        except OSError as error:
            raise SurroundingsError(
                f"{home} cannot be written: {error.strerror}. Give another with --home, or run as its owner."
            ) from error

    @classmethod
    def read(cls, home: Path) -> Enrollment:
        """Reads it.

        Raises:
            InputError: The device is not enrolled, or the file is damaged.
        """
        path = home / DEVICE_FILE
        try:
            content = json.loads(path.read_bytes())
            if content.pop("schema_version") != _SCHEMA_VERSION:
                raise ValueError("it has a version that this edgeproof-edge does not know")
            runtime = RuntimeSettings(**content.pop("runtime"))
            return cls(**content, runtime=runtime)
        except FileNotFoundError:
            raise InputError(
                f"{home} is not enrolled. Run `edgeproof-edge enroll --url ... --home {home}` first."
            ) from None
        except OSError as error:
            raise SurroundingsError(f"{path} cannot be read: {error.strerror}. Run as its owner.") from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(f"{path} is damaged: {error}. Run `edgeproof-edge enroll` again.") from error


def read_root(home: Path) -> bytes:
    """The root metadata that the device trusts.

    Raises:
        InputError: It is not there.
    """
    try:
        return (home / ROOT_FILE).read_bytes()
    except OSError as error:
        raise InputError(
            f"{home / ROOT_FILE} cannot be read: {error.strerror}. Run `edgeproof-edge enroll` again."
        ) from error


def read_token(home: Path) -> str | None:
    """The device's token; None where it has none."""
    try:
        return (home / TOKEN_FILE).read_text(encoding="ascii").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def home_of(argument: str | None) -> Path:
    """The device's directory: as given, else from the environment, else the usual place."""
    return Path(argument or os.environ.get(HOME_VARIABLE) or DEFAULT_HOME)


def checked_root(path: Path) -> bytes:
    """Reads root metadata, and looks whether it is that.

    Raises:
        InputError: It cannot be read, or is something else.
    """
    try:
        data = path.read_bytes()
        content: Any = json.loads(data)
        kind = content["signed"]["_type"]
    except OSError as error:
        raise InputError(f"--root {path} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"--root {path} is no root metadata ({type(error).__name__}). Take keys/root.json of the release repository."
        ) from error
    if kind != "root":
        raise InputError(
            f"--root {path} holds metadata of type {kind!r}. Take keys/root.json of the release repository."
        )
    return data


def _write_secret(path: Path, text: str) -> None:
    staged = path.with_name(f".{path.name}.new")
    staged.unlink(missing_ok=True)
    descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(staged, path)
