"""Writes files of this machine so that they appear whole or not at all; the one home of that for the store and the keys.

Rules, in order: 1. Bytes go to a staged file first, whose name nobody reads, and are synced there. 2. Only then do they get their name.
3. What a killed process left staged says so by its name, for whoever holds the lock next to remove.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgeproof_edge.durable_files import sync_directory, write_new

_STAGED = ".staged-"
#: How files were staged before; what killed commands left then is removed, too.
_STAGED_BEFORE = re.compile(r"\.(keys\.json|root\.json|\.gitignore)\.\d+")


@contextmanager
def staged(directory: Path, data: bytes, mode: int = 0o666) -> Iterator[Path]:
    """Yields a synced file with ``data`` in ``directory``, which must exist; removes that name afterwards.

    Args:
        directory: On the file system of the file's final place.
        data: Its content.
        mode: Its mode, cut by the umask: who may read a release is the user's choice, unlike mkstemp's 0o600.
    """
    file = directory / f"{_STAGED}{os.getpid()}-{time.monotonic_ns()}"
    try:
        write_new(file, data, mode)
        yield file
    finally:
        file.unlink(missing_ok=True)


def replace_file(path: Path, data: bytes) -> None:
    """Puts ``data`` in the place of a file in one step: a reader gets the old bytes or the new ones."""
    with staged(path.parent, data) as file:
        os.replace(file, path)
    sync_directory(path.parent)


def remove_staged(directory: Path) -> None:
    """Removes what killed writers left; needs the lock under which they wrote."""
    for file in directory.glob(".*"):
        if file.name.startswith(_STAGED) or _STAGED_BEFORE.fullmatch(file.name):
            file.unlink(missing_ok=True)


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Waits for the lock in ``file`` and holds it; the kernel frees the lock of a process that dies.

    Some network mounts have no flock: there nobody is kept out.
    """
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in (errno.ENOTSUP, errno.ENOLCK, errno.EINVAL):
                raise
        yield
    finally:
        os.close(descriptor)
