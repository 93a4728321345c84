from __future__ import annotations

import logging
from pathlib import Path

import pytest

from components.tflite_converter.progress import PROGRESS_FILE, ProgressReader, ProgressWriter


def record(message: str, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("edgeproof.progress", logging.INFO, __file__, 1, message, None, None)
    made.__dict__.update(extra)
    return made


def test_what_the_child_says_is_said_here_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "edgeproof.progress")
    writer, reader = ProgressWriter(tmp_path), ProgressReader(tmp_path)
    reader.forward()  # before there is a file
    writer.emit(record("first", step=(1, 24)))
    reader.forward()
    writer.emit(record("with \n newline"))
    reader.forward()
    reader.forward()
    assert [r.getMessage() for r in caplog.records] == ["first", "with \n newline"]
    assert [getattr(r, "step", None) for r in caplog.records] == [(1, 24), None]


def test_half_lines_wait_and_broken_lines_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "edgeproof.progress")
    reader = ProgressReader(tmp_path)
    path = tmp_path / PROGRESS_FILE
    path.write_bytes(b'nonsense\n[1]\n{"message": "a", "step": [1]}\n{"message": "half')
    reader.forward()
    assert caplog.records == []
    with path.open("ab") as file:
        file.write(b'", "step": null}\n')
    reader.forward()
    assert [r.getMessage() for r in caplog.records] == ["half"]
