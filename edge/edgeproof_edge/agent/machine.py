"""What a device tells of itself with its telemetry: a name that stays, its battery, its heat; None where it has no such thing."""

from __future__ import annotations

import hashlib
import socket
from pathlib import Path

from edgeproof_edge.measuring.hardware import read_numbers, read_text, temperature
from edgeproof_edge.outbox.window import Surroundings


def default_device_id(root: Path = Path("/")) -> str:
    """A name that stays: from the machine's id, hashed because that id should not leave it; else the host's name."""
    machine_id = read_text(root / "etc/machine-id")
    if machine_id:
        return f"device-{hashlib.sha256(f'edgeproof {machine_id}'.encode()).hexdigest()[:16]}"
    return socket.gethostname()


def surroundings(root: Path = Path("/")) -> Surroundings:
    """Charge of the battery, and the hottest sensor."""
    charges = read_numbers(root / "sys/class/power_supply", "*/capacity")
    return Surroundings(min(charges, default=None), temperature(root))
