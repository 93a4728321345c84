"""Runs a command and measures its wall time and the peak memory of all its processes together."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

#: Seconds between two looks at the processes. A look takes well under a millisecond.
SAMPLE_SECONDS = 0.05


@dataclass(frozen=True)
class Cost:
    """What a command took.

    Attributes:
        seconds: From start to exit, wall time.
        peak_bytes: Largest sum of the resident memory of the command and its descendants, seen every 50 ms. Pages that
            they share count in each.
        largest_process_bytes: Peak resident memory of the largest of them, as the kernel kept it.
        cpu_seconds: Processor time of all that the command waited for.
    """

    seconds: float
    peak_bytes: int
    largest_process_bytes: int
    cpu_seconds: float


def measure(command: Sequence[str], accepted: Sequence[int] = (0,)) -> Cost:
    """Runs a command to its end.

    Args:
        command: What to run.
        accepted: Exit codes that are no failure.

    Raises:
        RuntimeError: It failed; the message is its stderr.
    """
    started = time.perf_counter()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    os.set_blocking(process.stderr.fileno(), False)
    peak, said = 0, b""
    while True:
        peak = max(peak, sum(_resident_bytes(pid) for pid in _family(process.pid)))
        said += process.stderr.read() or b""  # a full pipe would stop the command
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        time.sleep(SAMPLE_SECONDS)
    seconds = time.perf_counter() - started
    said += process.stderr.read() or b""
    process.stderr.close()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in accepted:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{said.decode(errors='replace')}")
    largest = usage.ru_maxrss * 1024
    return Cost(seconds, max(peak, largest), largest, usage.ru_utime + usage.ru_stime)


def _family(pid: int) -> list[int]:
    """A process and its descendants."""
    found = [pid]
    for parent in found:
        try:
            for task in Path(f"/proc/{parent}/task").iterdir():
                found.extend(int(child) for child in (task / "children").read_text().split())
        except OSError:  # it ended meanwhile
            continue
    return found


def _resident_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0
