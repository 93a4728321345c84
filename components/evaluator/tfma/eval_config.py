"""The user's TFMA EvalConfig: metrics and plots that TFMA computes beside the gate's counts.

Rules, in order: 1. TFMA decides nothing: a threshold is refused, and the message names the gate's rule that decides. 2. The
models are ours, ``candidate`` and ``baseline``; what would tell TFMA how to score them is refused. 3. What would need the
whole holdout in memory is refused. 4. Metrics are made here, before anything is scored; a class that TFMA and Keras do not
know is a sentence. TFMA is imported inside the functions: only a config that asks for it pays for it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from edgeproof_edge.errors import InputError

from components.compat import skip_autograph_conversion
from components.evaluator.counting.slices import SliceSpec

CANDIDATE, BASELINE = "candidate", "baseline"
#: Rows made up to try metrics on.
_NUM_MADE_UP = 8
#: How messages call the file that holds the text, where the caller does not know its name.
KEY = "gate.eval_config"

#: Fields of ModelSpec that say what is so anyway; all others would change how TFMA scores, which it does not.
_MODEL_FIELDS = {"name", "is_baseline", "label_key"}
#: Fields that cannot be meant here, with what to do instead.
_REFUSED = {
    "MetricThreshold.value_threshold": "TFMA decides nothing here; the floor under the float model is "
    "gate.min_float_accuracy, and what the edge model keeps of it is gate.min_ratio",
    "MetricThreshold.change_threshold": "TFMA decides nothing here; what the edge model keeps of the float model is "
    "gate.min_ratio (by slice gate.slice_min_ratio, by class gate.class_min_ratio)",
    "MetricsSpec.query_key": "it would gather the whole holdout in memory; remove it",
    "MetricsSpec.example_weights": "examples are not weighted, so that the gate can count them; remove it",
    "MetricsSpec.output_names": "the gate compares one output; remove it",
    "MetricsSpec.output_weights": "the gate compares one output; remove it",
    "SlicingSpec.slice_keys_sql": "TFX 1.21 ignores it; use feature_keys and feature_values",
    "Options.disabled_outputs": "all results are written; remove it",
}


def read_eval_config(text: str, slices: Sequence[SliceSpec], label: str, where: str = KEY) -> Any:
    """Reads and completes an EvalConfig.

    Args:
        text: Text proto, as a ``.pbtxt`` file holds it.
        slices: The gate's slices; TFMA's metrics are cut so too where the text names no slices of its own.
        label: Name of the label feature, for a ``label_key`` to agree with.
        where: How messages call the text.

    Returns:
        ``config_pb2.EvalConfig`` with both models, every metric for both of them, and the whole holdout as first slice.

    Raises:
        InputError: The text is no EvalConfig, or asks for what the rules above refuse.
    """
    from tensorflow_model_analysis.proto import config_pb2

    config = _parse(text, where)
    for path, name in _fields(config):
        if name in _REFUSED:
            raise InputError(f"{where}: {path} is not taken: {_REFUSED[name]}.")
    _check_models(config, label, where)
    if not any(spec.metrics for spec in config.metrics_specs):
        raise InputError(f"{where} asks for no metric. Add metrics_specs, or remove the key.")
    del config.model_specs[:]
    config.model_specs.add(name=CANDIDATE)
    config.model_specs.add(name=BASELINE, is_baseline=True)
    for spec in config.metrics_specs:
        spec.model_names[:] = spec.model_names or [CANDIDATE, BASELINE]
    asked = [spec for spec in config.slicing_specs if spec.feature_keys or spec.feature_values]
    if not asked and not config.cross_slicing_specs:
        asked = [config_pb2.SlicingSpec(feature_keys=[spec.name]) for spec in slices]
    del config.slicing_specs[:]
    config.slicing_specs.extend([config_pb2.SlicingSpec(), *asked])
    return config


def _parse(text: str, where: str) -> Any:
    from google.protobuf import text_format
    from tensorflow_model_analysis.proto import config_pb2

    config = config_pb2.EvalConfig()
    try:
        text_format.Parse(text, config)
    except text_format.ParseError as error:
        reason = re.sub(r"^\d+:\d+\s*:\s*", "", " ".join(str(error).split())).rstrip(".")
        raise InputError(
            f"{where}, line {error.GetLine()}, column {error.GetColumn()}: {reason}. "
            "It takes a TFMA EvalConfig in protobuf's text format."
        ) from error
    return config


def _fields(message: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every field that is set, as its path and as ``Type.field``."""
    for field, value in message.ListFields():
        here = f"{path}.{field.name}" if path else field.name
        yield here, f"{field.containing_type.name}.{field.name}"
        if hasattr(value, "ListFields"):
            yield from _fields(value, here)
        elif hasattr(value, "items"):  # a map
            for key, item in value.items():
                if hasattr(item, "ListFields"):
                    yield from _fields(item, f"{here}[{key!r}]")
        elif not isinstance(value, (str, bytes)) and hasattr(value, "__len__"):  # repeated
            for number, item in enumerate(value):
                if hasattr(item, "ListFields"):
                    yield from _fields(item, f"{here}[{number}]")


