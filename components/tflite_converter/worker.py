"""The child process that converts: ``python -m components.tflite_converter.worker DIRECTORY``.

TensorFlow's converter can abort the process (SIGABRT from LLVM, for instance on some Keras 3 exports), so it never
runs in ours. Everything that needs TensorFlow shares one child: importing it costs more than converting most edge models.

The SavedModel becomes a float .tflite once. Integer models are made from that file: LiteRT runs the calibration rows
through it, and the ranges measured go to TensorFlow's quantizer with it. What comes out is what ``TFLiteConverter``
makes with the rows as its representative dataset, but for one thing: its calibration reads the operands of an addition
that runs in place after the sum was written over them (measured on TF 2.16: ranges up to twice as wide), and ours does not.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.compat import keep_dense_per_tensor
from components.errors import CalibrationError, ConversionError
from components.repair.graph import FloatGraph
from components.repair.range_statistics import Statistics, measure
from components.repair.recipes import IoType, Maker, Recipe
from components.tflite_converter.fixed_batch import NOTE, needs_fixed_batch, with_fixed_batch
from components.tflite_converter.job import (
    CALIBRATION_FILE,
    FIXED_BATCH_FOLDER,
    FLOAT_FILE,
    HEAD_FILE,
    JOB_FILE,
    LABELS,
    MODEL_FILE,
    SEARCH_FILE,
    SELECTION_FILE,
    ConversionJob,
    Failure,
    FailureKind,
    JobResult,
    write_result,
)
from components.tflite_converter.private_tensorflow import (
    calibrate_flatbuffer,
    quantize_flatbuffer,
    unsupported_operators,
)
from components.tflite_converter.progress import start_writing


@dataclass
class RepresentativeData:
    """Feeds calibration rows to TensorFlow's own calibration and counts what it took in its last pass."""

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
    if job.recipe.storage.maker is Maker.TRAINING and not job.saved_model:
        (directory / MODEL_FILE).write_bytes(quantize_by_training(job))
        return JobResult(model_seconds=time.perf_counter() - started)
    job, float_model, notes = convert_to_float_somehow(job, directory)
    (directory / FLOAT_FILE).write_bytes(float_model)
    float_done = time.perf_counter()
    data = RepresentativeData(_read_rows(directory / CALIBRATION_FILE, job.inputs), job.batch_size)
    if job.recipe.storage.maker is Maker.SEARCH:
        made = repair(job, directory, quantizable(float_model, data), data.inputs)
    else:
        made = make_model(job, float_model, data)
    (directory / MODEL_FILE).write_bytes(made.model)
    model_seconds = time.perf_counter() - float_done
    return JobResult(
        made.num_calibration_rows,
        float_done - started,
        model_seconds,
        (*notes, *warn_of_loops(job.recipe, float_model)),
    )


@dataclass(frozen=True)
class MadeModel:
    """A model by the job's recipe, and how many calibration rows its ranges come from."""

    model: bytes
    num_calibration_rows: int = 0


def make_model(job: ConversionJob, float_model: bytes, data: RepresentativeData) -> MadeModel:
    """Makes the model of the job's recipe, which is not auto."""
    maker = job.recipe.storage.maker
    if maker is Maker.FLOAT:
        return MadeModel(float_model)
    if maker is Maker.RANGES:
        return quantize_by_ranges(job, quantizable(float_model, data), data.inputs)
    if maker is Maker.TRAINING:
        return MadeModel(quantize_by_training(job))
    return MadeModel(convert_by_recipe(job))


def repair(job: ConversionJob, directory: Path, float_model: bytes, rows: Mapping[str, NDArray[Any]]) -> MadeModel:
    """Makes the model that recipe auto chooses, and leaves what it found beside it."""
    from components.repair.record import search_facts
    from components.repair.search.candidates import SearchRequest
    from components.repair.search.ladder import search

    result = search(
        SearchRequest(
            float_model,
            range_rows=rows,
            selection_rows=_read_rows(directory / SELECTION_FILE, job.inputs),
            head_rows=_read_rows(directory / HEAD_FILE, job.inputs),
            labels=_read_labels(directory / SELECTION_FILE),
            input_type=job.input_type,
            output_type=job.output_type,
            may_change_io=job.may_change_io,
            may_use_islands=job.may_use_islands,
            settings=job.auto,
        ),
        quantize_flatbuffer,
        _last_resorts(job, float_model, rows),
    )
    (directory / SEARCH_FILE).write_text(search_facts(result).model_dump_json(), encoding="utf-8")
    return MadeModel(result.chosen.model, len(next(iter(rows.values()))))


def _last_resorts(
    job: ConversionJob, float_model: bytes, rows: Mapping[str, NDArray[Any]]
) -> dict[Recipe, Callable[[], bytes]]:
    """What auto tries when no repair meets the goal: the model trained for int8 first, then what the config allows."""
    trained = {Recipe.INT8_QAT: lambda: quantize_by_training(job)} if job.qat_saved_model else {}
    return {**trained, **{recipe: _fallback(job, recipe, float_model, rows) for recipe in job.auto.fallbacks}}


def _fallback(
    job: ConversionJob, recipe: Recipe, float_model: bytes, rows: Mapping[str, NDArray[Any]]
) -> Callable[[], bytes]:
    """What makes the model of another recipe, with the inputs and outputs in float32."""
    float_job = replace(job, recipe=recipe, input_type=IoType.FLOAT32, output_type=IoType.FLOAT32)
    if recipe.storage.maker is Maker.RANGES:
        return lambda: quantize_by_ranges(float_job, float_model, rows).model
    return lambda: convert_by_recipe(float_job)


