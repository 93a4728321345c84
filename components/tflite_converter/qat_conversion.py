"""Converts a SavedModel that was trained with quantization in the loop, in a child process: its own nodes bring the ranges."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from components.repair.recipes import IoType, Recipe
from components.tflite_converter.child_process import TIMEOUT_SECONDS, WORKER_COMMAND, run_worker
from components.tflite_converter.job import JOB_FILE, MODEL_FILE, ConversionJob


def convert_qat(
    saved_model: Path,
    signature: str,
    input_type: IoType = IoType.INT8,
    output_type: IoType = IoType.INT8,
    worker_command: Sequence[str] = WORKER_COMMAND,
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
    job = ConversionJob(
        saved_model="",
        signature="",
        recipe=Recipe.INT8_QAT,
        input_type=input_type,
        output_type=output_type,
        qat_saved_model=str(saved_model.resolve()),
        qat_signature=signature,
    )
    with tempfile.TemporaryDirectory(prefix="edgeproof-qat-") as name:
        directory = Path(name)
        (directory / JOB_FILE).write_text(job.to_json(), encoding="utf-8")
        run_worker(directory, worker_command, timeout_seconds)
        return (directory / MODEL_FILE).read_bytes()
