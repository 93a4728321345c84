"""From what a run starts: the project's commit, the whole config, the model's own files; for whoever asks later what changed."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from components.modules.local_imports import reachable_files
from components.modules.user_module import source_file
from components.pusher.provenance import git_commit
from pipeline.config import PipelineConfig
from pipeline.mlmd import RunSource

#: Behind a commit from which files of the project differ.
CHANGED = " with changes"


def source_of(config: PipelineConfig) -> RunSource:
    """What is kept of a run before its first step."""
    module = config.model.module or config.model.run_fn
    file = source_file(module).absolute() if module else None
    folder = file.parent if file is not None else Path.cwd()
    commit = git_commit(folder)
    return RunSource(
        git_commit="" if commit is None else f"{commit.sha}{CHANGED * commit.is_changed}",
        config=json.dumps(config.model_dump(mode="json"), sort_keys=True),
        files=json.dumps(_digests(file) if file is not None else {}, sort_keys=True),
    )


def _digests(entry: Path) -> dict[str, str]:
    """The module and the local files that it can import, relative to its folder."""
    return {
        os.path.relpath(file, entry.parent): hashlib.sha256(file.read_bytes()).hexdigest()[:16]
        for file in reachable_files(entry)
    }
