"""A run as a process of this machine that outlives whoever started it.

Rules, in order: 1. A run has a directory named by its key, made once: a second launch finds it. 2. A supervisor of its own process group
writes the exit code beside the log; whoever asks later reads files, and needs no parent. 3. A process that is gone without an exit code
is lost.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from triggers.errors import LaunchError
from triggers.ledger import RunState, TriggeredRun
from triggers.settings import LocalLauncherSettings

_EXIT_FILE = "exit"
_PROCESS_FILE = "process"
_STATES = {0: RunState.PUBLISHED, 1: RunState.REFUSED}
#: Runs the command and writes its exit code in one step; python -c, so that nothing has to be found again.
_SUPERVISOR = """
import json, os, subprocess, sys
directory, command = sys.argv[1], json.loads(sys.argv[3])
with open(os.path.join(directory, "log"), "ab") as log:
    code = subprocess.call(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=sys.argv[2])
with open(os.path.join(directory, ".exit"), "w") as file:
    file.write(str(code))
os.replace(os.path.join(directory, ".exit"), os.path.join(directory, "exit"))
"""


class LocalLauncher:
    """Starts ``edgeproof run`` with this Python."""

    def __init__(self, settings: LocalLauncherSettings) -> None:
        self._settings = settings

    def launch(self, run: TriggeredRun) -> str:
        directory = self.directory(run)
        try:
            directory.mkdir(parents=True)
        except FileExistsError:
            return str(directory)
        except OSError as error:
            raise LaunchError(
                f"{directory} cannot be made: {error.strerror}. Check the disk and its permissions."
            ) from error
        try:
            process = _start(directory, self._settings.config.parent, self.command(run))
        except OSError as error:
            raise LaunchError(f"{sys.executable} cannot be started: {error.strerror}.") from error
        (directory / _PROCESS_FILE).write_text(str(process), encoding="utf-8")
        return str(directory)

    def command(self, run: TriggeredRun) -> list[str]:
        """What is started."""
        overrides = [word for override in self._settings.overrides for word in ("--set", override)]
        span = [] if run.data_span is None else ["--data-span", str(run.data_span)]
        return [
            sys.executable,
            "-m",
            "pipeline.cli",
            "run",
            str(self._settings.config),
            *overrides,
            "--reason",
            run.reason,
            "--trigger-key",
            run.key,
            *span,
        ]

    def directory(self, run: TriggeredRun) -> Path:
        """Where a run's log and exit code are."""
        return self._settings.config.parent / ".edgeproof" / "triggered" / run.key

    def state(self, run: TriggeredRun) -> RunState:
        directory = self.directory(run)
        code = _read_number(directory / _EXIT_FILE)
        if code is not None:
            return _STATES.get(code, RunState.FAILED)
        process = _read_number(directory / _PROCESS_FILE)
        if process is not None and _is_alive(process):
            return RunState.OPEN
        code = _read_number(directory / _EXIT_FILE)  # it may have ended between the two looks
        return RunState.LOST if code is None else _STATES.get(code, RunState.FAILED)


def _start(directory: Path, working_directory: Path, command: list[str]) -> int:
    """Starts the supervisor in a session of its own; returns its process number."""
    nowhere = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in (0, 1, 2)]
    arguments = [sys.executable, "-c", _SUPERVISOR, str(directory), str(working_directory), json.dumps(command)]
    return os.posix_spawn(sys.executable, arguments, os.environ, file_actions=nowhere, setsid=True)


def _read_number(file: Path) -> int | None:
    try:
        return int(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _is_alive(process: int) -> bool:
    try:
        if os.waitpid(process, os.WNOHANG) != (0, 0):  # a child of ours that has ended
            return False
    except ChildProcessError:
        pass
    try:
        os.kill(process, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return True
