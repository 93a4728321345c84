"""Float training of a model module: seeded, shuffled, with progress per epoch; a killed one goes on where it was.

A training that went on has its own order of examples from there: it is as good as one that was not killed, but not equal to the bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from edgeproof_edge.progress import progress

from components.data import tf_data
from components.data.data_summary import DataSummary
from components.data.examples import batch_parser, examples_of, explained_data_errors
from components.data.records import require_whole
from components.errors import ModelError
from components.modules.user_module import call_user_function, function_of, load_module
from components.trainer.checkpoints import Checkpoints, Progress
from components.trainer.contract import build_model, check_model, default_loss
from components.trainer.epoch_log import EpochLog, epoch_reporter, write_summaries
from components.trainer.history import History
from components.trainer.spec import TrainingSpec

#: ``learning_rate_decay`` that lowers the rate from epoch to epoch.
COSINE = "cosine"
#: Serialized examples held for shuffling; small images of this number take some 10 MB.
SHUFFLE_BUFFER = 10_000


@dataclass(frozen=True)
class Places:
    """Where a training writes beside its model; None: nowhere.

    Attributes:
        checkpoints: Directory of what a killed training goes on from.
        summaries: Directory of TensorBoard's logs.
    """

    checkpoints: str | None = None
    summaries: str | None = None


NOWHERE = Places()


@dataclass(frozen=True)
class Trained:
    """A fitted ``tf_keras.Model`` and how it came about; ``checkpoints`` may be deleted once the model is written."""

    model: Any
    history: History
    checkpoints: Checkpoints | None = None


def train(
    spec: TrainingSpec,
    train_files: Sequence[str],
    validation_files: Sequence[str],
    places: Places = NOWHERE,
    examples_uri: str = "",
) -> Trained:
    """Builds, compiles and fits the model of ``spec.module``.

    Args:
        spec: The model's source and the knobs of training.
        train_files: TFRecord files of the train split.
        validation_files: TFRecord files that the accuracy (or error) per epoch is reported on; never the holdout.
        places: Where checkpoints and logs go.
        examples_uri: The Examples artifact, whose summary the module may ask for; by default the one around ``train_files``.

    Raises:
        ModelError: The module breaks the model contract, or training ended in NaN.
        DataError: A file of examples is cut or damaged, or an example does not fit the config.
    """
    import tf_keras as keras

    require_whole([*train_files, *validation_files])
    if spec.module is None:
        raise ModelError("the training spec names no model module.")
    keras.utils.set_random_seed(spec.seed)
    summary = DataSummary.read(examples_uri or examples_of(train_files[0]))
    model = build_model(spec.module, spec.hyperparameters, summary)
    check_model(model, spec.examples, spec.num_classes, spec.module)
    compile_model(model, spec)
    checkpoints = None if places.checkpoints is None else Checkpoints(places.checkpoints, model)
    reached = Progress() if checkpoints is None else checkpoints.resume()
    log = EpochLog(spec, model, reached, checkpoints)
    with explained_data_errors(spec.examples, train_files):
        class_weights = _class_weights(spec, train_files, model)
        _fit(model, spec, log, train_files, validation_files, class_weights)
    history = log.history(class_weights)
    if places.summaries is not None:
        write_summaries(history, places.summaries)
    return Trained(model, history, checkpoints)


def _fit(
    model: Any,
    spec: TrainingSpec,
    log: EpochLog,
    train_files: Sequence[str],
    validation_files: Sequence[str],
    class_weights: dict[int, float],
) -> None:
    """Trains the epochs that are left; an epoch's order of examples follows from the seed and from where training began."""
    import tf_keras as keras

    start = log.num_epochs
    if log.is_over:
        log.put_weights()
        return
    if start:
        progress.info("going on after epoch %d of %d", start, spec.epochs)
        keras.utils.set_random_seed(spec.seed + start)
    model.fit(
        dataset(replace(spec, seed=spec.seed + start), train_files, model, is_training=True),
        validation_data=dataset(spec, validation_files, model, is_training=False),
        initial_epoch=start,
        epochs=spec.epochs,
        class_weight=class_weights or None,
        verbose=0,
        callbacks=_callbacks(spec, log),
    )
    if log.lost_epoch is not None:
        raise ModelError(
            f"the loss became NaN in epoch {log.lost_epoch}; lower train.learning_rate (now {spec.learning_rate})."
        )
    log.put_weights()


