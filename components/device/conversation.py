"""Talks with the supervisor on a device: sends it the payload, holds the life line, reads the one line that it answers.

Rules, in order: 1. Standard input stays open until the answer is here: its end is what makes the device clean up. 2. Whatever happens
on this side (Ctrl-C, an error, time running out) closes it. 3. The other side has its own deadline, a little earlier.
"""

from __future__ import annotations

import base64
import contextlib
import json
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from edgeproof_edge.measuring import supervisor

from components.device.errors import DeviceError

#: Seconds that connecting and cleaning up may take beside the measurement's own.
GRACE_SECONDS = 45
#: Seconds that the other side has to clean up, and end by itself.
_CLEAN_UP_SECONDS = 15
_MAX_STDERR = 1 << 16


@dataclass
class Reply:
    """What came back: the supervisor's line, or why there is none.

    Attributes:
        outcome: The line; None where the other side ended without one.
        exit_code: Of the local process.
        stderr: What it printed for people.
    """

    outcome: dict[str, Any] | None
    exit_code: int
    stderr: str

    @property
    def last_words(self) -> str:
        """The last line for people that says something."""
        lines = [line.strip() for line in self.stderr.splitlines() if line.strip()]
        return lines[-1] if lines else f"it ended with exit code {self.exit_code} and said nothing"


@dataclass(frozen=True)
class Errand:
    """What the supervisor is asked to do.

    Attributes:
        pythons: Interpreters to try there.
        seconds: Until everything there ends.
        payload: What is measured; empty only looks for an interpreter.
        tmp: Directory there; None takes the system's.
    """

    pythons: Sequence[str]
    seconds: float
    payload: bytes = b""
    tmp: str | None = None
    directory: str | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """As the supervisor reads them; the Python that runs it is the last to try."""
        size = len(self.payload)
        return {
            "pythons": [*self.pythons, *([None] if len(self.pythons) > 1 else [])],
            "seconds": self.seconds,
            "size": size,
            "tmp": self.tmp,
            "directory": self.directory,
        }


def supervisor_source() -> bytes:
    """The program that runs there."""
    assert supervisor.__file__ is not None
    return Path(supervisor.__file__).read_bytes()


#: What a Python there is told: to run the program that comes first.
BOOTSTRAP = "import sys,base64;exec(base64.b64decode(sys.stdin.buffer.readline()))"


def introduction(errand: Errand) -> bytes:
    """What is sent before the payload: the program, and what it is asked to do."""
    return base64.b64encode(supervisor_source()) + b"\n" + json.dumps(errand.settings).encode() + b"\n"


@dataclass
class Conversation:
    """A process whose other end is a supervisor; a context that ends it."""

    command: Sequence[str]
    seconds: float
    _errors: list[bytes] = field(default_factory=list)

    def __enter__(self) -> Conversation:
        try:
            self._process = subprocess.Popen(
                list(self.command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
        except OSError as error:
            raise DeviceError(f"{self.command[0]} cannot be started: {error.strerror or error}. Install it.") from error
        self._is_late = False
        self._timer = threading.Timer(self.seconds + GRACE_SECONDS, self._end_late)
        self._timer.daemon = True
        self._timer.start()
        assert self._process.stderr is not None
        self._reader = threading.Thread(target=self._read_errors, args=(self._process.stderr,), daemon=True)
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._hang_up()
        self._timer.cancel()
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    def ask(self, content: bytes) -> Reply:
        """Sends everything and waits for the line.

        Raises:
            DeviceError: Time ran out.
        """
        threading.Thread(target=self._send, args=(content,), daemon=True).start()
        outcome = self._read_outcome()
        if outcome is None:
            self._hang_up()
        if self._is_late:
            raise DeviceError(
                f"nothing came back within {self.seconds + GRACE_SECONDS:g} s. Give it more time (timeout), or fewer rows or runs."
            )
        code = self._process.poll()
        return Reply(outcome, 0 if code is None else code, b"".join(self._errors).decode(errors="replace"))

    def _send(self, content: bytes) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):  # it ended early, and says why elsewhere
            self._process.stdin.write(content)
            self._process.stdin.flush()

    def _read_outcome(self) -> dict[str, Any] | None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            text = line.decode(errors="replace").strip()
            if text.startswith(supervisor.PREFIX):
                try:
                    return dict(json.loads(text[len(supervisor.PREFIX) :]))
                except ValueError:
                    return None
        return None

    def _read_errors(self, stream: IO[bytes]) -> None:
        with contextlib.suppress(OSError, ValueError):
            for line in stream:
                if sum(map(len, self._errors)) < _MAX_STDERR:
                    self._errors.append(line)

    def _end_late(self) -> None:
        self._is_late = True
        self._process.kill()

    def _hang_up(self) -> None:
        """Ends the life line, and gives the other side time to clean up."""
        with contextlib.suppress(OSError, ValueError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        try:
            self._process.wait(_CLEAN_UP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(_CLEAN_UP_SECONDS)
