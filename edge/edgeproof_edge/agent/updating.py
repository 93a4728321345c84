"""An update in a process of its own, and what it said: TUF's client costs 28 MB, which inference should not carry."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgeproof_edge.updating.updater import DEADLINE_SECONDS

#: Beside the deadline of the network: the self-test, and a slow disk.
_MARGIN_SECONDS = 300.0
#: Between two looks whether the device is stopping.
_LOOK_SECONDS = 0.25


@dataclass(frozen=True)
class UpdateReport:
    """What an update did.

    Attributes:
        version: What the device runs now; None where it has nothing.
        is_new: Whether it did not run that before.
        error: Type of the error, as in "UnreachableError"; None where there was none.
        message: What went wrong, or why a release was held back.
        damage: What was wrong with the model that the device had.
    """

    version: str | None
    is_new: bool
    error: str | None = None
    message: str | None = None
    damage: str | None = None


def update_in_child(home: Path, is_stopped: Callable[[], bool] = lambda: False) -> UpdateReport:
    """Runs `edgeproof-edge update --json` and reads its answer; kills it where `is_stopped` says so, which leaves nothing half."""
    command = [sys.executable, "-m", "edgeproof_edge", "update", "--home", str(home), "--json"]
    deadline = time.monotonic() + DEADLINE_SECONDS + _MARGIN_SECONDS
    pipe = subprocess.PIPE
    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe)
    except OSError as error:
        return UpdateReport(None, False, "SurroundingsError", f"no update could be started: {error}")
    while True:
        try:
            stdout, stderr = child.communicate(timeout=_LOOK_SECONDS)
            break
        except subprocess.TimeoutExpired:
            if is_stopped() or time.monotonic() > deadline:
                child.kill()
                child.communicate()
                return UpdateReport(None, False, "DeadlineError", "the update hung, or this device is stopping")
    try:
        return UpdateReport(**json.loads(stdout))
    except (ValueError, TypeError):
        last = stderr.decode(errors="replace").strip().splitlines()[-1:]
        return UpdateReport(
            None, False, "SurroundingsError", f"the update ended with {child.returncode}: {' '.join(last)}"
        )
