"""What a person sees while a pipeline runs: a dozen lines on stderr, everything else in a log file.

TensorFlow and its C++ libraries write to file descriptor 2 whatever Python's loggers say, so the descriptor itself points to the log
file while the pipeline runs, and the console keeps a copy of the old one.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from edgeproof_edge.errors import EdgeproofError
from edgeproof_edge.progress import PROGRESS_LOGGER

#: Steps of one short task (epochs, say) that are printed where the console cannot overwrite a line.
MAX_STEP_LINES = 2
#: Of a task that lasts longer than these seconds, a person wants to know the rate and the rest; in a log, a line per tenth.
LONG_TASK = 10.0
_TENTHS = 10


class _Pace:
    """How one task with steps goes on: which of its lines are shown in a log, and what is known of the rest."""

    def __init__(self, now: float, done: int) -> None:
        self._started, self._first = now, done
        self._shown_at, self._shown_tenth = now, 0

    def is_shown(self, now: float, done: int, total: int) -> bool:
        """Whether a log shows this step: the last one, the middle of a short task, every tenth of a long one."""
        tenth = done * _TENTHS // total
        is_next_tenth = tenth > self._shown_tenth and now - self._shown_at >= LONG_TASK
        is_shown = done == total or done % max(1, -(-total // MAX_STEP_LINES)) == 0 or is_next_tenth
        if is_shown:
            self._shown_at, self._shown_tenth = now, tenth
        return is_shown

    def rest(self, now: float, done: int, total: int) -> str:
        """Rate and remaining time, once the task has lasted long enough to tell and there is a rest."""
        lasted, finished = now - self._started, done - self._first
        if lasted < LONG_TASK or finished < 1 or done >= total:
            return ""
        return f"  {_rate(finished / lasted)}, {_duration((total - done) * lasted / finished)} left"


def _rate(per_second: float) -> str:
    return f"{per_second:.1f}/s" if per_second >= 1 else f"{60 * per_second:.1f}/min"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


class ProgressHandler(logging.Handler):
    """Prints progress; a record with ``step=(done, total)`` overwrites its line on a terminal and is thinned out elsewhere.

    Steps of one total that grow belong to one task. What is left of a long one is said by its rate since its first step.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(logging.INFO)
        self._clock = clock
        self._last: tuple[int, int] | None = None
        self._pace = _Pace(0.0, 0)
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._line_is_open = False

    def emit(self, record: logging.LogRecord) -> None:
        step: tuple[int, int] | None = getattr(record, "step", None)
        rest = ""
        if step:
            now = self._clock()
            self._follow(step, now)
            if not self._is_terminal and not self._pace.is_shown(now, *step):
                return
            rest = self._pace.rest(now, *step)
        self._close_line()
        ending = "" if step and self._is_terminal else "\n"
        self._stream.write(f"{'  ' if step else ''}{record.getMessage()}{rest}{ending}")
        self._line_is_open = ending == ""
        self._stream.flush()

    def _follow(self, step: tuple[int, int], now: float) -> None:
        """Begins a new pace where another task has begun."""
        if self._last is None or step[1] != self._last[1] or step[0] <= self._last[0]:
            self._pace = _Pace(now, step[0])
        self._last = step

    def _close_line(self) -> None:
        if self._line_is_open:
            self._stream.write("\r\x1b[K")
            self._line_is_open = False


@contextlib.contextmanager
def quiet_libraries_output() -> Iterator[None]:
    """As :func:`captured_output`, for commands that keep no log: it is thrown away, unless an unexpected error needs it."""
    with tempfile.TemporaryDirectory(prefix="edgeproof-log-") as directory:
        log_file = Path(directory) / "log"
        try:
            with captured_output(log_file):
                yield
        except (EdgeproofError, KeyboardInterrupt):
            raise
        except BaseException:
            sys.stderr.write(log_file.read_text(encoding="utf-8", errors="replace"))
            raise


@contextlib.contextmanager
def captured_output(log_file: Path, level: str | None = None) -> Iterator[TextIO]:
    """Sends loggers, warnings and file descriptor 2 to ``log_file``; progress (and ``level`` and above) to the console.

    Yields:
        The console: a text stream on the old file descriptor 2.
    """
    log_file.parent.mkdir(parents=True, exist_ok=True)
    sys.stderr.flush()
    with (
        os.fdopen(os.dup(2), "w", encoding="utf-8", errors="replace") as console,
        log_file.open("a", encoding="utf-8") as log,
    ):
        old_descriptor = os.dup(2)
        os.dup2(log.fileno(), 2)
        handlers = _install_handlers(console, log, level)
        try:
            yield console
        finally:
            for logger, handler in handlers:
                logger.removeHandler(handler)
            sys.stderr.flush()
            os.dup2(old_descriptor, 2)
            os.close(old_descriptor)


def _install_handlers(console: TextIO, log: TextIO, level: str | None) -> list[tuple[logging.Logger, logging.Handler]]:
    root, progress = logging.getLogger(), logging.getLogger(PROGRESS_LOGGER)
    root.setLevel(logging.INFO if level is None else min(logging.INFO, logging.getLevelName(level.upper())))
    to_file = logging.StreamHandler(log)
    to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    installed: list[tuple[logging.Logger, logging.Handler]] = [(root, to_file), (progress, ProgressHandler(console))]
    if level is not None:
        to_console = logging.StreamHandler(console)
        to_console.setLevel(level.upper())
        to_console.addFilter(lambda record: record.name != PROGRESS_LOGGER)
        installed.append((root, to_console))
    for logger, handler in installed:
        logger.addHandler(handler)
    progress.setLevel(logging.INFO)
    return installed
