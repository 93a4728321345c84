"""Runs a measurement on a device and leaves nothing behind: one directory, which goes with this process.

The text of this file is sent to the device and run there by whatever Python it has, so it imports nothing but the standard library and
is written for Python 3.7. Rules, in order: 1. Standard input is the life line: it ends when the connection does, and then everything here
ends. A connection that dies without an end is met by a deadline. 2. The model runs in a process of its own: what it does to that is told,
not suffered. 3. Every outcome is one line on standard output that begins with `PREFIX`; a login shell may print what it likes beside it.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import IO, Any

PREFIX = "edgeproof-measure:"
PAYLOAD_FILE = "payload.pyz"
RESULT_FILE = "answer.npz"
DIRECTORY_PREFIX = "edgeproof-measure."
_CHUNK = 1 << 20
_ENDINGS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
#: Seconds in which a Python there has to import NumPy and the runtime: a slow card takes its time.
_IMPORT_SECONDS = 120
#: What an interpreter needs; it prints what it is.
_PROBE = """
import sys
if sys.version_info < (3, 10):
    sys.exit("it is Python %d.%d, and 3.10 or newer is needed" % sys.version_info[:2])
import json, os, platform
import numpy
try:
    import ai_edge_litert.interpreter
    name = "ai-edge-litert"
except ImportError as error:
    try:
        import tflite_runtime.interpreter
        name = "tflite-runtime"
    except ImportError:
        raise error from None
import importlib.metadata
model = None
for place in ("/proc/device-tree/model", "/sys/devices/virtual/dmi/id/product_name"):
    try:
        with open(place, encoding="utf-8", errors="replace") as file:
            model = model or file.read().strip("\\0 \\n\\t")[:127] or None
    except OSError:
        pass
print("edgeproof-python:" + json.dumps({
    "model": model, "system": platform.system() + " " + platform.release(), "processor": platform.machine(),
    "num_processors": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
    "python": platform.python_version(), "runtime": name + " " + importlib.metadata.version(name)}))
"""


class Fault(Exception):
    """Why nothing could be measured: a word for programs, a sentence for people."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def main(settings: dict[str, Any], stream: IO[bytes]) -> None:
    """Measures, and says how it went.

    Args:
        settings: `pythons` (paths to try), `tmp` (directory, or None), `seconds` (until everything ends), `size` (bytes of
            the payload that follow on the stream; 0 only looks for an interpreter), `directory` (where the payload lies already, or None).
        stream: Standard input, in bytes.
    """
    worker: list[subprocess.Popen[bytes]] = []
    made: list[str] = [settings["directory"]] if settings.get("directory") else []
    _end_on_signals()
    signal.signal(signal.SIGALRM, _out_of_time)
    signal.alarm(int(settings["seconds"]) + 1)
    try:
        try:
            _measure(settings, stream, made, worker)
        finally:
            _clean_up(made, worker)
    finally:  # a signal may have come in between: it is the last one that is heard
        _clean_up(made, worker)


def _measure(
    settings: dict[str, Any], stream: IO[bytes], made: list[str], worker: list[subprocess.Popen[bytes]]
) -> None:
    stays = bool(made)
    try:
        if not stays:
            made.append(_make_directory(settings.get("tmp")))
            if settings["size"]:
                _receive(stream, settings["size"], Path(made[0], PAYLOAD_FILE))
        _watch(stream)
        python, machine = _choose_python(settings["pythons"], made[0])
        outcome: dict[str, Any] = {"machine": machine, "python": python}
        if settings["size"]:
            _run(python, made[0], worker)
            if not stays:
                outcome["answer"] = base64.b64encode(Path(made[0], RESULT_FILE).read_bytes()).decode("ascii")
        _say(outcome)
        while stays:  # the result is fetched meanwhile
            signal.pause()
    except Fault as fault:
        _say({"fault": fault.kind, "message": str(fault)})
    except OSError as error:
        place = [*made, settings.get("tmp") or tempfile.gettempdir()][0]
        _say({"fault": "disk", "message": _disk_message(error, place)})


