"""Carries progress from the converting process to ours: one JSON line per message in a file of the job's directory.

A file and not a pipe: what the converter's C++ prints goes to the standard streams, a dying child loses no line, and
nobody ever blocks on a full pipe. A line without its newline is still being written.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

from edgeproof_edge.progress import progress

PROGRESS_FILE = "progress.jsonl"


class ProgressWriter(logging.Handler):
    """Writes what the progress logger says to the job's directory."""

    def __init__(self, directory: Path) -> None:
        super().__init__(logging.INFO)
        self._path = directory / PROGRESS_FILE

    def emit(self, record: logging.LogRecord) -> None:
        line = json.dumps({"message": record.getMessage(), "step": getattr(record, "step", None)})
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


class ProgressReader:
    """Says again in this process what the child has said since the last time."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / PROGRESS_FILE
        self._num_read = 0

    def forward(self) -> None:
        """Logs the new messages; a line that is no message is left out, because progress must not stop a conversion."""
        if not self._path.is_file():
            return
        with self._path.open("rb") as file:
            file.seek(self._num_read)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._num_read += len(whole)
        for line in whole.splitlines():
            _say(line)


def _say(line: bytes) -> None:
    try:
        event = json.loads(line)
        message, step = str(event["message"]), event["step"]
        extra = {"step": (int(step[0]), int(step[1]))} if step else {}
    except (ValueError, TypeError, KeyError, IndexError):
        return
    progress.info("%s", message, extra=extra)


def start_writing(directory: Path) -> None:
    """Sends this process's progress to the job's directory from now on."""
    progress.addHandler(ProgressWriter(directory))
    progress.setLevel(logging.INFO)
    progress.propagate = False
