"""A device's update in a process that is killed: forks one per line of standard input, from a process that has all imports.

A line is `<home> <url> <model> <channel> <step> <synced>`: the child dies by SIGKILL before its file operation number
`step` (never where that is -1), and notes in the file `synced` the inodes that it synced. A line on standard output says
`killed` or `done` for each. No test itself.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from edgeproof_edge.manifest import Manifest
from edgeproof_edge.updating.boot_guard import guard_of
from edgeproof_edge.updating.updater import Subscription, Updater

FILE_EVENTS = ("os.", "shutil.", "tempfile.", "open", "fcntl.")


def main() -> None:
    root = Path(sys.argv[1]).read_bytes()
    print("ready", flush=True)
    for line in sys.stdin:
        home, url, step, synced = line.split()
        child = os.fork()
        if child == 0:
            _die_before(int(step))
            _note_synced(synced)
            _update(Path(home), url, root)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print("killed" if os.WIFSIGNALED(status) else "done", flush=True)


def _update(home: Path, url: str, root: bytes) -> None:
    updater = Updater(home, Subscription(url, "digits", "stable", "d0"), root)
    updater.update(_has_model)
    guard = guard_of(home)
    guard.starting()
    current = updater.current()
    assert current is not None
    guard.confirm(current.name)


def _has_model(directory: Path, manifest: Manifest) -> bool:
    return (directory / manifest.file("model.tflite").name).is_file()


def _die_before(step: int) -> None:
    num_operations = 0

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal num_operations
        if event.startswith(FILE_EVENTS) and event != "os.kill":
            if num_operations == step:
                os.kill(os.getpid(), signal.SIGKILL)
            num_operations += 1

    sys.addaudithook(count)


def _note_synced(synced: str) -> None:
    log = os.open(synced, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    sync = os.fsync

    def fsync(descriptor: int) -> None:
        sync(descriptor)
        os.write(log, f"{os.fstat(descriptor).st_ino}\n".encode())

    os.fsync = fsync


if __name__ == "__main__":
    main()
