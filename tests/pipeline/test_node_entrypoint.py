"""The command of a pod: where it records, what it tries again, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from edgeproof_edge.errors import SurroundingsError

from components.errors import DataError
from pipeline import node_entrypoint
from pipeline.errors import ConfigError, RunError
from pipeline.node_entrypoint import is_passing, metadata_location


@pytest.fixture(autouse=True)
def _no_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EDGEPROOF_METADATA", "METADATA_GRPC_SERVICE_HOST", "METADATA_GRPC_SERVICE_PORT"):
        monkeypatch.delenv(name, raising=False)


def test_the_pods_environment_says_where_runs_are_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="nothing says where ML Metadata is"):
        metadata_location()
    monkeypatch.setenv("METADATA_GRPC_SERVICE_HOST", "metadata-grpc-service.kubeflow")
    monkeypatch.setenv("METADATA_GRPC_SERVICE_PORT", "8080")
    assert metadata_location().url == "grpc://metadata-grpc-service.kubeflow:8080"
    monkeypatch.setenv("EDGEPROOF_METADATA", "mysql://mlmd@db/mlmd")
    monkeypatch.setenv("EDGEPROOF_METADATA_PASSWORD", "secret")
    assert (metadata_location().url, metadata_location().password) == ("mysql://mlmd@db/mlmd", "secret")


def _caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        pytest.param(ConnectionRefusedError(111, "Connection refused"), True, id="refused"),
        pytest.param(TimeoutError(), True, id="timeout"),
        pytest.param(SurroundingsError("the bucket does not answer"), True, id="bucket-away"),
        pytest.param(
            RunError("ML Metadata at grpc://m:8080 does not answer: failed to connect."), True, id="metadata-away"
        ),
        pytest.param(RuntimeError("503 Service Unavailable"), True, id="5xx"),
        pytest.param(_caused(RuntimeError("Beam failed"), ConnectionResetError()), True, id="deep-inside"),
        pytest.param(DataError("label 11 is unknown"), False, id="data"),
        pytest.param(_caused(DataError("a file is cut"), TimeoutError()), False, id="data-whatever-the-cause"),
        pytest.param(RunError("Trainer ended as failed"), False, id="a-node-that-failed"),
        pytest.param(ValueError("shapes do not match"), False, id="a-mistake"),
    ],
)
def test_only_what_passes_by_is_tried_again(error: Exception, passes: bool) -> None:
    assert is_passing(error) == passes


def test_it_is_tried_again_as_often_as_there_are_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(node_entrypoint.WAITS_VARIABLE, "0 0")
    tries = []

    def work() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionResetError
        return "done"

    assert node_entrypoint._patiently(work) == "done"
    tries.clear()
    monkeypatch.setenv(node_entrypoint.WAITS_VARIABLE, "0")
    with pytest.raises(ConnectionResetError):
        node_entrypoint._patiently(work)
    assert len(tries) == 2


def test_a_mistake_in_the_pods_environment_is_one_sentence() -> None:
    command = [sys.executable, "-m", "pipeline.node_entrypoint", "--ir", "", "--run-id", "r"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert result.stderr.startswith("error: nothing says where ML Metadata is")


def test_sigterm_ends_a_process_that_is_deep_in_a_library(tmp_path: object) -> None:
    code = (
        "import ctypes, pipeline.node_entrypoint as e; from pipeline.mlmd import *;"
        f"l = MetadataLocation.of_file(__import__('pathlib').Path({str(tmp_path)!r}) / 'm.sqlite');"
        "e._end_at_sigterm(l, 'r', None); print('deep', flush=True);"
        "[ctypes.CDLL(None).sleep(60) for _ in range(9)]"  # a signal wakes it
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "deep\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 143
