"""A hash of the code and libraries behind a node, for the key of the TFX cache.

TFX's cache sees inputs and exec properties but not code: without this, changed code would be served an old result, and so would another
stack. A node is hashed by what its executor's module can reach, so that an edit re-runs the nodes it can affect, and only those.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from components.compat import library_versions, stack_name
from components.modules.local_imports import reachable_files
from components.modules.own_sources import reachable_sources, sources_named_in
from components.modules.user_module import source_file


def code_version(module: str = "", user_sources: Iterable[str] = (), not_run: Iterable[str] = ()) -> str:
    """The version of the code that a node runs: 16 hex digits.

    Args:
        module: Dotted name of the executor's module; empty where TFX's own runs and nothing of ours.
        user_sources: The user's Python files or dotted modules that the node runs; the local files they can reach count too.
        not_run: Modules that ``module`` imports and, as the node is set, does not run.
    """
    digest = hashlib.sha256(json.dumps([stack_name(), library_versions()], sort_keys=True).encode())
    theirs = _user_files(user_sources)
    ours = dict(reachable_sources(module, not_run)) if module else {}
    for file in theirs:
        ours.update(sources_named_in(file))
    # A user's file counts by its name alone: the same model in another place is the same.
    for name, path in [*sorted(ours.items()), *((path.name, path) for path in theirs)]:
        digest.update(name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _user_files(sources: Iterable[str]) -> list[Path]:
    return sorted({file for source in sources for file in reachable_files(source_file(source))})
