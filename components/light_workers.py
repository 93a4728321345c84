"""Work for every core in processes that import next to nothing.

Beam's own local modes cost more than they give here: a worker that imports TFX takes seconds and 800 MB. So a task is named as
``module:function`` whose module imports only what the task needs, and each worker is a Python process of its own that reads
one task per line and answers one line, both JSON. Rules: 1. Results come in the order of the tasks, whoever did them, so 1, 2 or
N workers give the same. 2. Few tasks are done in this process. 3. A worker that dies, or a task that raises, ends the whole.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from edgeproof_edge.errors import EdgeproofError, SurroundingsError

from components import errors

#: Tasks below which starting processes costs more than it saves.
MIN_TASKS = 4
_CGROUP_LIMITS = (Path("/sys/fs/cgroup/cpu.max"),)
_CGROUP_1 = Path("/sys/fs/cgroup/cpu")

Report = Callable[[int, int], None]


def usable_cores() -> int:
    """Cores that this process may use: its affinity, and no more than its control group's quota; at least 1."""
    allowed = len(os.sched_getaffinity(0))
    quota = _cgroup_cores()
    return max(1, min(allowed, math.ceil(quota))) if quota is not None else max(1, allowed)


def _cgroup_cores() -> float | None:
    """The quota of the control group in cores; None where there is none."""
    for file in _CGROUP_LIMITS:
        try:
            quota, period = file.read_text().split()
        except (OSError, ValueError):
            continue
        return None if quota == "max" else int(quota) / int(period)
    try:
        quota_us = int((_CGROUP_1 / "cpu.cfs_quota_us").read_text())
        period_us = int((_CGROUP_1 / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None
    return quota_us / period_us if quota_us > 0 else None


def run_tasks(
    function: str, tasks: Sequence[Any], *, num_workers: int | None = None, report: Report | None = None
) -> list[Any]:
    """Calls ``function`` with each task.

    Args:
        function: ``module:function``; takes one value that JSON can hold and returns another.
        tasks: What it is called with.
        num_workers: Processes; by default one per usable core, and this process alone where tasks are few.
        report: Called with (tasks done, tasks) after each.

    Returns:
        What it returned, in the order of the tasks.

    Raises:
        EdgeproofError: The function raised one; it arrives as the same kind with the same message.
        SurroundingsError: A worker died.
    """
    if num_workers is None:
        num_workers = usable_cores() if len(tasks) >= MIN_TASKS else 1
    if min(num_workers, len(tasks)) <= 1:
        call = resolve(function)
        results = []
        for number, task in enumerate(tasks, 1):
            results.append(call(task))
            if report:
                report(number, len(tasks))
        return results
    return _Pool(function, tasks, report).run(min(num_workers, len(tasks)))


def resolve(function: str) -> Callable[[Any], Any]:
    """The function that ``module:function`` names."""
    module, _, name = function.partition(":")
    resolved: Callable[[Any], Any] = getattr(importlib.import_module(module), name)
    return resolved


class _Pool:
    """One run: a thread per worker feeds it tasks, because pipes block."""

    def __init__(self, function: str, tasks: Sequence[Any], report: Report | None) -> None:
        self._function = function
        self._tasks = tasks
        self._report = report
        self._waiting: SimpleQueue[int] = SimpleQueue()
        for index in range(len(tasks)):
            self._waiting.put(index)
        self._results: dict[int, Any] = {}
        self._failures: dict[int, BaseException] = {}
        self._lock = threading.Lock()

    def run(self, num_workers: int) -> list[Any]:
        threads = [threading.Thread(target=self._feed, daemon=True) for _ in range(num_workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._failures:
            raise self._failures[min(self._failures)]
        return [self._results[index] for index in range(len(self._tasks))]

    def _feed(self) -> None:
        index = -1
        try:
            with _worker(self._function) as worker:
                for index in self._indices():
                    self._done(index, _ask(worker, self._tasks[index]))
        except BaseException as failure:  # the thread's, to be raised where the work was asked for
            with self._lock:
                self._failures[index] = failure

    def _indices(self) -> Iterator[int]:
        while not self._failures:
            try:
                yield self._waiting.get_nowait()
            except Empty:
                return

    def _done(self, index: int, result: Any) -> None:
        with self._lock:
            self._results[index] = result
            number = len(self._results)
        if self._report:
            self._report(number, len(self._tasks))


class _worker:
    """A process that answers tasks, ended with the block."""

    def __init__(self, function: str) -> None:
        path = os.pathsep.join(entry for entry in sys.path if entry)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "components.light_workers", function],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
        )

    def __enter__(self) -> subprocess.Popen[bytes]:
        return self._process

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


def _ask(worker: subprocess.Popen[bytes], task: Any) -> Any:
    assert worker.stdin is not None
    assert worker.stdout is not None
    try:
        worker.stdin.write(json.dumps(task).encode() + b"\n")
        worker.stdin.flush()
        line = worker.stdout.readline()
    except BrokenPipeError:
        line = b""
    if not line.endswith(b"\n"):
        raise _lost(_end_of(worker.wait()))
    answer = json.loads(line)
    if "error" in answer:
        raise _revived(*answer["error"])
    return answer["result"]


def _lost(end: str) -> SurroundingsError:
    return SurroundingsError(
        f"a worker process {end} while it read the data. Free some memory, or allow fewer cores "
        "(taskset, or the container's CPU limit), and run again."
    )


def _end_of(code: int) -> str:
    if code >= 0:
        return f"ended with code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def _revived(kind: str, message: str) -> Exception:
    """The worker's error as its own kind; what is not ours is a RuntimeError with the kind in its text."""
    known = getattr(errors, kind, None)
    if isinstance(known, type) and issubclass(known, EdgeproofError):
        return known(message)
    if kind == SurroundingsError.__name__:
        return SurroundingsError(message)
    if kind == MemoryError.__name__:
        return _lost("ran out of memory")
    return RuntimeError(f"{kind}: {message}")


def main() -> None:
    """The worker: one task per line in, one answer per line out, until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends us; Ctrl-C reaches the whole group
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not come between answers
    function = resolve(sys.argv[1])
    for line in sys.stdin.buffer:
        try:
            answer = {"result": function(json.loads(line))}
        except Exception as error:
            answer = {"error": [type(error).__name__, str(error)]}
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()


if __name__ == "__main__":
    main()
