"""The ways to a device: ssh, adb, and this machine itself. Each runs an errand there and returns what the supervisor said.

Rules, in order: 1. ssh never asks (``BatchMode``), follows the user's config and known hosts, and is never told to trust a new host.
2. Files go to an Android device as adb's own push and come back as its pull. 3. Every failure is a :class:`DeviceError` with what to do.
"""

from __future__ import annotations

import base64
import json
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgeproof_edge.measuring import ANSWER_FILE, supervisor

from components.device.conversation import (
    BOOTSTRAP,
    GRACE_SECONDS,
    Conversation,
    Errand,
    Reply,
    introduction,
    supervisor_source,
)
from components.device.errors import DeviceError
from components.device.place import DevicePlace, Way

#: Seconds after which a host that does not answer counts as one that cannot be reached.
CONNECT_SECONDS = 15
#: Exit code of ssh where the connection, and not the command, failed.
_SSH_FAILED = 255
_NO_PYTHON = 127
SUPERVISOR_FILE = "supervisor.py"

#: What ssh says -> what to do about it, as far as that is known.
_SSH_CURES = {
    "Could not resolve hostname": "Check the host's name, or its entry in ~/.ssh/config",
    "REMOTE HOST IDENTIFICATION HAS CHANGED": "The host's key is another than the one that is known: find out why, then ssh-keygen -R HOST",
    "Host key verification failed": "Connect once by hand, and compare the host's key before you accept it",
    "Permission denied": "Put your public key there (ssh-copy-id), or name another with IdentityFile in the ssh config",
    "Connection refused": "Start sshd there, or give its port as ssh://user@host:port",
    "timed out": "Check that it is switched on and on the network",
    "No route to host": "Check that it is switched on and on the network",
    "Can't open user config file": "Give the path of an ssh config",
}
_ADB_CURES = {
    "unauthorized": "Unlock the device and accept this computer's key",
    "no devices": "Plug it in, switch on USB debugging, or run adb connect HOST",
    "more than one device": "Name one: its serial number is in adb devices",
    "offline": "Plug it in again, or run adb reconnect",
    "not found": "Its serial number is in adb devices",
}


def run_errand(place: DevicePlace, errand: Errand) -> dict[str, Any]:
    """Has an errand run on a device.

    Returns:
        What the supervisor said: ``machine``, ``python`` and, where something was measured, ``answer`` as bytes.

    Raises:
        DeviceError: The device cannot be reached, or cannot do it.
    """
    return _WAYS[place.way](place, errand)


def _over_ssh(place: DevicePlace, errand: Errand) -> dict[str, Any]:
    options = ["-T", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_SECONDS}"]
    options += ["-o", "ServerAliveInterval=10", "-o", "ServerAliveCountMax=3"]
    if place.ssh_config is not None:
        options += ["-F", str(place.ssh_config)]
    command = [_program("ssh"), *options, "--", place.address, _finder(place)]
    with Conversation(command, errand.seconds) as conversation:
        reply = conversation.ask(introduction(errand) + errand.payload)
    if reply.outcome is None:
        raise DeviceError(_ssh_message(place, reply))
    return _outcome(place, reply.outcome)


def _on_this_machine(place: DevicePlace, errand: Errand) -> dict[str, Any]:
    command = [sys.executable, "-c", BOOTSTRAP]
    errand = Errand([place.python or sys.executable], errand.seconds, errand.payload, errand.tmp)
    with Conversation(command, errand.seconds) as conversation:
        reply = conversation.ask(introduction(errand) + errand.payload)
    if reply.outcome is None:
        raise DeviceError(f"the process that measures on this machine ended without a result: {reply.last_words}.")
    return _outcome(place, reply.outcome)


def _over_adb(place: DevicePlace, errand: Errand) -> dict[str, Any]:
    adb = [_program("adb"), *(["-s", place.address] if place.address else [])]
    directory = _adb(place, adb, "shell", _directory_maker(place)).strip().splitlines()[-1:]
    if not directory or supervisor.DIRECTORY_PREFIX not in directory[0]:
        raise DeviceError(
            f"{place.title} made no directory: it said {directory!r}. Name one that can be written (tmp)."
        )
    try:
        return _in_directory(place, adb, errand, directory[0])
    finally:  # the supervisor has removed it already, unless it never began
        subprocess.run(
            [*adb, "shell", f"rm -rf {shlex.quote(directory[0])}"],
            capture_output=True,
            timeout=GRACE_SECONDS,
            check=False,
        )


def _in_directory(place: DevicePlace, adb: list[str], errand: Errand, directory: str) -> dict[str, Any]:
    errand = Errand(errand.pythons, errand.seconds, errand.payload, None, directory)
    with tempfile.TemporaryDirectory(prefix=supervisor.DIRECTORY_PREFIX) as local:
        for name, content in ((SUPERVISOR_FILE, supervisor_source()), (supervisor.PAYLOAD_FILE, errand.payload)):
            Path(local, name).write_bytes(content)
            _adb(place, adb, "push", str(Path(local, name)), f"{directory}/{name}")
        settings = shlex.quote(json.dumps(errand.settings))
        command = _finder(place, f"{shlex.quote(f'{directory}/{SUPERVISOR_FILE}')} {settings}")
        with Conversation([*adb, "shell", "-T", command], errand.seconds) as conversation:
            reply = conversation.ask(b"")
            if reply.outcome is None:
                raise DeviceError(_adb_message(place, "shell", reply.stderr or reply.last_words, reply.exit_code))
            outcome = _outcome(place, reply.outcome)
            if errand.payload:
                _adb(place, adb, "pull", f"{directory}/{ANSWER_FILE}", str(Path(local, ANSWER_FILE)))
                outcome["answer"] = Path(local, ANSWER_FILE).read_bytes()
        return outcome