def _clean_up(made: list[str], worker: list[subprocess.Popen[bytes]]) -> None:
    signal.alarm(0)
    for number in _ENDINGS:
        signal.signal(number, signal.SIG_IGN)
    _end(worker)
    for directory in made:
        shutil.rmtree(directory, ignore_errors=True)


def _say(outcome: dict[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError, OSError):
        sys.stdout.write("\n" + PREFIX + json.dumps(outcome) + "\n")
        sys.stdout.flush()


def _make_directory(tmp: str | None) -> str:
    if tmp is not None and not Path(tmp).is_dir():
        raise Fault("disk", "there is no directory " + tmp)
    return tempfile.mkdtemp(prefix=DIRECTORY_PREFIX, dir=tmp)


def _receive(stream: IO[bytes], size: int, path: Path) -> None:
    with path.open("wb") as file:
        missing = size
        while missing:
            part = stream.read(min(_CHUNK, missing))
            if not part:
                raise Fault("dropped", f"the connection ended after {size - missing} of {size} bytes")
            file.write(part)
            missing -= len(part)


def _watch(stream: IO[bytes]) -> None:
    """Ends everything when standard input ends."""

    def wait() -> None:
        with contextlib.suppress(OSError, ValueError):
            while stream.read(_CHUNK):
                pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def _choose_python(pythons: list[str | None], directory: str) -> tuple[str, dict[str, Any]]:
    reasons: list[str] = []
    paths = [shutil.which(python or sys.executable) for python in pythons]
    for path in dict.fromkeys(filter(None, paths)):
        try:
            done = subprocess.run(
                [path, "-c", _PROBE],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_IMPORT_SECONDS,
                cwd=directory,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            reasons.append(f"{path}: {error}")
            continue
        lines = [
            line for line in done.stdout.decode(errors="replace").splitlines() if line.startswith("edgeproof-python:")
        ]
        if done.returncode == 0 and lines:
            return path, json.loads(lines[-1].partition(":")[2])
        reasons.append(f"{path}: {_last_words(done.stderr, done.returncode)}")
    raise Fault("interpreter", "; ".join(reasons) or "there is none of " + ", ".join(filter(None, pythons)))


def _run(python: str, directory: str, worker: list[subprocess.Popen[bytes]]) -> None:
    environment = dict(os.environ, TMPDIR=directory, PYTHONDONTWRITEBYTECODE="1")
    log, result = Path(directory, "log"), Path(directory, RESULT_FILE)
    with log.open("wb") as file:
        child = subprocess.Popen(
            [python, str(Path(directory, PAYLOAD_FILE)), RESULT_FILE],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            cwd=directory,
            env=environment,
            start_new_session=True,
        )
        worker.append(child)
        code = child.wait()
    if code == 0 and result.exists():
        return
    text = log.read_bytes()[-8192:]
    if b"No space left on device" in text:
        raise OSError(28, "No space left on device")
    raise Fault("crash", _last_words(text, code))


def _last_words(text: bytes, code: int) -> str:
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        return "ended by " + name + (" (out of memory?)" if name == "SIGKILL" else "")
    lines = [line.strip() for line in text.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1][:400] if lines else f"ended with exit code {code} and said nothing"


def _disk_message(error: OSError, directory: str) -> str:
    place = Path(directory).parent if Path(directory).name.startswith(DIRECTORY_PREFIX) else Path(directory)
    with contextlib.suppress(OSError):
        return f"{error.strerror} in {place}, where {shutil.disk_usage(place).free / 1e6:.1f} MB are free"
    return f"{error.strerror} in {place}"


def _end(worker: list[subprocess.Popen[bytes]]) -> None:
    for child in worker:
        if child.poll() is None:
            with contextlib.suppress(OSError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def _end_on_signals() -> None:
    def end(number: int, frame: object) -> None:
        for each in _ENDINGS:
            signal.signal(each, signal.SIG_IGN)  # once is enough: what follows is cleaning up
        raise SystemExit(128 + number)

    for number in _ENDINGS:
        signal.signal(number, end)


def _out_of_time(number: int, frame: object) -> None:
    raise Fault("time", "it did not end in time")


if __name__ == "__main__":
    given = json.loads(sys.argv[1]) if len(sys.argv) > 1 else json.loads(sys.stdin.buffer.readline().decode())
    main(given, sys.stdin.buffer)
