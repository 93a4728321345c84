"""Changes a repository in child processes for the tests: killed at one operation after the other, or many at once. No test itself.

release_in_child.py crash VERB BASE OUT STEP   kills VERB on OUT/n, a copy of BASE, at its n-th operation (n = 1, 1 + STEP, ...)
release_in_child.py publish LOCATION KEYS NAME N   publishes N releases
release_in_child.py refresh LOCATION KEYS      refreshes without a pause until its key counts no more
"""

from __future__ import annotations

import os
import shutil
import signal
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from releases.repository import Repository
from releases.stores.location import open_store
from releases.stores.store import DirectoryStore
from releases.trust.initialization import initialize
from releases.trust.keys import KeyRing
from releases.trust.private_keys import ReleaseKeyError
from releases.trust.rotation import rotate
from tests.releases.samples import open_repository, sample

_CHANGES = {"os.link", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "fcntl.flock"}


def _init(directory: Path) -> None:
    initialize(DirectoryStore(directory / "repository"), KeyRing.create(directory / "keys"))


#: What a person or a pipeline does, by name.
VERBS: dict[str, Callable[[Path], object]] = {
    "init": _init,
    "publish": lambda directory: open_repository(directory).publish(sample("new"), "stable", "test"),
    "promote": lambda directory: open_repository(directory).point("2", "stable", 100, "test"),
    "rollback": lambda directory: open_repository(directory).roll_back("stable", "test"),
    "refresh": lambda directory: open_repository(directory).refresh(),
    "retire": lambda directory: open_repository(directory).retire("2", "bad", "test"),
    "prune": lambda directory: open_repository(directory).prune(1),
    **{
        f"rotate-{name}": lambda directory, name=name: rotate(open_repository(directory), name)
        for name in ("root", "targets", "online", "stable")
    },
}


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


def _crash(verb: str, base: Path, out: Path, step: int) -> None:
    shutil.copytree(base, out / "warm-up", symlinks=True)
    VERBS[verb](out / "warm-up")  # imports what it imports: only the verb's own operations count
    for operation in range(1, 1000, step):
        directory = out / str(operation)
        shutil.copytree(base, directory, symlinks=True)
        child = os.fork()
        if child == 0:
            _Countdown(operation).arm()
            VERBS[verb](directory)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            shutil.rmtree(out / "warm-up")
            shutil.rmtree(directory)
            sys.exit(os.WEXITSTATUS(status))
    sys.exit("it never came to an end")


def _publish(location: str, keys: Path, name: str, count: int) -> None:
    repository = Repository.of(open_store(location), KeyRing.open(keys))
    for number in range(count):
        repository.publish(sample(f"{name} {number}"), "dev", name)


def _refresh(location: str, keys: Path) -> None:
    repository = Repository.of(open_store(location), KeyRing.open(keys))
    repository.refresh()
    print("at work", flush=True)
    with suppress(ReleaseKeyError):
        while True:
            repository.refresh()
    print("locked out")


if __name__ == "__main__":
    verb, *rest = sys.argv[1:]
    if verb == "crash":
        _crash(rest[0], Path(rest[1]), Path(rest[2]), int(rest[3]))
    elif verb == "refresh":
        _refresh(rest[0], Path(rest[1]))
    else:
        _publish(rest[0], Path(rest[1]), rest[2], int(rest[3]))
