"""Why nothing could be measured on a device: its connection, its software, its disk, its time. Exit code 3."""

from __future__ import annotations

from edgeproof_edge.errors import SurroundingsError


class DeviceError(SurroundingsError):
    """A device, or the way to it, does not do what is needed of it."""
