"""Float training of a model module: seeded, shuffled, with progress per epoch."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

from components import tf_data
from components.errors import ModelError
from components.examples import batch_parser, explained_data_errors
from components.trainer.contract import build_model, check_model, default_loss
from components.trainer.spec import TrainingSpec
from components.user_module import function_of, load_module

progress = logging.getLogger("edgeproof.progress")

#: ``learning_rate_decay`` that lowers the rate from epoch to epoch.
COSINE = "cosine"
#: Serialized examples held for shuffling; small images of this number take some 10 MB.
SHUFFLE_BUFFER = 10_000


def train(spec: TrainingSpec, train_files: Sequence[str], validation_files: Sequence[str]) -> Any:
    """Builds, compiles and fits the model of ``spec.module``.

    Args:
        spec: The model's source and the knobs of training.
        train_files: TFRecord files of the train split.
        validation_files: TFRecord files that the accuracy (or error) per epoch is reported on; never the holdout.

    Returns:
        The fitted ``tf_keras.Model``.

    Raises:
        ModelError: The module breaks the model contract, or training ended in NaN.
        DataError: An example does not fit the config.
    """
    import tf_keras as keras

    if spec.module is None:
        raise ModelError("the training spec names no model module.")
    keras.utils.set_random_seed(spec.seed)
    model = build_model(spec.module, spec.hyperparameters)
    check_model(model, spec.examples, spec.num_classes, spec.module)
    _compile(model, spec)
    with explained_data_errors(spec.examples, train_files):
        history = model.fit(
            dataset(spec, train_files, model, is_training=True),
            validation_data=dataset(spec, validation_files, model, is_training=False),
            epochs=spec.epochs,
            verbose=0,
            callbacks=_callbacks(spec),
        )
    if len(history.epoch) < spec.epochs:
        raise ModelError(
            f"the loss became NaN in epoch {len(history.epoch)}; lower train.learning_rate (now {spec.learning_rate})."
        )
    return model


def _compile(model: Any, spec: TrainingSpec) -> None:
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


def _callbacks(spec: TrainingSpec) -> list[Any]:
    import tf_keras as keras

    callbacks = [epoch_reporter(spec.epochs), keras.callbacks.TerminateOnNaN()]
    if spec.learning_rate_decay == COSINE and not _brings_optimizer(spec):
        callbacks.append(
            keras.callbacks.LearningRateScheduler(lambda epoch: cosine_rate(spec.learning_rate, epoch, spec.epochs))
        )
    return callbacks


def cosine_rate(peak: float, epoch: int, epochs: int) -> float:
    """Learning rate of an epoch (from 0), falling from ``peak`` along half a cosine wave (Loshchilov and Hutter 2016)."""
    return peak * (1 + math.cos(math.pi * epoch / epochs)) / 2


def _brings_optimizer(spec: TrainingSpec) -> bool:
    assert spec.module is not None
    return function_of(load_module(spec.module), "optimizer") is not None


def epoch_reporter(epochs: int, what: str = "epoch") -> Any:
    """A Keras callback that says every epoch's figures."""
    import tf_keras as keras

    def report(epoch: int, logs: dict[str, float]) -> None:
        figures = "  ".join(f"{name} {value:.4f}" for name, value in logs.items() if name != "lr")
        progress.info("%s %d/%d  %s", what, epoch + 1, epochs, figures, extra={"step": (epoch + 1, epochs)})

    return keras.callbacks.LambdaCallback(on_epoch_end=report)
