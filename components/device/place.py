"""Which device, and how it is reached."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from edgeproof_edge.errors import InputError

#: Where docs/devices.md installs it, and what every system has.
PYTHONS = ("/opt/edgeproof/bin/python3", "python3")


class Way(str, Enum):
    """How a device is reached."""

    SSH = "ssh"
    ADB = "adb"
    LOCAL = "local"


@dataclass(frozen=True)
class DevicePlace:
    """A device.

    Attributes:
        way: How it is reached.
        address: ``[user@]host``, an alias of the ssh config, or ``ssh://user@host:port``; of adb a serial number, or empty for
            the only one.
        ssh_config: Another config than the user's own.
        python: The Python there that has NumPy and a runtime; None looks in :data:`PYTHONS`.
        tmp: Directory there under which everything happens; None takes the system's.
    """

    way: Way
    address: str = ""
    ssh_config: Path | None = None
    python: str | None = None
    tmp: str | None = None

    def __post_init__(self) -> None:
        is_option = self.address.startswith("-") or any(
            char.isspace() or not char.isprintable() for char in self.address
        )
        if is_option or (self.way is Way.SSH and not self.address):
            raise InputError(
                f"{self.address!r} is no address of a device. Give user@host, ssh://user@host:port or a serial number."
            )

    @property
    def title(self) -> str:
        """How a sentence names it."""
        if self.way is Way.LOCAL:
            return "this machine"
        return f"{self.address} ({self.way.value})" if self.address else "the device of adb"

    @property
    def pythons(self) -> tuple[str, ...]:
        """Paths and names to try there."""
        return (self.python,) if self.python else PYTHONS
