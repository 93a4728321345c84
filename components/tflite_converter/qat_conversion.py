"""Converts a SavedModel that was trained with quantization in the loop: its fake-quantization nodes bring the ranges.

Two traps, both measured: without ``Optimize.DEFAULT`` the nodes become pairs of QUANTIZE and DEQUANTIZE around float operators, and with
``TFLITE_BUILTINS_INT8`` the converter asks for calibration data that the model does not need. The conversion runs in a child process
like every other: ``python -m components.tflite_converter.qat_conversion DIRECTORY``.
"""

from __future__ import annotations

import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from components.compat import keep_dense_per_tensor
from components.repair.recipes import IoType, Recipe
from components.tflite_converter.child_process import TIMEOUT_SECONDS, run_worker
from components.tflite_converter.job import JOB_FILE, MODEL_FILE, ConversionJob, JobResult, write_result
from components.tflite_converter.worker import explain

QAT_WORKER_COMMAND = (sys.executable, "-m", "components.tflite_converter.qat_conversion")


def convert_qat(
    saved_model: Path,
    signature: str,
    input_type: IoType = IoType.INT8,
    output_type: IoType = IoType.INT8,
    worker_command: Sequence[str] = QAT_WORKER_COMMAND,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> bytes:
    """Converts in a child process.

    Args:
        saved_model: Directory that holds ``saved_model.pb``.
        signature: Key of its raw-tensor signature.
        input_type: Type of real-valued inputs.
        output_type: Type of real-valued outputs.
        worker_command: The command that converts; the directory of the job is appended.
        timeout_seconds: Most time the child may take.

    Returns:
        The bytes of an int8 .tflite.

    Raises:
        ConversionError: TensorFlow cannot convert the model, or the child died.
    """
    job = ConversionJob(str(saved_model.resolve()), signature, Recipe.INT8, input_type, output_type)
    with tempfile.TemporaryDirectory(prefix="edgeproof-qat-") as name:
        directory = Path(name)
        (directory / JOB_FILE).write_text(job.to_json(), encoding="utf-8")
        run_worker(directory, worker_command, timeout_seconds)
        return (directory / MODEL_FILE).read_bytes()


def quantize_by_training(job: ConversionJob) -> bytes:
    """SavedModel with fake-quantization nodes -> int8 .tflite; runs where TensorFlow may die, so call it in a child process."""
    import tensorflow as tf

    io_types = {IoType.INT8: tf.int8, IoType.UINT8: tf.uint8, IoType.FLOAT32: tf.float32}
    converter = tf.lite.TFLiteConverter.from_saved_model(job.saved_model, signature_keys=[job.signature])
    keep_dense_per_tensor(converter)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.inference_input_type = io_types[job.input_type]
    converter.inference_output_type = io_types[job.output_type]
    return bytes(converter.convert())


def main() -> None:
    """Converts the job in the directory given as the only argument and leaves a result there, also of a failure."""
    directory = Path(sys.argv[1])
    started = time.perf_counter()
    try:
        job = ConversionJob.from_json((directory / JOB_FILE).read_text(encoding="utf-8"))
        (directory / MODEL_FILE).write_bytes(quantize_by_training(job))
        result = JobResult(model_seconds=time.perf_counter() - started)
    except Exception as error:  # the border of the process: whatever the converter raises becomes the job's result
        traceback.print_exc()
        result = JobResult(failure=explain(error))
    write_result(directory, result)


if __name__ == "__main__":
    main()
