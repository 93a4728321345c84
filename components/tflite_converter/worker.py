"""The child process that converts: ``python -m components.tflite_converter.worker DIRECTORY``.

TensorFlow's converter can abort the process (SIGABRT from LLVM, for instance on some Keras 3 exports), so it never
runs in ours. Both conversions share one child: importing TensorFlow costs more than converting most edge models.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.compat import keep_dense_per_tensor
from components.tflite_converter.job import (
    CALIBRATION_FILE,
    FLOAT_FILE,
    JOB_FILE,
    MODEL_FILE,
    ConversionJob,
    Failure,
    FailureKind,
    JobResult,
    write_result,
)
from components.tflite_converter.private_tensorflow import unsupported_operators
from components.tflite_converter.recipes import IoType, Recipe


@dataclass
class RepresentativeData:
    """Feeds calibration rows to the converter and counts what it took in its last pass."""

    inputs: Mapping[str, NDArray[Any]]
    batch_size: int
    num_yielded: int = field(default=0, init=False)

    def __call__(self) -> Iterator[dict[str, NDArray[Any]]]:
        """Yields ``{input name: [batch_size, ...]}``; a short last batch is filled up from the first rows."""
        self.num_yielded = 0
        num_rows = len(next(iter(self.inputs.values()))) if self.inputs else 0
        for start in range(0, num_rows, self.batch_size):
            rows = np.arange(start, start + self.batch_size) % num_rows
            self.num_yielded += min(self.batch_size, num_rows - start)
            yield {name: array[rows] for name, array in self.inputs.items()}


def run(directory: Path) -> JobResult:
    """Converts the job in ``directory`` and writes both .tflite files there."""
    import tensorflow  # noqa: F401  # before the clock starts: importing is no part of converting

    job = ConversionJob.from_json((directory / JOB_FILE).read_text(encoding="utf-8"))
    started = time.perf_counter()
    float_model = convert_to_float(job)
    (directory / FLOAT_FILE).write_bytes(float_model)
    float_done = time.perf_counter()
    data = RepresentativeData(_read_calibration(directory, job.inputs), job.batch_size)
    (directory / MODEL_FILE).write_bytes(float_model if job.recipe is Recipe.FLOAT32 else convert_by_recipe(job, data))
    return JobResult(data.num_yielded, float_done - started, time.perf_counter() - float_done)


def convert_to_float(job: ConversionJob) -> bytes:
    """SavedModel -> float32 .tflite."""
    return bytes(_converter(job).convert())


def convert_by_recipe(job: ConversionJob, data: RepresentativeData) -> bytes:
    """SavedModel -> .tflite by the job's recipe."""
    import tensorflow as tf

    converter = _converter(job)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if job.recipe is Recipe.FLOAT16:
        converter.target_spec.supported_types = [tf.float16]
    if job.recipe.needs_calibration:
        operator_sets = {
            Recipe.INT8: tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
            Recipe.INT16X8: tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
        }
        io_types = {IoType.INT8: tf.int8, IoType.UINT8: tf.uint8, IoType.FLOAT32: tf.float32}
        converter.representative_dataset = data
        converter.target_spec.supported_ops = [operator_sets[job.recipe]]
        converter.inference_input_type = io_types[job.input_type]
        converter.inference_output_type = io_types[job.output_type]
    return bytes(converter.convert())


def _converter(job: ConversionJob) -> Any:
    import tensorflow as tf

    # Without a key every signature is converted, and one that parses tf.Examples needs operators TFLite does not have.
    converter = tf.lite.TFLiteConverter.from_saved_model(job.saved_model, signature_keys=[job.signature])
    keep_dense_per_tensor(converter)
    return converter


def _read_calibration(directory: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    path = directory / CALIBRATION_FILE
    if not path.is_file():
        return {}
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[f"arr_{position}"] for position, name in enumerate(names)}


def explain(error: Exception) -> Failure:
    """Sorts what the converter raised."""
    operators = unsupported_operators(error)
    if operators:
        return Failure(FailureKind.UNSUPPORTED_OPERATORS, str(error), operators)
    kind = FailureKind.MEMORY if _is_out_of_memory(error) else FailureKind.CONVERTER
    return Failure(kind, f"{type(error).__name__}: {error}")


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError"


def main() -> None:
    """Runs the job in the directory given as the only argument and leaves a result there, also of a failure."""
    directory = Path(sys.argv[1])
    try:
        result = run(directory)
    except Exception as error:  # the border of the process: whatever the converter raises becomes the job's result
        traceback.print_exc()
        result = JobResult(failure=explain(error))
    write_result(directory, result)


if __name__ == "__main__":
    main()
