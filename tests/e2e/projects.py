"""A user's project folder, made from the demo's files."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.demo.digits import EXAMPLE, write_images


@dataclass(frozen=True)
class Project:
    """A user's folder: config.yaml, model.py, images/<label>/<file>.png."""

    directory: Path

    @property
    def config(self) -> Path:
        return self.directory / "config.yaml"

    @property
    def workspace(self) -> Path:
        return self.directory / ".edgeproof" / "digits"

    @property
    def repository(self) -> Path:
        return self.workspace / "published"

    @property
    def commit_point(self) -> Path:
        """The file that makes the repository: without it, nothing is published."""
        return self.repository / "metadata" / "timestamp.json"

    def start(self, verb: str, *arguments: str) -> subprocess.Popen[str]:
        """Starts ``edgeproof`` in the folder, without this process's environment for Python, and with Ctrl-C at work.

        What a shell starts in the background, such as these tests, ignores SIGINT, and so would all that it starts.
        """
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
        command = [sys.executable, "-m", "pipeline.cli", verb, *arguments]
        pipe = subprocess.PIPE
        hear = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
        return subprocess.Popen(
            command, cwd=self.directory, env=environment, stdout=pipe, stderr=pipe, text=True, preexec_fn=hear
        )

    def edgeproof(self, verb: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        process = self.start(verb, *arguments)
        stdout, stderr = process.communicate(timeout=900)  # of a machine that others use, too
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def run(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        """``edgeproof run`` to its end: the exit code and the record."""
        result = self.edgeproof("run", str(self.config), "--json", *arguments)
        assert result.returncode in (0, 1), result.stderr
        return result.returncode, json.loads(result.stdout)


def make_project(directory: Path) -> Project:
    """The demo's files in a folder of their own."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in ("config.yaml", "model.py"):
        shutil.copy(EXAMPLE / name, directory / name)
    write_images(directory / "images")
    return Project(directory)
