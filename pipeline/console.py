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
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from edgeproof_edge.errors import EdgeproofError
from edgeproof_edge.progress import PROGRESS_LOGGER

#: Steps of one long task (epochs, say) that are printed where the console cannot overwrite a line.
MAX_STEP_LINES = 2


class ProgressHandler(logging.Handler):
    """Prints progress; a record with ``step=(done, total)`` overwrites its line on a terminal and is thinned out elsewhere."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(logging.INFO)
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._line_is_open = False

    def emit(self, record: logging.LogRecord) -> None:
        step: tuple[int, int] | None = getattr(record, "step", None)
        if step and not self._is_terminal and not _is_shown(*step):
            return
        self._close_line()
        ending = "" if step and self._is_terminal else "\n"
        self._stream.write(f"{'  ' if step else ''}{record.getMessage()}{ending}")
        self._line_is_open = ending == ""
        self._stream.flush()

    def _close_line(self) -> None:
        if self._line_is_open:
            self._stream.write("\r\x1b[K")
            self._line_is_open = False


def _is_shown(done: int, total: int) -> bool:
    return done == total or done % max(1, -(-total // MAX_STEP_LINES)) == 0


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
