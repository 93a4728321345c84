"""Writes what TFMA's own tools read: metrics of both models per slice, the validation, and the EvalConfig they belong to.

Rules: 1. The figures come from the gate's counts; nothing is scored a second time. 2. TFMA's own converters and protos
write them, so ``tfma.load_eval_result(DIR, model_name="candidate")`` and ``tfma.load_validation_result(DIR)`` read them on
both stacks. 3. TFMA decides nothing: the validation says what the gate said. 4. What TFMA computed for the user's EvalConfig
joins them, slice by slice; a figure of the same name keeps the value that the gate counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from components.evaluator.case import Case
from components.evaluator.counting.tally import Tally
from components.evaluator.measurements.measurement import TfmaFigures, sorted_slices
from components.evaluator.report.gate_report import GateReport
from components.evaluator.tfma.eval_config import BASELINE, CANDIDATE

#: Files as TFMA's writers name them.
METRICS_FILE = "metrics-00000-of-00001.tfrecord"
PLOTS_FILE = "plots-00000-of-00001.tfrecord"
VALIDATIONS_FILE = "validations.tfrecord"

#: TFMA's names of the figures, so that its views know them.
_METRIC_CLASSES = {
    "example_count": "ExampleCount",
    "sparse_categorical_accuracy": "SparseCategoricalAccuracy",
    "sparse_top_k_categorical_accuracy": "SparseTopKCategoricalAccuracy",
    "f1_score": "F1Score",
    "auc": "AUC",
    "mean_absolute_error": "MeanAbsoluteError",
    "mean_squared_error": "MeanSquaredError",
    "root_mean_squared_error": "RootMeanSquaredError",
}


def write_tfma_results(directory: Path, tally: Tally, report: GateReport, case: Case) -> None:
    """Writes ``metrics-*.tfrecord``, ``plots-*`` (where an EvalConfig asks for plots), ``validations.tfrecord`` and ``eval_config.json``.

    Args:
        directory: The ModelEvaluation artifact's.
        tally: What was counted.
        report: The verdict.
        case: What was judged.
    """
    import tensorflow as tf

    directory.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(directory / METRICS_FILE)) as writer:
        for proto in _all_metrics(tally, case):
            writer.write(proto.SerializeToString())
    if tally.extra is not None and tally.extra.plots:
        with tf.io.TFRecordWriter(str(directory / PLOTS_FILE)) as writer:
            for data in tally.extra.plots:
                writer.write(data)
    with tf.io.TFRecordWriter(str(directory / VALIDATIONS_FILE)) as writer:
        writer.write(_validation_proto(tally, report, case).SerializeToString())
    (directory / "eval_config.json").write_text(_eval_run(tally, case), encoding="utf-8")


def _all_metrics(tally: Tally, case: Case) -> list[Any]:
    """``MetricsForSlice`` of every slice: our slices first, each with what TFMA has on it, then TFMA's own."""
    from tensorflow_model_analysis.proto import metrics_for_slice_pb2

    protos = {
        proto.slice_key.SerializeToString(deterministic=True): proto
        for proto in (_metrics_proto(*item) for item in _metrics_by_slice(tally, case))
    }
    others = []
    for data in tally.extra.metrics if tally.extra else ():
        proto = metrics_for_slice_pb2.MetricsForSlice.FromString(data)
        ours = protos.get(proto.slice_key.SerializeToString(deterministic=True))
        if ours is None or proto.HasField("cross_slice_key"):
            others.append(proto)
        else:
            _join(ours, proto)
    return [*protos.values(), *others]


def _join(ours: Any, theirs: Any) -> None:
    """Adds TFMA's figures to the gate's of the same slice."""
    counted = {entry.key.SerializeToString(deterministic=True) for entry in ours.metric_keys_and_values}
    for entry in theirs.metric_keys_and_values:
        if entry.key.SerializeToString(deterministic=True) not in counted:
            ours.metric_keys_and_values.add().CopyFrom(entry)
    for name in theirs.metrics:
        ours.metrics[name].CopyFrom(theirs.metrics[name])


