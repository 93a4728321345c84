"""What a machine says of its hardware, from the files that Linux keeps for that; None where it has no such thing.

Sent to a device with the worker, so it imports the standard library only.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

#: As in the schema of a telemetry event.
_MAX_TEXT = 127


def device_model(root: Path = Path("/")) -> str | None:
    """The kind of device, as in "Raspberry Pi 4 Model B Rev 1.4"."""
    for place in ("proc/device-tree/model", "sys/devices/virtual/dmi/id/product_name"):
        text = read_text(root / place)
        if text:
            return text[:_MAX_TEXT]
    return None


def temperature(root: Path = Path("/")) -> float | None:
    """Degrees Celsius of the hottest sensor."""
    heats = [number / 1000.0 for number in read_numbers(root / "sys/class/thermal", "thermal_zone*/temp")]
    return max((heat for heat in heats if -90.0 <= heat <= 200.0), default=None)


def read_numbers(directory: Path, pattern: str) -> Iterator[float]:
    """The numbers in files that hold one each."""
    for path in sorted(directory.glob(pattern)):
        try:
            yield float(read_text(path) or "")
        except ValueError:
            continue


def read_text(path: Path) -> str | None:
    """What a file of the kernel holds."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0 \n\t") or None
    except OSError:
        return None