def _check_models(config: Any, label: str, where: str) -> None:
    """Model specs may be there, as they are in a file that a stock Evaluator reads, and have to say what is so."""
    for spec in config.model_specs:
        extra = sorted({field.name for field, _ in spec.ListFields()} - _MODEL_FIELDS)
        if extra:
            raise InputError(
                f"{where}: model_specs sets {', '.join(extra)}, but Edgeproof scores both models itself; remove it."
            )
        if spec.name not in ("", CANDIDATE, BASELINE) or spec.is_baseline != (spec.name == BASELINE):
            raise InputError(
                f"{where}: model_specs names {spec.name!r}{' as baseline' * spec.is_baseline}; the models are "
                f"{CANDIDATE!r} (the .tflite file) and {BASELINE!r} (the float model, is_baseline: true). Remove "
                "model_specs."
            )
        if spec.label_key not in ("", label):
            raise InputError(
                f"{where}: label_key is {spec.label_key!r}, but the label that the gate reads is {label!r} (data.label)."
            )
    for spec in config.metrics_specs:
        unknown = sorted(set(spec.model_names) - {CANDIDATE, BASELINE})
        if unknown:
            raise InputError(f"{where}: model_names holds {unknown}; the models are {CANDIDATE!r} and {BASELINE!r}.")


def slicing_features(config: Any) -> tuple[str, ...]:
    """Names of the features and slicings that the EvalConfig cuts by, sorted."""
    specs = list(config.slicing_specs)
    for cross in config.cross_slicing_specs:
        specs += [cross.baseline_spec, *cross.slicing_specs]
    return tuple(sorted({name for spec in specs for name in (*spec.feature_keys, *spec.feature_values)}))


def metric_modules(text: str) -> tuple[str, ...]:
    """Modules that hold metrics of the user's own, sorted: code that the Evaluator runs."""
    modules = {metric.module for spec in _parse(text, KEY).metrics_specs for metric in spec.metrics}
    return tuple(sorted(name for name in modules if name and name.partition(".")[0] not in _LIBRARIES))


_LIBRARIES = {"tf_keras", "keras", "tensorflow", "tensorflow_model_analysis"}


def check_metrics(config: Any, where: str = KEY) -> None:
    """Makes every metric as TFMA will.

    Raises:
        InputError: A class is unknown, or its settings are none.
    """
    from tensorflow_model_analysis.metrics import metric_specs

    for metric in _metrics(config):
        try:
            metric_specs.metric_instance(metric)
        except (ImportError, AttributeError) as error:
            if not metric.module:
                raise InputError(_unknown_metric(metric.class_name, where)) from error
            raise InputError(
                f"{where}: metric {metric.class_name} cannot be taken from module {metric.module}: {error}. The module "
                "has to be importable where the pipeline runs."
            ) from error
        except Exception as error:  # whatever a metric's constructor has in store
            if "Unknown" in str(error):
                raise InputError(_unknown_metric(metric.class_name, where)) from error
            raise InputError(
                f"{where}: metric {metric.class_name} cannot be made: {first_line(error)}. Check its config."
            ) from error
    try:
        metric_specs.to_computations(list(config.metrics_specs), eval_config=config)
    except Exception as error:
        raise InputError(f"{where}: TFMA cannot compute its metrics_specs: {first_line(error)}.") from error


