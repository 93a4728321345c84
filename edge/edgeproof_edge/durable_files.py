"""Files that are there after a power cut: written, synced, and only then named.

A name without its bytes is what a power cut leaves of a file that was renamed before it was synced; bytes without their
name are what it leaves of a directory that was not. Both are synced here.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path


def write_new(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Writes and syncs a file that must not exist; a killed writer leaves a part of it.

    Args:
        path: Where.
        data: Its content.
        mode: Its mode, cut by the umask.
    """
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as stream:
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
    """Makes the names in a directory outlive a power cut, where its file system can."""
    try:
        descriptor = os.open(directory, os.O_RDONLY)
    except PermissionError:
        return  # the directory above the destination may let us pass but not look
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # CIFS and some FUSE mounts do not sync directories
            raise
    finally:
        os.close(descriptor)
