"""Files by path or URI: a local path is opened plainly, everything else through TFX's file systems.

TFX's ``fileio`` costs 20 us and more per local file, and its import seconds; workers that read pictures need neither.
"""

from __future__ import annotations

import glob as local_glob
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgeproof_edge.addresses import is_address


def open_file(path: str, mode: str = "rb") -> Any:
    """The open file, in binary."""
    return _fileio().open(path, mode) if is_address(path) else Path(path).open(mode)


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
    return bool(_fileio().exists(path)) if is_address(path) else Path(path).exists()


def is_folder(path: str) -> bool:
    """Whether there is a folder."""
    return bool(_fileio().isdir(path)) if is_address(path) else Path(path).is_dir()


def make_folder(path: str) -> None:
    """Makes a folder and those above it."""
    if is_address(path):
        _fileio().makedirs(path)
    else:
        Path(path).mkdir(parents=True, exist_ok=True)


def glob(pattern: str) -> list[str]:
    """The paths that match, sorted; a wildcard stays inside its folder."""
    return sorted(_fileio().glob(pattern) if is_address(pattern) else local_glob.iglob(pattern))


def list_folder(path: str) -> list[str]:
    """Names of what lies right in a folder."""
    return [name.rstrip("/") for name in (_fileio().listdir(path) if is_address(path) else os.listdir(path))]


def walk(path: str) -> Iterator[tuple[str, list[str]]]:
    """Every folder from ``path`` down, and the names of its files."""
    for folder, _, names in _fileio().walk(path) if is_address(path) else os.walk(path):
        yield folder, list(names)


def rename(source: str, target: str) -> None:
    """Moves a file over what may be there."""
    if is_address(source):
        _fileio().rename(source, target, overwrite=True)
    else:
        Path(source).replace(target)


def remove(path: str) -> None:
    """Removes a file."""
    if is_address(path):
        _fileio().remove(path)
    else:
        Path(path).unlink()


def remove_folder(path: str) -> None:
    """Removes a folder with all it holds."""
    if is_address(path):
        _fileio().rmtree(path)
    else:
        shutil.rmtree(path)


def _fileio() -> Any:
    from tfx.dsl.io import fileio

    from components import bucket_filesystem

    bucket_filesystem.register()
    return fileio
