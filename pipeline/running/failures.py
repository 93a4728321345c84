"""What ended a node that nobody explained: one sentence with the node, the reason and what to do.

Beam's workers send a whole traceback as text, servers an error of gRPC; in both, the reason is one line. An error that
one of our own rooms raised in a worker is that error again.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

from edgeproof_edge.errors import EdgeproofError

from pipeline.errors import RunError

#: Of a traceback's last line: the error's class with its module, and its message.
_RAISED = re.compile(r"^(?:RuntimeError: )?(?P<kind>[A-Za-z_][\w.]*(?:Error|Exception|Interrupt)): (?P<message>.+)")
#: Where Beam goes on about its own steps.
_STEP = " [while running "
#: What ends a worker of Beam, or the way to it, and says nothing of the cause.
_LOST_WORKER = re.compile(
    r"worker .*(?:died|lost|terminated)|lost connection|SIGKILL|OutOfMemory|heartbeat", re.IGNORECASE
)
_MAX_LENGTH = 300


def explained(error: Exception, node_id: str, log_file: Path) -> EdgeproofError:
    """The error that a person is told.

    Args:
        error: What a node raised, and none of ours.
        node_id: Which node.
        log_file: Where the whole story is.
    """
    reason = reason_of(error)
    if is_out_of_space(error):
        return RunError(
            f"{node_id}: the disk is full: {reason}. Finished steps are kept: free some space and give the same command again."
        )
    if any(isinstance(cause, MemoryError) for cause in causes_of(error)):
        return RunError(
            f"{node_id} ran out of memory. Finished steps are kept: free some, or raise the limit (ulimit -v, or the container's), "
            "and give the same command again."
        )
    if ours := _of_ours(error):
        return ours
    advice = " Give the workers more memory, or fewer of them." if _LOST_WORKER.search(str(error)) else ""
    return RunError(f"{node_id} failed: {reason}.{advice} The whole story is in {log_file}")


def reason_of(error: BaseException) -> str:
    """One line without a full stop: the class and the message of what was raised first, wherever that was."""
    details = getattr(error, "details", None)
    if callable(details):  # an error of gRPC, whose text is a table
        return _one_line(f"{_code_of(error)}: {details()}")
    raised = list(_raised(error))
    if raised:
        return _one_line(f"{raised[-1]['kind'].rpartition('.')[2]}: {raised[-1]['message']}")
    first = next((line for line in str(error).splitlines() if line.strip()), "no message")
    return _one_line(f"{type(error).__name__}: {first.partition(_STEP)[0]}")


def is_out_of_space(error: BaseException) -> bool:
    """Whether a full disk is behind an error, whoever told of it: Python by its number, TensorFlow and Beam by their text."""
    return any(
        (isinstance(cause, OSError) and cause.errno == errno.ENOSPC) or os.strerror(errno.ENOSPC) in str(cause)
        for cause in causes_of(error)
    )


def causes_of(error: BaseException) -> list[BaseException]:
    """An error and what is behind it, outermost first."""
    causes = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None and cause not in causes:
        causes.append(cause)
    return causes


def _raised(error: BaseException) -> Iterator[re.Match[str]]:
    """The lines of the message that are the last of a traceback; the innermost comes last."""
    if "Traceback (most recent call last)" not in str(error):
        return
    for line in str(error).splitlines():
        if match := _RAISED.match(line.strip().partition(_STEP)[0]):
            yield match


def _of_ours(error: BaseException) -> EdgeproofError | None:
    """The error of one of our rooms that a worker's traceback ends in."""
    by_name = {kind.__name__: kind for kind in _kinds(EdgeproofError)}
    for match in _raised(error):
        module, _, name = match["kind"].rpartition(".")
        kind = by_name.get(name)
        if kind is not None and kind.__module__ == module:
            return kind(match["message"])
    return None


def _kinds(root: type[EdgeproofError]) -> Iterator[type[EdgeproofError]]:
    yield root
    for kind in root.__subclasses__():
        yield from _kinds(kind)


def _code_of(error: BaseException) -> str:
    code = getattr(error, "code", None)
    return str(getattr(code(), "name", "an error")) if callable(code) else type(error).__name__


def _one_line(text: str) -> str:
    return " ".join(text.split())[:_MAX_LENGTH].rstrip(".")
