"""The files beside a model module that loading it and building its model open: pretrained weights, vocabularies, tables.

TFX's cache sees the config and not the files that a module reads, so an exchanged ``backbone.npy`` would be served the old model. Rules,
in order: 1. A file too many costs a rerun; a file too few serves a stale model. So the kernel is asked (inotify), which sees the opens of
C libraries (HDF5, TensorFlow) too. 2. Python files are left out: ``local_imports`` follows imports. 3. Only the module's folder is
watched; files elsewhere are named by ``model.files``. 4. Where the kernel does not watch, a warning says so and names that key.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import struct
from collections import deque
from collections.abc import Iterator
from pathlib import Path

log = logging.getLogger(__name__)

#: linux/inotify.h
_IN_OPEN = 0x00000020
_IN_ISDIR = 0x40000000
_IN_Q_OVERFLOW = 0x00004000
_EVENT = struct.Struct("iIII")  # watch, mask, cookie, length of the name that follows
#: Folders that are watched at most, the nearest first; a kernel grants a user some 8,000 watches or more.
MAX_FOLDERS = 1000
_SKIPPED_FOLDERS = frozenset({"__pycache__", "node_modules"})
_CODE_SUFFIXES = frozenset({".py", ".pyc", ".pyi", ".so"})


@contextlib.contextmanager
def watching(folder: Path) -> Iterator[set[Path]]:
    """Watches ``folder`` and the folders in it, but hidden ones.

    Yields:
        A set that holds the files that were opened, once the context has ended.
    """
    opened: set[Path] = set()
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if descriptor < 0:
        _warn(folder, os.strerror(ctypes.get_errno()))
        yield opened
        return
    try:
        folders = _watch(libc, descriptor, folder)
        try:
            yield opened
        finally:
            opened.update(_opened(descriptor, folders, folder))
    finally:
        os.close(descriptor)


def _watch(libc: ctypes.CDLL, descriptor: int, folder: Path) -> dict[int, Path]:
    """The folders that the kernel watches, by the number of the watch."""
    watches: dict[int, Path] = {}
    for inner in _nearest_folders(folder):
        if len(watches) == MAX_FOLDERS:
            _warn(folder, f"it holds more than {MAX_FOLDERS} folders")
            break
        watch = libc.inotify_add_watch(descriptor, os.fsencode(inner), _IN_OPEN)
        if watch < 0:
            _warn(inner, os.strerror(ctypes.get_errno()))
            break
        watches[watch] = inner
    return watches


def _nearest_folders(folder: Path) -> Iterator[Path]:
    waiting = deque([folder])
    while waiting:
        nearest = waiting.popleft()
        yield nearest
        with contextlib.suppress(OSError), os.scandir(nearest) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
            waiting.extend(nearest / name for name in names if name[0] != "." and name not in _SKIPPED_FOLDERS)


def _opened(descriptor: int, folders: dict[int, Path], folder: Path) -> Iterator[Path]:
    for watch, mask, name in _events(descriptor):
        if mask & _IN_Q_OVERFLOW:
            _warn(folder, "more files were opened in it than the kernel keeps in mind")
        elif not mask & _IN_ISDIR:
            path = folders[watch] / name
            if path.suffix not in _CODE_SUFFIXES and path.is_file():
                yield path


def _events(descriptor: int) -> Iterator[tuple[int, int, str]]:
    """Watch, mask and file name of everything that the kernel has noted down."""
    with contextlib.suppress(BlockingIOError):
        while events := os.read(descriptor, 1 << 16):
            position = 0
            while position < len(events):
                watch, mask, _, length = _EVENT.unpack_from(events, position)
                position += _EVENT.size + length
                yield watch, mask, os.fsdecode(events[position - length : position].rstrip(b"\0"))


def _warn(folder: Path, reason: str) -> None:
    log.warning(
        "%s cannot be watched for files that the model module reads: %s. Name such files in model.files, so that a change of them is seen.",
        folder,
        reason,
    )