def warn_of_loops(recipe: Recipe, float_model: bytes) -> tuple[str, ...]:
    """What an integer recipe leaves in float because it runs in a loop; a subgraph that sets variables once is none."""
    graph = FloatGraph.parse(float_model)
    if not recipe.needs_calibration or not any(graph.kind(operator) == "WHILE" for operator in graph.operators):
        return ()
    return (
        "what runs in a loop (a GRU) stays float: no range can be measured there. Export the layer with unroll=True to have it in integers",
    )


def convert_to_float_somehow(job: ConversionJob, directory: Path) -> tuple[ConversionJob, bytes, tuple[str, ...]]:
    """SavedModel -> float32 .tflite, with the batch fixed at 1 where TFLite wants it so.

    Returns:
        The job to go on with (its SavedModel may be a changed copy), the float model, and what was changed.
    """
    try:
        return job, convert_to_float(job), ()
    except Exception as error:
        copy = directory / FIXED_BATCH_FOLDER
        if not needs_fixed_batch(error) or not with_fixed_batch(Path(job.saved_model), copy):
            raise
    fixed = replace(job, saved_model=str(copy))
    return fixed, convert_to_float(fixed), (NOTE,)


def convert_to_float(job: ConversionJob) -> bytes:
    """SavedModel -> float32 .tflite."""
    return bytes(_converter(job).convert())


def convert_by_recipe(job: ConversionJob) -> bytes:
    """SavedModel -> .tflite by a recipe without calibration."""
    import tensorflow as tf

    converter = _converter(job)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if job.recipe.storage.weights == "float16":
        converter.target_spec.supported_types = [tf.float16]
    return bytes(converter.convert())


def quantize_by_training(job: ConversionJob) -> bytes:
    """SavedModel with fake-quantization nodes -> int8 .tflite.

    Two traps, both measured: without ``Optimize.DEFAULT`` the nodes become pairs of QUANTIZE and DEQUANTIZE around float
    operators, and with ``TFLITE_BUILTINS_INT8`` the converter asks for calibration data that the model does not need.
    """
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(job.qat_saved_model, signature_keys=[job.qat_signature])
    keep_dense_per_tensor(converter)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.inference_input_type = tf.as_dtype(job.input_type.value)
    converter.inference_output_type = tf.as_dtype(job.output_type.value)
    return bytes(converter.convert())


def quantizable(float_model: bytes, data: RepresentativeData) -> bytes:
    """The float model as the quantizer needs it.

    Where a tensor lies out of reach inside an LSTM operator, TensorFlow's own calibration writes its range into the file;
    all others are ours to set. In the body of a loop (a GRU) TensorFlow's calibration dies of a segmentation fault: the body
    stays float, and what is around it is quantized.
    """
    graph = FloatGraph.parse(float_model)
    is_calibrated_by_tensorflow = graph.has_hidden_tensors and graph.num_subgraphs == 1 and data.inputs
    return calibrate_flatbuffer(float_model, data()) if is_calibrated_by_tensorflow else float_model


def quantize_by_ranges(job: ConversionJob, float_model: bytes, rows: Mapping[str, NDArray[Any]]) -> MadeModel:
    """Float .tflite -> integer .tflite with the whole range of every tensor on these rows."""
    graph = FloatGraph.parse(float_model)
    statistics = measure(float_model, rows) if rows else Statistics({}, 0)
    graph.set_ranges(statistics.ranges())
    model = quantize_flatbuffer(
        graph.pack(),
        activations=job.recipe.activation_dtype,
        input_type=job.input_type.value,
        output_type=job.output_type.value,
    )
    return MadeModel(model, statistics.num_rows)


def _converter(job: ConversionJob) -> Any:
    import tensorflow as tf

    # Without a key every signature is converted, and one that parses tf.Examples needs operators TFLite does not have.
    converter = tf.lite.TFLiteConverter.from_saved_model(job.saved_model, signature_keys=[job.signature])
    keep_dense_per_tensor(converter)
    if job.select_tf_operators:
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    return converter


def _read_rows(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    if not path.is_file():
        return {}
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[f"arr_{position}"] for position, name in enumerate(names)}


def _read_labels(path: Path) -> NDArray[Any] | None:
    with np.load(path, allow_pickle=False) as archive:
        return archive[LABELS] if LABELS in archive.files else None


def explain(error: Exception) -> Failure:
    """Sorts what the converter raised."""
    operators = unsupported_operators(error)
    if operators:
        return Failure(FailureKind.UNSUPPORTED_OPERATORS, str(error), operators)
    if isinstance(error, CalibrationError):
        return Failure(FailureKind.CALIBRATION, str(error))
    if isinstance(error, ConversionError):
        return Failure(FailureKind.NO_CANDIDATE, str(error))
    kind = FailureKind.MEMORY if _is_out_of_memory(error) else FailureKind.CONVERTER
    return Failure(kind, f"{type(error).__name__}: {error}")


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError"


def main() -> None:
    """Runs the job in the directory given as the only argument and leaves a result there, also of a failure."""
    directory = Path(sys.argv[1])
    start_writing(directory)
    try:
        result = run(directory)
    except Exception as error:  # the border of the process: whatever the converter raises becomes the job's result
        traceback.print_exc()
        result = JobResult(failure=explain(error))
    write_result(directory, result)


if __name__ == "__main__":
    main()
