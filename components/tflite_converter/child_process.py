"""Runs the converting child process and turns every way it can end badly into one clear error."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from components.errors import CalibrationError, ConversionError
from components.tflite_converter.job import FLOAT_FILE, Failure, FailureKind, JobResult, read_result
from components.tflite_converter.progress import ProgressReader

_log = logging.getLogger(__name__)

WORKER_COMMAND = (sys.executable, "-m", "components.tflite_converter.worker")
#: A conversion takes seconds; the slowest measured, a large model with 1000 calibration rows, took a few minutes.
TIMEOUT_SECONDS = 3600.0
#: How often the child's progress is looked for, in seconds.
_POLL_SECONDS = 0.1
_STDERR_FILE = "stderr.txt"
_MAX_QUOTE = 400
#: What the converter prints of every model.
_NOISE = (
    "Ignored drop_control_dependency",
    "Ignored output_format",
    "Reading SavedModel",
    "Reading meta graph",
    "Restoring SavedModel",
)


def run_worker(
    directory: Path, command: Sequence[str] = WORKER_COMMAND, timeout_seconds: float = TIMEOUT_SECONDS
) -> JobResult:
    """Runs the worker on the job in ``directory`` and waits for it.

    The child has its own process group and is killed with it on a timeout and on any interrupt of ours.

    Raises:
        ConversionError: It failed, died or ran out of time; the message carries the converter's own reason.
        CalibrationError: The calibration rows set no ranges.
    """
    with (directory / _STDERR_FILE).open("wb") as stderr:
        process = subprocess.Popen(
            [*command, str(directory)],
            cwd=directory,  # `python -m` looks there first, and the user's directory may hold a folder "components"
            env=_child_environment(),
            stdin=subprocess.DEVNULL,
            stdout=stderr,
            stderr=stderr,
            start_new_session=True,
        )
        try:
            return_code = _wait(process, ProgressReader(directory), timeout_seconds)
        except subprocess.TimeoutExpired:
            raise ConversionError(
                f"TensorFlow's converter did not finish within {timeout_seconds:.0f} s and was stopped. "
                "Convert a smaller model, or calibrate with fewer samples (convert.calibration.num_samples)."
            ) from None
        finally:
            _kill_group(process)
    return _result(directory, return_code)


def _wait(process: subprocess.Popen[bytes], progress: ProgressReader, timeout_seconds: float) -> int:
    """Waits for the child's end and says what it says; raises subprocess.TimeoutExpired when time is up."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        left = deadline - time.monotonic()
        try:
            return_code = process.wait(max(0.0, min(_POLL_SECONDS, left)))
        except subprocess.TimeoutExpired:
            if left <= 0:
                raise
            progress.forward()
        else:
            progress.forward()
            return return_code


def _child_environment() -> dict[str, str]:
    quiet = {
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF_ENABLE_ONEDNN_OPTS": "0",
        "PYTHONHASHSEED": "0",
        # Interpreters are the parallelism; threads of BLAS only spin beside them (19 s of a MobileNetV2's 34 s).
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }
    given = os.environ.get("PYTHONPATH")
    absolute = os.pathsep.join(str(Path(entry).absolute()) for entry in given.split(os.pathsep)) if given else ""
    return {**os.environ, **quiet, **({"PYTHONPATH": absolute} if absolute else {})}


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _result(directory: Path, return_code: int) -> JobResult:
    stderr = (directory / _STDERR_FILE).read_text(encoding="utf-8", errors="replace")
    _log.debug("output of the converting process:\n%s", stderr)
    result = read_result(directory)
    if return_code == 0 and result is not None:
        if result.failure is not None:
            if result.failure.kind is FailureKind.CALIBRATION:
                raise CalibrationError(result.failure.message)
            raise ConversionError(_failure_message(result.failure, _stage(directory)))
        return result
    raise ConversionError(_death_message(return_code, stderr, _stage(directory)))


def _stage(directory: Path) -> str:
    return "quantizing the model" if (directory / FLOAT_FILE).is_file() else "converting the SavedModel to float"


