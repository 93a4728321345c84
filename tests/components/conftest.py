"""What tests of several components share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs the converting worker's code in this process: each child would import TensorFlow again."""
    from components.tflite_converter import conversion, worker
    from components.tflite_converter.job import JobResult

    def run(directory: Path, command: Sequence[str], timeout_seconds: float) -> JobResult:
        return worker.run(directory)

    monkeypatch.setattr(conversion, "run_worker", run)
