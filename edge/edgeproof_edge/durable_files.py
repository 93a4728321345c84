"""Files that are there after a power cut: written, synced, and only then named.

A name without its bytes is what a power cut leaves of a file that was renamed before it was synced; bytes without their
name are what it leaves of a directory that was not. Both are synced here.
"""

from __future__ import annotations

import os
from pathlib import Path


def write_new(path: Path, data: bytes) -> None:
    """Writes a file that is not there yet."""
    with path.open("xb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def replace(path: Path, data: bytes) -> None:
    """Puts a file in the place of an old one; whoever looks sees the old bytes or the new ones. One writer at a time."""
    staged = path.with_name(f".{path.name}.new")
    staged.unlink(missing_ok=True)
    write_new(staged, data)
    os.replace(staged, path)
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Makes the names in a directory last."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
