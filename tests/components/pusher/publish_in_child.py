"""Publishes in child processes for the tests: killed at one operation after the other, or many at once. No test itself.

publish_in_child.py crash BASE OUT MODEL     kills publishing to OUT/n, a copy of BASE, at its n-th operation
publish_in_child.py many STORE MODEL NAME N  publishes N releases
"""

from __future__ import annotations

import os
import shutil
import signal
import stat
import sys
from pathlib import Path
from typing import Any

from edgeproof_edge.manifest import VerdictSummary

from components.pusher.release import Description, publish
from components.pusher.store import DirectoryStore

_CHANGES = {"os.link", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "fcntl.flock"}


def content(model: bytes, text: str) -> dict[str, bytes]:
    """Returns the files of a release that differs by `text`."""
    return {"model.tflite": model, "gate_report.json": b"{}", "labels.txt": f"cat\ndog\n{text}\n".encode()}


def description() -> Description:
    """Returns the rest of a manifest."""
    return Description(("cat", "dog"), "int8", "tfx116", VerdictSummary(10_000, 9400, 9300, "97/100"))


class _Countdown:
    """Kills this process when the n-th operation on the file system is about to begin, or is half done for a sync."""

    def __init__(self, operations: int) -> None:
        self._left = operations

    def arm(self) -> None:
        os.fsync = self._half_written
        sys.addaudithook(self._before)

    def _before(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in _CHANGES or (event == "open" and arguments[2] & os.O_CREAT):
            self._count()

    def _half_written(self, descriptor: int) -> None:
        """Does not sync: what a killed process wrote is there for others to read without it."""
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode):
            if self._left == 1:
                os.ftruncate(descriptor, status.st_size // 2)
            self._count()

    def _count(self) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def _crash(base: Path, out: Path, model: bytes) -> None:
    for operation in range(1, 1000):
        root = out / str(operation)
        if base.exists():
            shutil.copytree(base, root)
        child = os.fork()
        if child == 0:
            _Countdown(operation).arm()
            publish(DirectoryStore(root), "digits", content(model, "new"), description())
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            sys.exit(os.WEXITSTATUS(status))
    sys.exit("publishing never came to an end")


def _many(store: Path, model: bytes, name: str, count: int) -> None:
    for number in range(count):
        publish(DirectoryStore(store), "digits", content(model, f"{name} {number}"), description())


if __name__ == "__main__":
    verb, *rest = sys.argv[1:]
    if verb == "crash":
        _crash(Path(rest[0]), Path(rest[1]), Path(rest[2]).read_bytes())
    else:
        _many(Path(rest[0]), Path(rest[1]).read_bytes(), rest[2], int(rest[3]))
