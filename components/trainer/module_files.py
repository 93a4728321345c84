"""Which files a model is made from beside its code, and what is in them: part of the Trainer's key in the cache."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from components.errors import ModelError
from components.modules.user_module import files_opened_by, source_file

_BLOCK_BYTES = 1 << 20


def module_files(source: str, patterns: Sequence[str] = ()) -> dict[str, str]:
    """The files that a module's loading and building have opened in this process, and those that the config names.

    Args:
        source: The model module, or the team's ``run_fn``.
        patterns: Files, folders or globs of ``model.files``.

    Returns:
        Path relative to the module's folder -> 16 hex digits of the SHA-256, sorted.

    Raises:
        ModelError: A pattern matches no file.
    """
    folder = source_file(source).absolute().parent
    files = {*files_opened_by(source.partition(":")[0]), *(file for pattern in patterns for file in _named(pattern))}
    return {os.path.relpath(file, folder): _digest(file) for file in sorted(files)}


def _named(pattern: str) -> list[Path]:
    matches = [Path(match) for match in glob.glob(pattern, recursive=True)]
    files = [
        inner for match in matches for inner in (match.rglob("*") if match.is_dir() else [match]) if inner.is_file()
    ]
    if not files:
        raise ModelError(f"model.files: {pattern} matches no file. Correct the path, or take it out of the list.")
    return files


def _digest(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()[:16]