def _metrics_by_slice(tally: Tally, case: Case) -> Iterator[tuple[tuple[Any, ...], TfmaFigures]]:
    """Slice keys in TFMA's form, with the figures (baseline, candidate) by TFMA's names; the whole first."""
    yield (), case.measurement.tfma_figures(tally.whole, is_whole=True)
    for key, part in sorted_slices(tally):
        yield ((key.name, key.value),), case.measurement.tfma_figures(part, is_whole=False)


def _metrics_proto(slice_key: tuple[Any, ...], metrics: dict[str, tuple[float, float]]) -> Any:
    from tensorflow_model_analysis.metrics import metric_types
    from tensorflow_model_analysis.writers import metrics_plots_and_validations_writer as writer

    values = {}
    for name, (of_float, of_candidate) in metrics.items():
        values[metric_types.MetricKey(name, model_name=BASELINE)] = of_float
        values[metric_types.MetricKey(name, model_name=CANDIDATE)] = of_candidate
        if name != "example_count":
            change = metric_types.MetricKey(name, model_name=CANDIDATE, is_diff=True)
            values[change] = of_candidate - of_float
    return writer.convert_slice_metrics_to_proto((slice_key, values), None)


def _validation_proto(tally: Tally, report: GateReport, case: Case) -> Any:
    """What the gate said: one failure per broken rule, on the whole holdout."""
    from tensorflow_model_analysis.proto import config_pb2, metrics_for_slice_pb2, validation_result_pb2

    result = validation_result_pb2.ValidationResult(validation_ok=report.verdict.accepted)
    result.validation_details.slicing_details.add(slicing_spec=config_pb2.SlicingSpec(), num_matching_slices=1)
    broken = [rule for rule in report.verdict.rules if not rule.passed]
    if broken:
        failures = result.metric_validations_per_slice.add(slice_key=metrics_for_slice_pb2.SliceKey())
        for rule in broken:
            key = metrics_for_slice_pb2.MetricKey(name=rule.name, model_name=CANDIDATE)
            failures.failures.add(metric_key=key, message=rule.reason)
    return result


def _eval_run(tally: Tally, case: Case) -> str:
    from google.protobuf import json_format
    from tensorflow_model_analysis import version
    from tensorflow_model_analysis.proto import config_pb2

    config = config_pb2.EvalConfig()
    config.model_specs.add(name=CANDIDATE)
    config.model_specs.add(name=BASELINE, is_baseline=True)
    config.slicing_specs.add()
    for spec in case.slices:
        config.slicing_specs.add(feature_keys=[spec.name])
    _, metrics = next(_metrics_by_slice(tally, case))
    names = config.metrics_specs.add(model_names=[CANDIDATE, BASELINE])
    for name in metrics:
        names.metrics.add(class_name=_METRIC_CLASSES[name])
    if case.eval_config is not None:
        _add_user_config(config, case.eval_config)
    run = config_pb2.EvalRun(
        eval_config=config,
        version=version.VERSION,
        data_location=f"split {case.split}",
        file_format="tfrecord",
        model_locations={CANDIDATE: str(case.tflite), BASELINE: str(case.saved_model)},
    )
    return str(json_format.MessageToJson(run, sort_keys=True)) + "\n"


def _add_user_config(config: Any, asked: Any) -> None:
    """The stored EvalConfig is what was computed: the gate's part, and the user's."""
    config.metrics_specs.extend(asked.metrics_specs)
    config.slicing_specs.extend(spec for spec in asked.slicing_specs if spec not in config.slicing_specs)
    config.cross_slicing_specs.extend(asked.cross_slicing_specs)
    if asked.HasField("options"):
        config.options.CopyFrom(asked.options)
