"""An ``adb`` whose device is a directory: `devices`, `shell`, `push` and `pull` do what adb's do, with its words and exit codes.

It is run as a program. ``FAKE_ADB_ROOT`` is the device's directory, in which the device's ``/data/local/tmp`` lies; ``FAKE_ADB_STATE`` is
``device``, ``unauthorized``, ``offline``, ``none`` or ``two``. No test itself.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

SERIAL = "emulator-5554"
ON_DEVICE = "/data/local/tmp"


def main() -> int:
    root, state = Path(os.environ["FAKE_ADB_ROOT"]), os.environ.get("FAKE_ADB_STATE", "device")
    arguments = sys.argv[1:]
    serial = ""
    if arguments[:1] == ["-s"]:
        serial, arguments = arguments[1], arguments[2:]
    problem = problem_of(serial, state)
    if problem:
        print(problem, file=sys.stderr)
        return 1
    verb, rest = arguments[0], arguments[1:]
    if verb == "push":
        return copied(Path(rest[0]), there(root, rest[1]), f"{rest[0]}: 1 file pushed")
    if verb == "pull":
        return copied(there(root, rest[0]), Path(rest[1]), f"{rest[0]}: 1 file pulled")
    assert verb == "shell", arguments
    mapped = str(root / ON_DEVICE[1:])
    command = " ".join(part for part in rest if part not in ("-T", "-x"))
    command = mapped.join(part.replace(ON_DEVICE, mapped) for part in command.split(mapped))
    done = subprocess.run(["sh", "-c", command], check=False, env={**os.environ, "PATH": os.environ["FAKE_ADB_PATH"]})
    return done.returncode


def problem_of(serial: str, state: str) -> str:
    if state == "none":
        return "error: no devices/emulators found"
    if state == "two" and not serial:
        return "error: more than one device/emulator"
    if serial and serial != SERIAL:
        return f"error: device '{serial}' not found"
    if state == "unauthorized":
        return "error: device unauthorized.\nThis adb server's $ADB_VENDOR_KEYS is not set\nTry 'adb kill-server' if that seems wrong."
    return "error: device offline" if state == "offline" else ""


def there(root: Path, path: str) -> Path:
    """Where a path of the device lies here; what `shell` printed is one already."""
    return Path(path) if path.startswith(str(root)) else root / path.lstrip("/")


def copied(source: Path, target: Path, words: str) -> int:
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        print(f"adb: error: failed to copy '{source}' to '{target}': {error.strerror}", file=sys.stderr)
        return 1
    print(words)
    return 0


if __name__ == "__main__":
    sys.exit(main())
