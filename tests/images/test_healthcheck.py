"""What the container engine asks the gateway; the same as ``/healthz`` says, without loading anything."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from edgeproof_edge.serving.server import MAX_HEARTBEAT_AGE

from tests.images.engine import ROOT

SCRIPT = ROOT / "edge/docker/healthcheck.py"


@pytest.mark.parametrize(
    ("has_model", "age", "code", "says"),
    [
        pytest.param(True, 0.0, 0, "ok", id="well"),
        pytest.param(True, MAX_HEARTBEAT_AGE + 5, 1, "the loop has not shown itself for 65 s", id="hangs"),
        pytest.param(True, None, 1, "the loop has not started", id="has-not-started"),
        pytest.param(False, 0.0, 1, "model.tflite is not there", id="no-model"),
    ],
)
def test_health(tmp_path: Path, has_model: bool, age: float | None, code: int, says: str) -> None:
    if has_model:
        (tmp_path / "versions/1").mkdir(parents=True)
        (tmp_path / "versions/1/model.tflite").touch()
        (tmp_path / "current").symlink_to("versions/1")
    if age is not None:
        heartbeat = tmp_path / "heartbeat"
        heartbeat.touch()
        past = heartbeat.stat().st_mtime - age
        os.utime(heartbeat, (past, past))
    environment = {"EDGEPROOF_HOME": str(tmp_path)}
    command = [sys.executable, "-I", "-S", str(SCRIPT)]
    told = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (told.returncode, told.stderr) == (code, "")
    assert says in told.stdout


def test_its_limit_is_that_of_healthz() -> None:
    assert f"MAX_HEARTBEAT_AGE = {MAX_HEARTBEAT_AGE}\n" in SCRIPT.read_text()
