"""A worker of a few lines stands in for TensorFlow's; what it takes and leaves (result, exit code) is real."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from components.errors import CalibrationError, ConversionError
from components.tflite_converter.child_process import run_worker
from components.tflite_converter.job import (
    FLOAT_FILE,
    Failure,
    FailureKind,
    JobResult,
    UnsupportedOperator,
)


def worker(tmp_path: Path, body: str) -> list[str]:
    script = tmp_path / "worker.py"
    script.write_text(f"import os, sys, time\nfrom pathlib import Path\ndirectory = Path(sys.argv[1])\n{body}\n")
    return [sys.executable, str(script)]


def writing(result: JobResult) -> str:
    return f"(directory / 'result.json').write_text({result.to_json()!r})"


@pytest.fixture
def job_directory(tmp_path: Path) -> Path:
    directory = tmp_path / "job"
    directory.mkdir()
    return directory


def refusal(job_directory: Path, command: list[str], timeout_seconds: float = 60) -> str:
    with pytest.raises(ConversionError) as error:
        run_worker(job_directory, command, timeout_seconds)
    return str(error.value)


def test_a_result_comes_back(tmp_path: Path, job_directory: Path) -> None:
    result = JobResult(500, 1.0, 2.0)
    assert run_worker(job_directory, worker(tmp_path, writing(result))) == result


def test_sigabrt_quotes_llvm_and_names_keras_3(tmp_path: Path, job_directory: Path) -> None:
    body = "\n".join(
        [
            "print('W0000 loading', file=sys.stderr)",
            "print('LLVM ERROR: Failed to infer result type(s).', file=sys.stderr, flush=True)",
            "print('some later noise', file=sys.stderr, flush=True)",
            "os.abort()",
        ]
    )
    message = refusal(job_directory, worker(tmp_path, body))
    assert (
        "died of SIGABRT while converting the SavedModel to float: LLVM ERROR: Failed to infer result type(s)."
        in message
    )
    assert "model.export(DIR)" in message


def test_a_death_after_the_float_file_is_a_death_while_quantizing(tmp_path: Path, job_directory: Path) -> None:
    (job_directory / FLOAT_FILE).write_bytes(b"")
    assert "died of SIGABRT while quantizing the model" in refusal(job_directory, worker(tmp_path, "os.abort()"))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("os.kill(os.getpid(), 9)", id="killed-by-the-kernel"),
        pytest.param('print("what(): std::bad_alloc", file=sys.stderr, flush=True); os.abort()', id="bad-alloc"),
        pytest.param(writing(JobResult(failure=Failure(FailureKind.MEMORY, "MemoryError: 8 GB"))), id="memory-error"),
    ],
)
def test_running_out_of_memory_says_so(tmp_path: Path, job_directory: Path, body: str) -> None:
    message = refusal(job_directory, worker(tmp_path, body))
    assert "memory ran out" in message
    assert "num_samples" in message


def test_unsupported_operators_are_listed_with_their_layers(tmp_path: Path, job_directory: Path) -> None:
    operators = (
        UnsupportedOperator("MatrixDeterminant", "model/det/MatrixDeterminant"),
        UnsupportedOperator("Igamma", ""),
    )
    failure = Failure(FailureKind.UNSUPPORTED_OPERATORS, "a long text", operators)
    message = refusal(job_directory, worker(tmp_path, writing(JobResult(failure=failure))))
    assert "no kernel for 2 operator(s)" in message
    assert "MatrixDeterminant from model/det/MatrixDeterminant; Igamma from an unnamed node" in message
    assert "convert.select_tf_operators: true" in message


def test_calibration_rows_that_set_no_range_are_the_users_to_mend(tmp_path: Path, job_directory: Path) -> None:
    failure = Failure(FailureKind.CALIBRATION, "tensor 'log' holds nan for row 3 of the calibration examples.")
    with pytest.raises(CalibrationError, match=r"^tensor 'log' holds nan for row 3 of the calibration examples\.$"):
        run_worker(job_directory, worker(tmp_path, writing(JobResult(failure=failure))))


def test_what_the_converter_raised_is_quoted_on_one_short_line(tmp_path: Path, job_directory: Path) -> None:
    failure = Failure(FailureKind.CONVERTER, "ValueError: bad\nnode" + " very" * 500)
    message = refusal(job_directory, worker(tmp_path, writing(JobResult(failure=failure))))
    assert "failed while converting the SavedModel to float: ValueError: bad node very" in message
    assert "\n" not in message
    assert len(message) < 700


@pytest.mark.parametrize(
    ("message", "cure"),
    [
        pytest.param(
            "error: 'tf.TensorListReserve' op requires element_shape to be static", "shape [1, ...]", id="open-batch"
        ),
        pytest.param(
            "error: 'tf.StridedSlice' op is neither a custom op", "tf.expand_dims(x, -1)", id="none-as-an-index"
        ),
        pytest.param("error: failed to legalize 'tf.AssignVariableOp'", "training=False", id="training-mode"),
        pytest.param("error: something else", "operators are ones TFLite knows", id="unknown"),
    ],
)
def test_an_error_of_the_converter_names_its_cure(tmp_path: Path, job_directory: Path, message: str, cure: str) -> None:
    failure = Failure(FailureKind.CONVERTER, f"ConverterError: a line\nloc: {message}\nnote: see the current operation")
    said = refusal(job_directory, worker(tmp_path, writing(JobResult(failure=failure))))
    assert message in said
    assert cure in said


def test_a_crash_without_a_known_cause_is_not_blamed_on_keras(tmp_path: Path, job_directory: Path) -> None:
    body = "print('W0000 Ignored drop_control_dependency.', file=sys.stderr, flush=True)\nos.kill(os.getpid(), 11)"
    message = refusal(job_directory, worker(tmp_path, body))
    assert "died of SIGSEGV" in message
    assert "Keras" not in message
    assert "drop_control" not in message
    assert "Try recipe float32" in message


def test_an_exit_without_a_result_quotes_the_last_line(tmp_path: Path, job_directory: Path) -> None:
    message = refusal(job_directory, worker(tmp_path, "sys.exit('disk full')"))
    assert "ended with code 1 while converting the SavedModel to float: disk full" in message


def test_a_worker_that_hangs_is_killed_with_its_children(tmp_path: Path, job_directory: Path) -> None:
    body = "\n".join(
        [
            "import subprocess",
            "child = subprocess.Popen(['sleep', '60'])",
            "(directory / 'pids').write_text(f'{os.getpid()} {child.pid}')",
            "time.sleep(60)",
        ]
    )
    started = time.monotonic()
    message = refusal(job_directory, worker(tmp_path, body), timeout_seconds=1.5)
    assert "did not finish within 2 s" in message
    assert time.monotonic() - started < 20
    for pid in (job_directory / "pids").read_text().split():
        assert not is_running(int(pid))


def is_running(pid: int) -> bool:
    """Whether the process still runs; a killed one may linger as a zombie until its parent reads its end."""
    for _ in range(50):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return False
        if state == "Z":
            return False
        time.sleep(0.02)
    return True


def test_the_worker_does_not_see_the_current_directory(
    tmp_path: Path, job_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    body = f"(directory / 'cwd').write_text(os.getcwd())\n{writing(JobResult())}"
    run_worker(job_directory, worker(tmp_path, body))
    assert job_directory.samefile((job_directory / "cwd").read_text())
