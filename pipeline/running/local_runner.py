"""Runs a pipeline in this process: one run at a time per workspace, a dozen lines on the console, the rest in a log file.

TFX is imported after the first line is printed and the output is captured: it takes seconds, and its libraries greet people.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgeproof_edge.progress import progress

from pipeline.config import PipelineConfig
from pipeline.console import captured_output
from pipeline.errors import RunError
from pipeline.history.run_record import BY_HAND, RunRecord, write_attempt, write_record

#: What is told of a workspace that is made: whoever expected an old one sees that this is another.
NEW_WORKSPACE = " (new: with releases and keys of its own)"
#: Held by the run that uses a workspace, with its process number inside.
LOCK_FILE = ".lock"


def run(
    config: PipelineConfig,
    log_level: str | None = None,
    reason: str = BY_HAND,
    fresh: Sequence[str] = (),
    trigger_key: str = "",
    data_span: str = "",
) -> RunRecord:
    """Runs the whole chain; a refusal by the gate is a finished run.

    Args:
        config: The pipeline's config.
        log_level: Shows everybody's log lines from this level on; None shows progress only.
        reason: Why it is run, for `edgeproof runs`.
        fresh: Nodes that are not taken from the cache.
        trigger_key: Of the trigger that started it; empty where none did.
        data_span: Of the data that it is run for; empty for the span that is read.

    Raises:
        InputError: The config, the data or the model cannot be used.
        RunError: A node failed for another reason, or another run holds the workspace.
    """
    started = time.monotonic()
    workspace = config.workspace_dir
    is_new = not workspace.is_dir()
    _make(workspace)
    log_file = workspace / "logs" / f"{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}.log"
    with _only_run(workspace), captured_output(log_file, log_level):
        progress.info("edgeproof: pipeline %s in %s%s", config.name, workspace, NEW_WORKSPACE if is_new else "")
        write_attempt(workspace, time.strftime("%Y-%m-%d %H:%M:%S"), log_file)
        with _traceback_in_log(log_file):
            from pipeline.preflight import check

            check(config)
            from pipeline.mlmd import RunPurpose
            from pipeline.running.execution import execute  # imports TFX, which takes seconds

            outcome = execute(config, log_file, RunPurpose(reason, trigger_key, data_span=data_span), fresh=fresh)
        record = outcome.model_copy(update={"seconds": round(time.monotonic() - started, 1)})
        write_record(record, workspace)
        return record


@contextlib.contextmanager
def _traceback_in_log(log_file: Path) -> Iterator[None]:
    """The log holds what ended a run, with the way to it; the command line says one sentence."""
    try:
        yield
    except Exception:
        logging.exception("the run ended with an error")
        progress.info("the traceback is in %s", log_file)
        raise


def is_running(workspace: Path) -> bool:
    """Whether a run holds the workspace, as far as its process number tells."""
    try:
        os.kill(int((workspace / LOCK_FILE).read_text()), 0)
    except PermissionError:  # another user's process, and alive
        return True
    except (OSError, ValueError):
        return False
    return True


def _make(workspace: Path) -> None:
    try:
        workspace.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(
            f"workspace {workspace} cannot be made: {error.strerror}. Choose another with --set workspace=DIR."
        ) from error


@contextlib.contextmanager
def _only_run(workspace: Path) -> Iterator[None]:
    """Holds the workspace; the lock dies with the process, so a killed run never blocks the next."""
    with (workspace / LOCK_FILE).open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            raise RunError(
                f"another run (process {holder}) is using {workspace}. Wait for it, or give --set workspace=DIR."
            ) from None
        lock.seek(0)
        lock.truncate()
        lock.write(str(os.getpid()))
        lock.flush()
        yield