def _metrics(config: Any) -> Iterator[Any]:
    return (metric for spec in config.metrics_specs for metric in spec.metrics)


def _unknown_metric(name: str, where: str) -> str:
    import tf_keras as keras
    from tensorflow_model_analysis.metrics import metric_types

    known = set(metric_types.registered_metrics()) | {n for n in vars(keras.metrics) if n[:1].isupper()}
    close = difflib.get_close_matches(name, sorted(known), n=1)
    hint = f"did you mean {close[0]}?" if close else "it takes classes of tfma.metrics and tf_keras.metrics."
    return f"{where}: metric {name!r} is unknown; {hint} A class of your own needs its module."


def try_metrics(config: Any, extracts: Sequence[Any], where: str = KEY) -> None:
    """Computes every metric on a few rows, so that one that does not fit is a sentence and not a Beam traceback.

    Args:
        config: Of :func:`read_eval_config`.
        extracts: TFMA's extracts of a few examples.
        where: How messages call the config.

    Raises:
        InputError: A metric cannot be computed from these labels and predictions.
    """
    from tensorflow_model_analysis.proto import config_pb2

    skip_autograph_conversion()  # here, because every worker comes by: a Keras metric is traced in 0.1 s, not 0.7 s
    for spec in config.metrics_specs:
        for metric in spec.metrics:
            alone = config_pb2.MetricsSpec()
            alone.CopyFrom(spec)
            del alone.metrics[:]
            alone.metrics.add().CopyFrom(metric)
            try:
                with np.errstate(all="ignore"):  # a few rows divide by zero where a holdout does not
                    _compute(alone, config, extracts)
            except Exception as error:
                raise InputError(
                    f"{where}: metric {metric.class_name} does not fit the labels and outputs: {first_line(error)}. "
                    "Choose a metric for class indices and scores [classes] (or one unit), or set binarize or "
                    "aggregate."
                ) from error


def check_fit(config: Any, num_classes: int, where: str = KEY) -> None:
    """Tries the metrics on made-up outputs before there is a model; two classes may be one unit or two.

    Raises:
        InputError: A metric fits no model of so many classes.
    """
    widths = (num_classes, 1) if num_classes == 2 else (num_classes,)
    problems = []
    for width in widths:
        try:
            return try_metrics(config, _made_up_extracts(num_classes, width), where)
        except InputError as error:
            problems.append(error)
    raise problems[0]


def _made_up_extracts(num_classes: int, width: int) -> list[dict[str, Any]]:
    """Every label once (of the first few), with an undecided output ``[width]``."""
    from tensorflow_model_analysis import constants
    from tensorflow_model_analysis.slicer import slicer_lib

    output = np.full(width, 1 / num_classes)
    return [
        {
            constants.LABELS_KEY: np.array([label]),
            constants.PREDICTIONS_KEY: {BASELINE: output, CANDIDATE: output},
            constants.FEATURES_KEY: {},
            constants.SLICE_KEY_TYPES_KEY: slicer_lib.slice_keys_to_numpy_array([()]),
        }
        for label in range(min(num_classes, _NUM_MADE_UP))
    ]


def _compute(spec: Any, config: Any, extracts: Sequence[Any]) -> None:
    """What TFMA's evaluator does with one metric, without Beam: the same preprocessing and the same combining."""
    from tensorflow_model_analysis.evaluators import metrics_plots_and_validations_evaluator as evaluator
    from tensorflow_model_analysis.metrics import metric_specs

    computations = evaluator._filter_and_separate_computations(metric_specs.to_computations([spec], eval_config=config))
    inputs = evaluator._PreprocessorDoFn(computations.non_derived_computations)
    inputs.setup()
    combine = evaluator._ComputationsCombineFn(computations=computations.non_derived_computations)
    combine.setup()
    accumulator = combine.create_accumulator()
    for extract in extracts:
        for element in inputs.process(extract):
            accumulator = combine.add_input(accumulator, element)
    output = combine.extract_output(accumulator)
    combine.teardown()
    inputs.teardown()
    for derived in computations.derived_computations:
        output.update(derived.result(output))


def first_line(error: BaseException) -> str:
    """The reason behind an error: the first line of the innermost cause, without its full stop."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return " ".join(lines[0].split())[:300].rstrip(".")
