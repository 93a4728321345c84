"""Quantization-aware training: a second model, fine-tuned from the trained float model with fake quantization in the loop.

Rules, in order: 1. The float model stays as it was; it is the baseline of the gate, because a fake-quantized baseline would make the ratio
1 by construction. What is fine-tuned is a copy, equalized first unless the config says otherwise. 2. The second SavedModel lies beside the
first, under the same names of inputs and outputs. 3. Both, and the .tflite that comes out, are scored on the same examples, which are never
the holdout: the fake-quantized score alone has been wrong by points, so it decides nothing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from edgeproof_edge.answers import answered_classes, named_inputs
from edgeproof_edge.errors import ModelFileError
from edgeproof_edge.flatbuffer import inspect
from edgeproof_edge.interpreter import TFLiteModel
from edgeproof_edge.progress import progress
from numpy.typing import NDArray

from components.data.examples import explained_data_errors, read_batches
from components.errors import ModelError
from components.modules.user_module import load_module
from components.repair.diagnosis import MAX_CHANNEL_RATIO
from components.repair.record import change_facts, rounded
from components.saved_models.saved_model import EDGE_SIGNATURE, QAT_FOLDER
from components.tflite_converter.qat_conversion import convert_qat
from components.trainer.contract import default_loss, gives_probabilities
from components.trainer.epoch_log import epoch_reporter
from components.trainer.equalization import Equalization, equalized
from components.trainer.export import export
from components.trainer.fake_quantization import NUM_RANGE_BATCHES, fake_quantized, measure_ranges
from components.trainer.qat_report import EqualizationFacts, Imbalance, QatReport, Score, write_report
from components.trainer.spec import QatSpec, TrainingSpec
from components.trainer.training import COSINE, cosine_rate, dataset


def fine_tune_and_export(
    model: Any, spec: TrainingSpec, train_files: Sequence[str], validation_files: Sequence[str], artifact: Path
) -> QatReport:
    """Fine-tunes, exports, converts and scores.

    Args:
        model: The trained float model.
        spec: With ``qat`` set.
        train_files: TFRecord files of the train split.
        validation_files: TFRecord files that all three models are scored on; never the holdout.
        artifact: Directory of the Model artifact; ``Format-QAT`` and ``qat_report.json`` are written into it.

    Raises:
        ModelError: Fine-tuning ended in NaN.
        ConversionError: TensorFlow cannot convert the fine-tuned model.
    """
    assert spec.qat is not None
    started = time.perf_counter()
    equalization = _equalized(model, spec, train_files) if spec.qat.equalize else None
    start = model if equalization is None else equalization.model
    quantized = fine_tune(start, spec, spec.qat, train_files, validation_files)
    directory = artifact / QAT_FOLDER
    export(quantized, directory, spec.examples, names_of=model)
    tflite = convert_qat(directory, EDGE_SIGNATURE)
    seconds = time.perf_counter() - started
    facts = None if equalization is None else equalization_facts(equalization)
    report = _report(model, quantized, tflite, spec, spec.qat, validation_files, seconds, facts)
    write_report(report, artifact)
    progress.info("%s", report.sentence)
    return report


def _equalized(model: Any, spec: TrainingSpec, train_files: Sequence[str]) -> Equalization:
    """A copy whose channels have like ranges, measured on as many batches as fine-tuning takes its own from."""
    train = dataset(spec, train_files, model, is_training=True).take(NUM_RANGE_BATCHES)
    with explained_data_errors(spec.examples, train_files):
        equalization = equalized(model, train.map(lambda inputs, _: inputs))
    progress.info("%s", equalization_facts(equalization).sentence)
    return equalization


def equalization_facts(equalization: Equalization) -> EqualizationFacts:
    """What goes into the report."""
    left = {layer: figure for layer, figure in equalization.after.items() if figure > MAX_CHANNEL_RATIO}
    return EqualizationFacts(
        num_layers=equalization.num_layers,
        changes=change_facts(equalization.changes),
        worst_before=_worst(equalization.before),
        worst_after=_worst(equalization.after),
        left=tuple(Imbalance(layer=layer, figure=rounded(figure)) for layer, figure in left.items()),
        largest_difference=equalization.largest_difference,
        skipped=equalization.skipped,
    )


def _worst(imbalances: dict[str, float]) -> Imbalance | None:
    if not imbalances:
        return None
    layer = max(imbalances, key=imbalances.__getitem__)
    return Imbalance(layer=layer, figure=rounded(imbalances[layer]))


def fine_tune(
    model: Any, spec: TrainingSpec, qat: QatSpec, train_files: Sequence[str], validation_files: Sequence[str]
) -> Any:
    """A fake-quantized copy of ``model``, trained further.

    Raises:
        ModelError: The loss became NaN.
    """
    import tf_keras as keras

    assert spec.module is not None
    keras.utils.set_random_seed(spec.seed)
    quantized = fake_quantized(model)
    train = dataset(spec, train_files, model, is_training=True)
    with explained_data_errors(spec.examples, train_files):
        measure_ranges(quantized, (inputs for inputs, _ in train.take(NUM_RANGE_BATCHES)))
        loss = getattr(load_module(spec.module), "loss", None) or default_loss(model)
        quantized.compile(keras.optimizers.Adam(qat.learning_rate), loss=loss, metrics=["accuracy"])
        history = quantized.fit(
            train,
            validation_data=dataset(spec, validation_files, model, is_training=False),
            epochs=qat.epochs,
            verbose=0,
            callbacks=_callbacks(spec, qat),
        )
    if len(history.epoch) < qat.epochs:
        raise ModelError(
            f"the loss of quantization-aware training became NaN in epoch {len(history.epoch)}; "
            f"lower train.qat.learning_rate (now {qat.learning_rate})."
        )
    return quantized


def _callbacks(spec: TrainingSpec, qat: QatSpec) -> list[Any]:
    import tf_keras as keras

    callbacks = [epoch_reporter(qat.epochs, "qat epoch"), keras.callbacks.TerminateOnNaN()]
    if spec.learning_rate_decay == COSINE:
        callbacks.append(
            keras.callbacks.LearningRateScheduler(lambda epoch: cosine_rate(qat.learning_rate, epoch, qat.epochs))
        )
    return callbacks


def _report(
    model: Any,
    quantized: Any,
    tflite: bytes,
    spec: TrainingSpec,
    qat: QatSpec,
    validation_files: Sequence[str],
    seconds: float,
    equalization: EqualizationFacts | None,
) -> QatReport:
    runnable, problem = load_if_it_runs(tflite)
    scores = _scores(model, quantized, runnable, spec, validation_files)
    inspection = inspect(tflite)
    return QatReport(
        float_model=scores[0],
        fake_quantized=scores[1],
        tflite=scores[2] if runnable is not None else None,
        tflite_problem=problem,
        tflite_sha256=inspection.sha256,
        tflite_size_bytes=inspection.size_bytes,
        float_operators=inspection.float_operators,
        equalization=equalization,
        epochs=qat.epochs,
        learning_rate=qat.learning_rate,
        seed=spec.seed,
        seconds=round(seconds, 3),
    )


def load_if_it_runs(tflite: bytes) -> tuple[TFLiteModel | None, str]:
    """The model, or why it does not run: channels that differ a thousandfold can ask for scales that no kernel has.

    The float model is sound then, and the converter may find another way.
    """
    try:
        return TFLiteModel.load(tflite), ""
    except ModelFileError as error:
        return None, str(error)


def _scores(
    model: Any, quantized: Any, tflite: TFLiteModel | None, spec: TrainingSpec, files: Sequence[str]
) -> tuple[Score, Score, Score]:
    """Right answers of the float model, of its fake-quantized copy and of the .tflite, over the same examples."""
    num_examples, num_correct = 0, [0, 0, 0]
    for batch in read_batches(files, spec.examples, spec.batch_size):
        inputs = _keras_inputs(batch.inputs, model)
        outputs = [model.predict_on_batch(inputs), quantized.predict_on_batch(inputs)]
        if tflite is not None:
            outputs.append(next(iter(tflite.predict(_tflite_inputs(batch.inputs, tflite)).values())))
        num_examples += len(batch.labels)
        for position, output in enumerate(outputs):
            num_correct[position] += _num_correct(np.asarray(output), batch.labels, gives_probabilities(model))
    of_float, of_quantized, of_tflite = (Score(num_examples=num_examples, num_correct=right) for right in num_correct)
    return of_float, of_quantized, of_tflite


def _keras_inputs(inputs: dict[str, NDArray[Any]], model: Any) -> Any:
    return next(iter(inputs.values())) if len(model.inputs) == 1 else {name: inputs[name] for name in model.input_names}


def _tflite_inputs(inputs: dict[str, NDArray[Any]], tflite: TFLiteModel) -> dict[str, NDArray[Any]]:
    """By the model's names; the only array fits the only input."""
    return named_inputs(inputs, [spec.name for spec in tflite.inputs])


def _num_correct(output: NDArray[Any], labels: NDArray[np.int64], is_probability: bool) -> int:
    """Rows whose largest score, or whose one unit against its middle, names the label; rows that are not finite never do."""
    scores = output.reshape(len(output), -1)
    threshold = 0.5 if is_probability else 0.0
    return int(np.count_nonzero((answered_classes(scores, threshold) == labels) & np.isfinite(scores).all(axis=1)))
