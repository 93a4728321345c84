"""Files by path or URI: a local path is opened plainly, everything else through TFX's file systems.

TFX's ``fileio`` costs 20 us and more per local file, and its import seconds; workers that read pictures need neither.
"""

from __future__ import annotations

import glob as local_glob
import shutil
from pathlib import Path
from typing import Any


def is_uri(path: str) -> bool:
    """Whether the path names a file system of its own, as ``gs://bucket/file`` does."""
    return "://" in path


def open_file(path: str, mode: str = "rb") -> Any:
    """The open file, in binary."""
    return _fileio().open(path, mode) if is_uri(path) else Path(path).open(mode)


def read_bytes(path: str) -> bytes:
    """The whole content."""
    with open_file(path) as file:
        content: bytes = file.read()
    return content


def write_bytes(path: str, content: bytes) -> None:
    """Writes the whole content."""
    with open_file(path, "wb") as file:
        file.write(content)


def exists(path: str) -> bool:
    """Whether there is a file or a folder."""
    return bool(_fileio().exists(path)) if is_uri(path) else Path(path).exists()


def is_folder(path: str) -> bool:
    """Whether there is a folder."""
    return bool(_fileio().isdir(path)) if is_uri(path) else Path(path).is_dir()


def make_folder(path: str) -> None:
    """Makes a folder and those above it."""
    if is_uri(path):
        _fileio().makedirs(path)
    else:
        Path(path).mkdir(parents=True, exist_ok=True)


def glob(pattern: str) -> list[str]:
    """The paths that match, sorted; a wildcard stays inside its folder."""
    return sorted(_fileio().glob(pattern) if is_uri(pattern) else local_glob.iglob(pattern))


def rename(source: str, target: str) -> None:
    """Moves a file over what may be there."""
    if is_uri(source):
        _fileio().rename(source, target, overwrite=True)
    else:
        Path(source).replace(target)


def remove(path: str) -> None:
    """Removes a file."""
    if is_uri(path):
        _fileio().remove(path)
    else:
        Path(path).unlink()


def remove_folder(path: str) -> None:
    """Removes a folder with all it holds."""
    if is_uri(path):
        _fileio().rmtree(path)
    else:
        shutil.rmtree(path)


def _fileio() -> Any:
    from tfx.dsl.io import fileio

    return fileio
