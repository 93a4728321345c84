"""An update in a process of its own, and what it said: TUF's client costs 28 MB, which inference should not carry."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from edgeproof_edge.updater import DEADLINE_SECONDS

#: Beside the deadline of the network: the self-test, and a slow disk.
_MARGIN_SECONDS = 300.0


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


def update_in_child(home: Path) -> UpdateReport:
    """Runs `edgeproof-edge update --json` and reads its answer."""
    command = [sys.executable, "-m", "edgeproof_edge", "update", "--home", str(home), "--json"]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=DEADLINE_SECONDS + _MARGIN_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return UpdateReport(None, False, "DeadlineError", "the update hung and was stopped")
    except OSError as error:
        return UpdateReport(None, False, "SurroundingsError", f"no update could be started: {error}")
    try:
        return UpdateReport(**json.loads(done.stdout))
    except (ValueError, TypeError):
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        return UpdateReport(
            None, False, "SurroundingsError", f"the update ended with {done.returncode}: {' '.join(last)}"
        )
