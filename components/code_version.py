"""A hash of the code and libraries behind a component, for the key of the TFX cache.

TFX's cache sees inputs and exec properties but not code: without this, changed code would be served an old result, and so would
another stack. Each room is hashed with what it shares with the others, so that an edit re-runs the rooms it can affect.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Iterable
from pathlib import Path

import edgeproof_edge

import components
import releases
from components.compat import library_versions, stack_name
from components.local_imports import reachable_files

_COMPONENTS = Path(components.__file__).parent
_RELEASES = Path(releases.__file__).parent
_EDGE = Path(edgeproof_edge.__file__).parent
#: What a room is made of: Python, and the templates of its pages.
_SOURCES = ("*.py", "*.j2")


def code_version(room: str, user_sources: Iterable[str] = ()) -> str:
    """The version of the code in ``components/<room>``: 16 hex digits.

    Args:
        room: A folder of ``components``.
        user_sources: The user's Python files or dotted modules that the room runs; the local files they can reach count too.
    """
    digest = hashlib.sha256(json.dumps([stack_name(), library_versions()], sort_keys=True).encode())
    shared = [
        *_COMPONENTS.glob("*.py"),
        *(_COMPONENTS / "repair").rglob("*.py"),
        *_RELEASES.rglob("*.py"),
        *_EDGE.rglob("*.py"),
    ]
    own = [path for pattern in _SOURCES for path in (_COMPONENTS / room).rglob(pattern)]
    for path in [*sorted([*shared, *own]), *_user_files(user_sources)]:
        digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _user_files(sources: Iterable[str]) -> list[Path]:
    return sorted({file for source in sources for file in reachable_files(_source_file(source))})


def _source_file(source: str) -> Path:
    """The file behind ``file.py``, ``file.py:function``, ``package.module`` or ``package.module.function``."""
    file = source.partition(":")[0]
    if file.endswith(".py"):
        return Path(file)
    for name in (source, source.rpartition(".")[0]):
        spec = importlib.util.find_spec(name) if name else None
        if spec is not None and spec.origin is not None:
            return Path(spec.origin)
    return Path(file)
