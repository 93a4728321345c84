"""What a folder of data holds, as one hash: TFX's own fingerprint sees neither names nor contents.

(It is the number of files, their bytes, and the sum of their times in whole seconds: moved images and swapped folders keep all.)
Rules, in order: 1. The fingerprint covers every path, size and content. 2. A file is read once: its hash is remembered with what the
file system says of it. A rename, a copy over it, a restored time stamp: each changes the inode, the size or one of both times,
and then the file is read again. 3. A file that was changed less than two seconds before it was read is not remembered: a second
change within the clock's tick would look the same (as in git, "racy" entries).
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from components.errors import DataError
from components.light_workers import run_tasks

#: Files per task of a worker; 100,000 small files are some fifty tasks.
FILES_PER_TASK = 2_000
_READ_BYTES = 1 << 20
_RACY_NS = 2_000_000_000

#: What the file system says of a file: inode, size in bytes, modification and change time in ns.
_State = list[int]


def content_fingerprint(base: Path, paths: Sequence[str], memory: Path) -> str:
    """One hash over the names and contents of files: 64 hex digits.

    Args:
        base: The folder of the data.
        paths: Paths below it.
        memory: A JSON file that remembers hashes from one look to the next; made where it is not there.

    Raises:
        DataError: A file cannot be read.
    """
    remembered = _read(memory, base)
    ordered = sorted(set(paths))
    states = {path: _state(os.path.join(base, path)) for path in ordered}
    unknown = [path for path in ordered if path not in remembered or remembered[path][0] != states[path]]
    started = time.time_ns()
    hashes = {path: remembered[path][1] for path in ordered if path in remembered}
    hashes.update(_hash_all(base, unknown))
    if unknown or len(remembered) != len(ordered):
        settled = {path: (states[path], hashes[path]) for path in ordered if _is_settled(states[path], started)}
        _write(memory, base, settled)
    lines = "".join(f"{path}\0{states[path][1]}\0{hashes[path]}\n" for path in ordered)
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()


def hash_files(task: dict[str, Any]) -> list[str]:
    """SHA-256 of the files ``paths`` below ``base``, in hex; runs in a light worker."""
    return [_hash(os.path.join(task["base"], path)) for path in task["paths"]]


def _hash_all(base: Path, paths: Sequence[str]) -> dict[str, str]:
    slices = [paths[start : start + FILES_PER_TASK] for start in range(0, len(paths), FILES_PER_TASK)]
    tasks = [{"base": str(base), "paths": part} for part in slices]
    results = run_tasks("components.data.content_hashes:hash_files", tasks)
    return {
        path: sha256
        for part, hashes in zip(slices, results, strict=True)
        for path, sha256 in zip(part, hashes, strict=True)
    }


def _hash(path: str) -> str:
    digest = hashlib.sha256()
    try:
        with Path(path).open("rb", buffering=0) as file:
            while chunk := file.read(_READ_BYTES):
                digest.update(chunk)
    except IsADirectoryError:
        return "folder"  # the step that reads it names it
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}. Change its permissions, or move it away.") from error
    return digest.hexdigest()


def _state(path: str) -> _State:
    try:
        facts = os.stat(path)  # noqa: PTH116 - a Path of each of 100,000 files takes longer than the look
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}. Remove the link, or put the file back.") from error
    return [facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns]


def _is_settled(state: _State, now_ns: int) -> bool:
    return max(state[2:]) < now_ns - _RACY_NS


def _read(memory: Path, base: Path) -> dict[str, tuple[_State, str]]:
    try:
        content = json.loads(memory.read_bytes())
        return content["files"] if content["base"] == str(base) else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}  # nothing is lost but time


def _write(memory: Path, base: Path, files: Mapping[str, tuple[_State, str]]) -> None:
    memory.parent.mkdir(parents=True, exist_ok=True)
    descriptor, partial = tempfile.mkstemp(dir=memory.parent, prefix=".hashes-")
    with os.fdopen(descriptor, "w") as file:
        json.dump({"base": str(base), "files": files}, file)
    Path(partial).replace(memory)
