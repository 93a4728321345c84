"""What the machine says of itself, from the files that Linux keeps for that; None where it has no such thing."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterator
from pathlib import Path

from edgeproof_edge.outbox.window import Surroundings

#: As in the schema of a telemetry event.
_MAX_TEXT = 127


def device_model(root: Path = Path("/")) -> str | None:
    """The kind of device, as in "Raspberry Pi 4 Model B Rev 1.4"."""
    for place in ("proc/device-tree/model", "sys/devices/virtual/dmi/id/product_name"):
        text = _text(root / place)
        if text:
            return text[:_MAX_TEXT]
    return None


def default_device_id(root: Path = Path("/")) -> str:
    """A name that stays: from the machine's id, hashed because that id should not leave it; else the host's name."""
    machine_id = _text(root / "etc/machine-id")
    if machine_id:
        return f"device-{hashlib.sha256(f'edgeproof {machine_id}'.encode()).hexdigest()[:16]}"
    return socket.gethostname()


def surroundings(root: Path = Path("/")) -> Surroundings:
    """Charge of the battery, and the hottest sensor."""
    charges = list(_numbers(root / "sys/class/power_supply", "*/capacity"))
    heats = [number / 1000.0 for number in _numbers(root / "sys/class/thermal", "thermal_zone*/temp")]
    plausible = [heat for heat in heats if -90.0 <= heat <= 200.0]
    return Surroundings(min(charges) if charges else None, max(plausible) if plausible else None)


def _numbers(directory: Path, pattern: str) -> Iterator[float]:
    for path in sorted(directory.glob(pattern)):
        try:
            yield float(_text(path) or "")
        except ValueError:
            continue


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0 \n\t") or None
    except OSError:
        return None
