"""What a step of a run costs: processor time and peak memory of this process and of those that it started.

Memory is looked at several times a second, so a peak of less than that may be missed; of this process the kernel knows it exactly
where it allows the mark to be set back.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil

from pipeline.history.run_record import NodeUsage

#: Seconds between two looks at memory.
_INTERVAL = 0.25
#: Writing 5 sets the high-water mark of a process's memory back to what it has now (proc(5)).
_MARK = Path("/proc/self/clear_refs")


class Meter:
    """Measures one step; :attr:`usage` is there when the block has ended."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._peak = 0
        self.usage: NodeUsage | None = None

    def look(self) -> None:
        """Takes in how much memory the processes have now."""
        self._peak = max(self._peak, sum(_resident(each) for each in self._processes()))

    def finish(self, cpu_seconds: float) -> None:
        """Says what the step cost."""
        self.look()
        self.usage = NodeUsage(cpu_seconds=round(cpu_seconds, 1), peak_bytes=max(self._peak, _high_water_mark()))

    def _processes(self) -> list[psutil.Process]:
        try:
            return [self._process, *self._process.children(recursive=True)]
        except psutil.Error:  # one ended while the kernel listed them
            return [self._process]


@contextlib.contextmanager
def measured() -> Iterator[Meter]:
    """Measures what happens in the block."""
    meter, ended = Meter(), threading.Event()
    with contextlib.suppress(OSError):
        _MARK.write_text("5")

    def watch() -> None:
        while not ended.wait(_INTERVAL):
            meter.look()

    watcher = threading.Thread(target=watch, name="memory", daemon=True)
    before = sum(os.times()[:4])
    watcher.start()
    try:
        yield meter
    finally:
        ended.set()
        watcher.join()
        meter.finish(sum(os.times()[:4]) - before)


def _resident(process: psutil.Process) -> int:
    try:
        resident: int = process.memory_info().rss
    except psutil.Error:
        return 0
    return resident


def _high_water_mark() -> int:
    """Of this process, since the mark was set back; 0 where the kernel does not say."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)
