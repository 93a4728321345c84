"""The model contract: what a model module must give, checked before any hour is spent on training.

``build_model(hyperparameters) -> tf_keras.Model`` is required, or ``build_model(hyperparameters, data)`` where it wants to know the train
split's statistics (:class:`components.data.data_summary.DataSummary`): Functional or Sequential, raw tensors in (an image as 0..255, its
scaling a layer of the graph), class probabilities or logits out; where labels are real values, one number in their own unit.
Optional are

- ``parse_example``;
- ``augment(inputs, labels) -> (inputs, labels)`` on batches of the train split: ``inputs`` is a dict of float32 (or as declared) tensors
  ``[batch, ...]`` by the name of the feature in the data (``"image"`` of an image folder, whatever the Keras input is called);
- ``loss`` (a Keras loss; labels are class numbers ``[batch]``, or real values) and ``optimizer(hyperparameters)``;
- ``callbacks(hyperparameters) -> list`` of ``tf_keras.callbacks.Callback``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from components.data.data_summary import DataSummary
from components.data.examples import ExampleSpec
from components.errors import ModelError
from components.modules.user_module import call_user_function, function_of, load_module, remembering_opened_files

_PROBABILITY_ACTIVATIONS = {"softmax", "sigmoid"}


def build_model(source: str, hyperparameters: Mapping[str, Any], data: DataSummary | None = None) -> Any:
    """Imports the module and builds its model.

    Args:
        source: The module.
        hyperparameters: The first argument of its ``build_model``.
        data: The second, where it takes one; None where no ExampleGen of ours made the examples.

    Raises:
        ModelError: No such module or function, it raised, or what it returned is not a tf_keras model.
    """
    import tf_keras as keras

    build = function_of(load_module(source), "build_model")
    if build is None:
        raise ModelError(f"model module {source} has no function build_model(hyperparameters).")
    arguments = (dict(hyperparameters), data) if _takes_data(build) else (dict(hyperparameters),)
    with remembering_opened_files(source):
        model = call_user_function(build, *arguments, what=f"{source}: build_model")
    if isinstance(model, keras.Model):
        return model
    if type(model).__module__.startswith("keras."):
        raise ModelError(
            f"{source}: build_model returned a Keras 3 model, which TensorFlow's int8 tools do not take. "
            "Build it with `import tf_keras as keras`; the layers have the same names."
        )
    raise ModelError(f"{source}: build_model must return a tf_keras.Model; found {type(model).__name__}.")


def _takes_data(build: Callable[..., Any]) -> bool:
    """Whether a second argument can be given by position."""
    try:
        inspect.signature(build).bind({}, None)
    except (TypeError, ValueError):
        return False
    return True


def check_model(model: Any, spec: ExampleSpec, num_classes: int, source: str) -> None:
    """Holds the model's input and output shapes against the data.

    Raises:
        ModelError: A shape does not fit; the message shows both.
    """
    if len(model.outputs) != 1:
        raise ModelError(
            f"{source}: the model has {len(model.outputs)} outputs; the gate compares one output"
            + (" of one unit." if spec.has_real_label else " of class scores.")
        )
    _check_units(tuple(model.outputs[0].shape[1:]), spec, num_classes, source)
    if spec.parse_module is None and spec.image is not None:
        _check_image_input(model, spec, source)


def _check_units(units: tuple[int, ...], spec: ExampleSpec, num_classes: int, source: str) -> None:
    if spec.has_real_label:
        if units != (1,):
            raise ModelError(
                f"{source}: the model's output has shape {units}, but data.label_type is value: {spec.label!r} is one real number per "
                "example. End the model with Dense(1)."
            )
        return
    is_binary = num_classes == 2 and units == (1,)
    if units != (num_classes,) and not is_binary:
        raise ModelError(f"{source}: the model's output has shape {units}, but the data has {num_classes} classes.")


def _check_image_input(model: Any, spec: ExampleSpec, source: str) -> None:
    assert spec.image is not None
    wanted = (spec.image.height, spec.image.width, spec.image.channels)
    if len(model.inputs) != 1:
        raise ModelError(f"{source}: the model has {len(model.inputs)} inputs, but an image folder gives one image.")
    shape = tuple(model.inputs[0].shape[1:])
    if len(shape) != len(wanted) or any(f not in (None, w) for f, w in zip(shape, wanted, strict=True)):
        raise ModelError(f"{source}: the model takes images of shape {shape}, but data.image says {wanted}.")


def gives_probabilities(model: Any) -> bool:
    """Whether the last layer ends in softmax or sigmoid; otherwise the output is taken for logits."""
    last = model.layers[-1]
    return type(last).__name__ == "Softmax" or last.get_config().get("activation") in _PROBABILITY_ACTIVATIONS


def default_loss(model: Any, *, has_real_label: bool = False) -> Any:
    """Mean squared error of real values; of classes the cross-entropy that fits: sparse categorical, or binary for one unit."""
    import tf_keras as keras

    if has_real_label:
        return keras.losses.MeanSquaredError()
    from_logits = not gives_probabilities(model)
    if model.outputs[0].shape[-1] == 1:
        return keras.losses.BinaryCrossentropy(from_logits=from_logits)
    return keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits)