def _failure_message(failure: Failure, stage: str) -> str:
    if failure.kind is FailureKind.UNSUPPORTED_OPERATORS:
        listed = "; ".join(
            f"{operator.operator} from {operator.node or 'an unnamed node'}" for operator in failure.operators
        )
        return (
            f"TFLite has no kernel for {len(failure.operators)} operator(s) of the model: {listed}. "
            "Replace these layers with ones TFLite knows, or let TensorFlow's kernels come along, some 100 MB on the device: "
            "convert.select_tf_operators: true (--select-tf-operators on the command line)."
        )
    if failure.kind is FailureKind.NO_CANDIDATE:
        return failure.message
    if failure.kind is FailureKind.MEMORY:
        return f"memory ran out while {stage}: {_short(failure.message)}. {_MEMORY_REMEDY}"
    return f"TensorFlow's converter failed while {stage}: {_telling_part(failure.message)}. {_cure(failure.message)}"


#: What a converter's message holds, and what helps then; the first that fits is said.
_CURES = (
    (
        ("TensorList", "element_shape"),
        "A recurrent layer (LSTM, GRU) has an open batch: export the signature with shape [1, ...], or the layer with unroll=True.",
    ),
    (
        ("tf.StridedSlice",),
        "Indexing with ... or None has no TFLite form there: write tf.expand_dims(x, -1) instead of x[..., None].",
    ),
    (
        ("AssignVariable", "AssignAddVariable", "ASSIGN_VARIABLE"),
        "The graph changes variables, as in training: export with training=False (model.export does), or keep the state outside of it.",
    ),
    (
        ("Failed to infer result type", "keras/src/"),
        "Keras 3 models are a known cause: export them with model.export(DIR), or build the model with tf_keras.",
    ),
)


def _cure(text: str) -> str:
    for marks, cure in _CURES:
        if any(mark in text for mark in marks):
            return cure
    return "Check that the SavedModel runs, and that its operators are ones TFLite knows."


_MEMORY_REMEDY = "Lower convert.calibration.num_samples, or convert on a machine with more memory."


def _death_message(return_code: int, stderr: str, stage: str) -> str:
    last = _last_telling_line(stderr)
    quoted = f": {last}" if last else ""
    if "std::bad_alloc" in stderr:
        return f"memory ran out while {stage}. {_MEMORY_REMEDY}"
    if return_code == -signal.SIGKILL:
        return f"the converting process was killed while {stage}, most likely because memory ran out. {_MEMORY_REMEDY}"
    if return_code < 0:
        name = signal.Signals(-return_code).name
        return f"TensorFlow's converter died of {name} while {stage}{quoted}. {_cure_for_death(stderr)}"
    return (
        f"the converting process ended with code {return_code} while {stage}{quoted}. "
        "Its whole output is in the log at level DEBUG."
    )


def _cure_for_death(stderr: str) -> str:
    """What is known of this crash; where nothing is, only that."""
    cure = next((cure for marks, cure in _CURES if any(mark in stderr for mark in marks)), "")
    return cure or (
        "It did not say why, and no cause is known. Try recipe float32: where that works, the quantizer is the cause; where it does "
        "not, leave out layers until it converts."
    )


def _last_telling_line(stderr: str) -> str:
    """The last line in which LLVM or the converter says what went wrong, or the last line at all."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip() and not any(n in line for n in _NOISE)]
    telling = [
        line for line in lines if "LLVM ERROR" in line or "error:" in line or "Error" in line or "Check failed" in line
    ]
    return _short((telling or lines or [""])[-1])


def _telling_part(message: str) -> str:
    """The line of a compiler's message that says what went wrong, or the whole message."""
    errors = [line.strip() for line in message.splitlines() if "error:" in line]
    return _short(errors[-1] if errors else message)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return (line if len(line) <= _MAX_QUOTE else line[: _MAX_QUOTE - 3] + "...").rstrip(".")