def _class_weights(spec: TrainingSpec, files: Sequence[str], model: Any) -> dict[int, float]:
    """Weight by class number; empty where every example counts the same. A word (``balanced``) gives every class the same total.

    Raises:
        ModelError: A weight is given for a class that the data does not have.
    """
    if spec.class_weights is None:
        return {}
    if isinstance(spec.class_weights, str):
        labels = np.concatenate(
            [labels for _, labels in dataset(spec, files, model, is_training=False).as_numpy_iterator()]
        )
        counts = np.bincount(labels.reshape(-1).astype(np.int64), minlength=spec.num_classes)
        return {number: len(labels) / (spec.num_classes * max(1, int(count))) for number, count in enumerate(counts)}
    names = check_class_weights(spec)
    return {number: spec.class_weights.get(name, 1.0) for number, name in enumerate(names)}


def check_class_weights(spec: TrainingSpec) -> tuple[str, ...]:
    """The names of the classes.

    Raises:
        ModelError: A weight is given for a class that the data does not have.
    """
    names = spec.examples.class_names or tuple(str(number) for number in range(spec.num_classes))
    unknown = sorted(set(spec.class_weights) - set(names)) if isinstance(spec.class_weights, dict) else []
    if unknown:
        raise ModelError(
            f"train.class_weights names {', '.join(map(repr, unknown))}, but the classes are {', '.join(names[:20])}. Correct the names."
        )
    return names


def compile_model(model: Any, spec: TrainingSpec) -> None:
    """Gives the model the module's optimizer and loss, or those that fit it."""
    import tf_keras as keras

    assert spec.module is not None
    module = load_module(spec.module)
    make_optimizer = function_of(module, "optimizer")
    optimizer = make_optimizer(spec.hyperparameters) if make_optimizer else keras.optimizers.Adam(spec.learning_rate)
    has_real_label = spec.examples.has_real_label
    loss = getattr(module, "loss", None) or default_loss(model, has_real_label=has_real_label)
    model.compile(optimizer, loss=loss, metrics=["mae" if has_real_label else "accuracy"])


def dataset(spec: TrainingSpec, files: Sequence[str], model: Any, *, is_training: bool) -> Any:
    """Batches of ``(inputs, labels)`` as ``model`` takes them; shuffled and augmented for training."""
    assert spec.module is not None
    augment = function_of(load_module(spec.module), "augment") if is_training else None
    dataset = tf_data.records(files)
    if is_training:
        dataset = dataset.shuffle(SHUFFLE_BUFFER, seed=spec.seed)
    dataset = dataset.batch(spec.batch_size).map(batch_parser(spec.examples), num_parallel_calls=2)
    if augment is not None:
        dataset = dataset.map(augment, num_parallel_calls=2)
    return dataset.map(lambda inputs, labels: (model_inputs(inputs, model), labels)).prefetch(2)


def model_inputs(inputs: dict[str, Any], model: Any) -> Any:
    """The tensors in the shape Keras wants: the only one as it is, several by input name.

    Raises:
        ModelError: The model has inputs that the data does not give.
    """
    if len(model.inputs) == 1 and len(inputs) == 1:
        return next(iter(inputs.values()))
    missing = [name for name in model.input_names if name not in inputs]
    if missing:
        raise ModelError(
            f"the model's inputs {model.input_names} need features of those names; the data gives {sorted(inputs)}."
        )
    return {name: inputs[name] for name in model.input_names}


def _callbacks(spec: TrainingSpec, log: EpochLog) -> list[Any]:
    """The module's own come last, and first of all what ends a training that became NaN."""
    import tf_keras as keras

    callbacks = [keras.callbacks.TerminateOnNaN(), log.callback(), epoch_reporter(spec.epochs)]
    if spec.learning_rate_decay == COSINE and not _brings_optimizer(spec):
        callbacks.append(
            keras.callbacks.LearningRateScheduler(lambda epoch: cosine_rate(spec.learning_rate, epoch, spec.epochs))
        )
    assert spec.module is not None
    make_callbacks = function_of(load_module(spec.module), "callbacks")
    if make_callbacks is not None:
        callbacks += call_user_function(make_callbacks, spec.hyperparameters, what=f"{spec.module}: callbacks")
    return callbacks


def cosine_rate(peak: float, epoch: int, epochs: int) -> float:
    """Learning rate of an epoch (from 0), falling from ``peak`` along half a cosine wave (Loshchilov and Hutter 2016)."""
    return peak * (1 + math.cos(math.pi * epoch / epochs)) / 2


def _brings_optimizer(spec: TrainingSpec) -> bool:
    assert spec.module is not None
    return function_of(load_module(spec.module), "optimizer") is not None
