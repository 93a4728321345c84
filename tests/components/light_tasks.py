"""Tasks for light workers, in a file that any process can import: what ``tests`` means depends on what is installed."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path

from components.errors import DataError


def square(number: int) -> list[int]:
    print("a library that prints")
    return [number * number, os.getpid()]


def refuse(number: int) -> int:
    if number % 10 == 7:
        raise DataError(f"number {number} is bad.")
    return number


def fail(number: int) -> int:
    return 1 // (number - 3)


def die(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def outgrow(number: int) -> int:
    """Asks for a gigabyte where the process may have a hundred megabytes more than it has."""
    if number == 3:
        used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 100 * 2**20,) * 2)
        bytearray(2**30)
    return number