def _adb(place: DevicePlace, adb: list[str], *arguments: str) -> str:
    try:
        done = subprocess.run(
            [*adb, *arguments], capture_output=True, timeout=600, check=False, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired as error:
        raise DeviceError(f"adb {arguments[0]} did not end within 600 s. Run adb reconnect, and try again.") from error
    if done.returncode != 0:
        words = (done.stderr or done.stdout).decode(errors="replace")
        raise DeviceError(_adb_message(place, arguments[0], words, done.returncode))
    return done.stdout.decode(errors="replace").replace("\r\n", "\n")


def _finder(place: DevicePlace, arguments: str | None = None) -> str:
    """A command for any login shell: the first Python that is there runs the supervisor."""
    run = f"-c {shlex.quote(BOOTSTRAP)}" if arguments is None else arguments
    names = " ".join(shlex.quote(python) for python in (*place.pythons, *(("python3",) if place.python else ())))
    script = f'for p in {names}; do command -v "$p" >/dev/null 2>&1 && exec "$p" {run}; done; exit {_NO_PYTHON}'
    return f"sh -c {shlex.quote(script)}"


def _directory_maker(place: DevicePlace) -> str:
    """Android has no /tmp; Linux boards with adb have."""
    tmp = (place.tmp,) if place.tmp else ("/data/local/tmp", "/tmp")
    name = f"{supervisor.DIRECTORY_PREFIX}XXXXXX"
    return " || ".join(f"mktemp -d {shlex.quote(f'{directory}/{name}')} 2>/dev/null" for directory in tmp)


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        package = {"ssh": "openssh-client", "adb": "adb"}[name]
        raise DeviceError(f"{name} is not installed here. Install it (Debian: apt-get install {package}).")
    return path


def _ssh_message(place: DevicePlace, reply: Reply) -> str:
    if reply.exit_code == _SSH_FAILED:
        cure = next((cure for words, cure in _SSH_CURES.items() if words in reply.stderr), "Try it by hand")
        return f"{place.title} cannot be reached: {reply.last_words.rstrip('.')}. {cure}: ssh {place.address} true."
    if reply.exit_code == _NO_PYTHON:
        return f"{place.title} has no {' and no '.join(place.pythons)}. Install Python 3.10 or newer there, or name its path (python)."
    return f"{place.title} ended without a result: {reply.last_words}. Try it by hand: ssh {place.address} python3 --version."


def _adb_message(place: DevicePlace, verb: str, words: str, exit_code: int) -> str:
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    said = lines[-1].rstrip(".") if lines else f"exit code {exit_code}"
    if exit_code == _NO_PYTHON and verb == "shell":
        return (
            f"{place.title} has no {' and no '.join(place.pythons)}: Android itself brings none, a Linux board with adb does. "
            "Install one there, or name its path (python)."
        )
    cure = next((cure for known, cure in _ADB_CURES.items() if known in words), "Try it by hand: adb shell true")
    return f"{place.title} cannot be used: adb {verb}: {said}. {cure}."


#: Kinds of fault -> what to do about them.
_FAULTS: Mapping[str, str] = {
    "interpreter": "Install NumPy and ai-edge-litert there (python3 -m venv /opt/edgeproof; /opt/edgeproof/bin/pip install numpy "
    "ai-edge-litert), or name its Python (python).",
    "disk": "Free some space there, or name another directory (tmp).",
    "time": "Give it more time (timeout), or fewer rows or runs.",
    "crash": "Run edgeproof-edge inspect on the file there: this runtime does not survive it. Another version of it may.",
    "dropped": "Check the connection, and run it again.",
}
_WHAT = {
    "interpreter": "has no Python that can run models",
    "disk": "cannot hold the measurement",
    "time": "is too slow",
    "crash": "lost the process that ran the model",
    "dropped": "lost the connection",
}


def _outcome(place: DevicePlace, outcome: dict[str, Any]) -> dict[str, Any]:
    fault = outcome.get("fault")
    if fault is not None:
        what = _WHAT.get(str(fault), "cannot measure")
        message = str(outcome.get("message", "")).rstrip(".")
        raise DeviceError(f"{place.title} {what}: {message}. {_FAULTS.get(str(fault), '')}".rstrip())
    if "answer" in outcome:
        outcome["answer"] = base64.b64decode(outcome["answer"])
    return outcome


_WAYS: Mapping[Way, Callable[[DevicePlace, Errand], dict[str, Any]]] = {
    Way.SSH: _over_ssh,
    Way.ADB: _over_adb,
    Way.LOCAL: _on_this_machine,
}
