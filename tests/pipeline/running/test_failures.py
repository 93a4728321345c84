from __future__ import annotations

import errno
from pathlib import Path

import grpc
import pytest

from components.errors import DataError
from pipeline.errors import RunError
from pipeline.running.failures import explained, is_out_of_space, reason_of

LOG = Path("run.log")
OF_A_WORKER = """Pipeline BeamApp-root-1 failed in state FAILED: bundle inst001 stage-2 failed:Traceback (most recent call last):
  File "/site-packages/apache_beam/runners/worker/sdk_worker.py", line 311, in _execute
    response = task()
{raised}

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/site-packages/apache_beam/runners/common.py", line 1495, in process
    return self.do_fn_invoker.invoke_process(windowed_value)
RuntimeError: {raised} [while running 'scan']
"""


def test_the_reason_in_a_workers_traceback_is_one_line() -> None:
    missing = "FileNotFoundError: [Errno 2] No such file or directory: '/data/1.png'"
    error = explained(RuntimeError(OF_A_WORKER.format(raised=missing)), "ImageExampleGen", LOG)
    assert str(error) == f"ImageExampleGen failed: {missing}. The whole story is in run.log"
    assert isinstance(error, RunError)


def test_an_error_of_ours_in_a_worker_is_that_error_again() -> None:
    raised = "components.errors.DataError: 2 of 5 files are no images. Remove them."
    error = explained(RuntimeError(OF_A_WORKER.format(raised=raised)), "ImageExampleGen", LOG)
    assert type(error) is DataError
    assert str(error) == "2 of 5 files are no images. Remove them."


def test_an_error_of_a_users_code_is_not_taken_for_ours() -> None:
    raised = "readers.DataError: no such table"
    error = explained(RuntimeError(OF_A_WORKER.format(raised=raised)), "RecordExampleGen", LOG)
    assert str(error).startswith("RecordExampleGen failed: DataError: no such table. ")


def test_an_error_of_a_server_is_its_code_and_its_details() -> None:
    with grpc.insecure_channel("localhost:1") as channel, pytest.raises(grpc.RpcError) as refusal:
        channel.unary_unary("/beam.JobService/Prepare")(b"", timeout=10)
    reason = reason_of(refusal.value)
    assert reason.startswith("UNAVAILABLE: ")
    assert "Connection refused" in reason
    assert "\n" not in reason


def test_a_lost_worker_is_given_memory() -> None:
    lost = RuntimeError("Worker: SDK worker 1-1 lost connection")
    assert "Give the workers more memory, or fewer of them. " in str(explained(lost, "Evaluator", LOG))


def test_out_of_memory_is_said_in_words() -> None:
    error = explained(MemoryError(), "Trainer", LOG)
    assert str(error).startswith("Trainer ran out of memory. Finished steps are kept: ")
    assert error.exit_code == 3


def test_a_full_disk_is_known_by_its_number_and_by_its_text() -> None:
    wrapped = RuntimeError("while writing")
    wrapped.__cause__ = OSError(errno.ENOSPC, "No space left on device", "/data/x")
    assert is_out_of_space(wrapped)
    assert is_out_of_space(RuntimeError("ResourceExhaustedError: /data/x; No space left on device"))
    assert not is_out_of_space(OSError(errno.EACCES, "no"))
    assert "Finished steps are kept" in str(explained(wrapped, "Trainer", LOG))
