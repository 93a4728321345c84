"""What a person sees of a long task: on a terminal every step, in a log a line per tenth, with rate and remaining time."""

from __future__ import annotations

import io
import logging

import pytest

from pipeline.console import ProgressHandler


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def printed(stream: io.StringIO, seconds_per_step: float, total: int) -> list[str]:
    """The lines (or overwritten parts) of a task with equal steps."""
    now = [0.0]
    handler = ProgressHandler(stream, clock=lambda: now[0])
    for done in range(1, total + 1):
        now[0] = done * seconds_per_step
        record = logging.makeLogRecord({"msg": f"part {done}", "step": (done, total)})
        handler.emit(record)
    return stream.getvalue().replace("\r\x1b[K", "\n").splitlines()


def test_a_short_task_takes_two_lines_of_a_log() -> None:
    assert printed(io.StringIO(), 0.1, 50) == ["  part 25", "  part 50"]


def test_a_long_task_takes_a_line_per_tenth_of_a_log_and_says_what_is_left() -> None:
    lines = printed(io.StringIO(), 2.0, 200)
    assert len(lines) == 10
    assert lines[0] == "  part 20  30.0/min, 6 min left"
    assert lines[8] == "  part 180  30.0/min, 40 s left"
    assert lines[-1] == "  part 200"


@pytest.mark.parametrize(("seconds", "rest"), [(0.01, "100.0/s, 10 s left"), (60.0, "1.0/min, 33.3 h left")])
def test_a_terminal_shows_every_step_with_its_rate_once_it_is_known(seconds: float, rest: str) -> None:
    parts = printed(Terminal(), seconds, 3000 if seconds < 1 else 2000)
    assert parts[0] == "  part 1"
    assert any(part.endswith(rest) for part in parts), parts[-5:]


def test_another_task_begins_its_own_pace() -> None:
    stream, now = io.StringIO(), [0.0]
    handler = ProgressHandler(stream, clock=lambda: now[0])
    for now[0], step in ((0.0, (1, 3)), (50.0, (2, 3)), (50.0, (3, 3)), (51.0, (1, 3)), (52.0, (2, 3))):
        handler.emit(logging.makeLogRecord({"msg": "x", "step": step}))
    assert stream.getvalue().splitlines() == ["  x  1.2/min, 50 s left", "  x", "  x"]
