"""Puts fake quantization into a tf_keras model: the one door to tfmot, whose registry knows too few layers and whose ranges start wrong.

Three cures, each measured: 1. Layers that only rescale or combine (Rescaling, Multiply, ...) get a quantizer at their output, which is
all they need. A Rescaling with an offset becomes two layers, because its inner product would otherwise stay float on the device. 2.
tfmot starts every range at -6..6 and moves it by a thousandth per batch, so a short fine-tuning would train with ranges that fit no
tensor: they are measured on real batches first. 3. Layers that tfmot refuses, or silently leaves in float, are named before training.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from components.errors import ModelError

#: Layers that tfmot does not know and that need no quantized weights; with a quantizer at their output they are int8 on the device.
OUTPUT_ONLY_LAYERS = (
    "Rescaling",
    "Normalization",
    "Multiply",
    "Subtract",
    "Maximum",
    "Minimum",
    "Average",
    "PReLU",
    "Resizing",
)
#: Layer -> a pattern that quantizes. Everything here was tried with tfmot 0.8.1.
PATTERNS = {
    "Conv1D": "Reshape to [steps, 1, channels] and Conv2D with a kernel of (k, 1)",
    "SeparableConv1D": "Reshape to [steps, 1, channels] and SeparableConv2D with a kernel of (k, 1)",
    "MaxPooling1D": "Reshape to [steps, 1, channels] and MaxPooling2D with a pool of (k, 1)",
    "ELU": "ReLU or LeakyReLU",
    "ThresholdedReLU": "ReLU",
    "LayerNormalization": "BatchNormalization right after Conv2D",
    "GroupNormalization": "BatchNormalization right after Conv2D",
    "BatchNormalization": "BatchNormalization right after Conv2D or DepthwiseConv2D, before the activation",
    "Conv2DTranspose": "UpSampling2D and Conv2D",
    "GaussianNoise": "augment(inputs, labels) in the model module",
    "Lambda": "Keras layers that do the same",
    "TFOpLambda": "Keras layers instead of operators on tensors: Add() for +, Multiply() for *, Rescaling() for a constant",
    "SlicingOpLambda": "Cropping2D or Reshape instead of slices",
    "GRU": "Conv2D over time; recurrent layers keep their float ranges",
    "LSTM": "Conv2D over time; recurrent layers keep their float ranges",
    "SimpleRNN": "Conv2D over time; recurrent layers keep their float ranges",
    "MultiHeadAttention": "train.qat: off, and convert.recipe: auto",
    "Embedding": "train.qat: off, and convert.recipe: auto",
}
_NO_PATTERN = "a layer of Keras that tfmot knows, or train.qat: off"
#: Layers that BatchNormalization folds into; behind Dense it leaves FULLY_CONNECTED in float.
_FOLDING_LAYERS = ("Conv2D", "DepthwiseConv2D", "SeparableConv2D")
#: Activations inside a Conv2D or Dense that become one int8 operator with it.
_FUSED_ACTIVATIONS = ("linear", "relu", "softmax", "sigmoid", "tanh")
#: Activations of a layer Activation that tfmot quantizes.
_OWN_ACTIVATIONS = ("linear", "relu", "relu6", "swish", "gelu", "softmax", "sigmoid", "tanh")
#: Batches on which ranges are measured before fine-tuning: 512 images at the default batch size, as calibration would take.
NUM_RANGE_BATCHES = 8


def check_quantizable(model: Any, source: str) -> None:
    """Names every layer that cannot be trained with quantization in the loop, with the pattern that can.

    Args:
        model: A ``tf_keras.Model``, trained or not.
        source: The model's module, for the message.

    Raises:
        ModelError: There are such layers.
    """
    problems = list(_problems(model))
    if not problems:
        try:
            fake_quantized(model)
        except (ValueError, TypeError, RuntimeError, AttributeError, KeyError) as error:
            problems = [f"tfmot refuses the model: {_first_sentence(error)}"]
    if problems:
        listed = "\n".join(f"  {problem}" for problem in problems)
        raise ModelError(
            f"{source}: train.qat is on, but tfmot cannot quantize the model:\n{listed}\n"
            "Change the layers, or set train.qat: off; convert.recipe: auto then repairs what int8 loses."
        )


def _problems(model: Any) -> Iterator[str]:
    import tf_keras as keras

    if not isinstance(model, keras.Sequential) and not getattr(model, "_is_graph_network", False):
        yield "the model is a subclass of keras.Model: build it with the Functional API, keras.Model(inputs, outputs)"
        return
    for layer in model.layers:
        if not isinstance(layer, keras.layers.InputLayer):
            yield from _problems_of_layer(layer)


def _problems_of_layer(layer: Any) -> Iterator[str]:
    import tf_keras as keras

    kind, named = type(layer).__name__, f"layer {layer.name!r} ({type(layer).__name__})"
    if isinstance(layer, keras.Model):
        yield f"{named} is a model inside the model: call its layers one by one"
    elif kind == "BatchNormalization":
        yield from _problems_of_batch_norm(layer, named)
    elif kind == "Activation":
        if activation_of(layer) not in _OWN_ACTIVATIONS:
            yield f"{named} computes {activation_of(layer)}: use {', '.join(_OWN_ACTIVATIONS[1:])}"
    elif not _is_supported(layer):
        yield f"{named} is not supported: use {_pattern(kind)}"
    elif kind in (*_FOLDING_LAYERS, "Dense"):
        if activation_of(layer) not in _FUSED_ACTIVATIONS:
            yield f"{named} has activation {activation_of(layer)}: give it none, and put Activation, ReLU or LeakyReLU behind it"
        if any(rate != 1 for rate in getattr(layer, "dilation_rate", ())):
            yield f"{named} is dilated and would stay float: use a larger kernel, or strides"


def _is_supported(layer: Any) -> bool:
    kind = type(layer).__name__
    if kind in OUTPUT_ONLY_LAYERS or kind == "SeparableConv2D":
        return True
    return kind != "Conv2DTranspose" and bool(
        _registry().supports(layer)
    )  # its wrapper breaks when the model is exported


def _pattern(kind: str) -> str:
    is_augmentation = kind.startswith("Random")
    return PATTERNS["GaussianNoise"] if is_augmentation else PATTERNS.get(kind, _NO_PATTERN)


def _problems_of_batch_norm(layer: Any, named: str) -> Iterator[str]:
    before = layer.inbound_nodes[0].inbound_layers
    if isinstance(before, list) or type(before).__name__ not in _FOLDING_LAYERS:
        where = "several layers" if isinstance(before, list) else f"{before.name!r} ({type(before).__name__})"
        yield f"{named} stands behind {where}: use {PATTERNS['BatchNormalization']}"
    elif getattr(before, "activation", None) is not None and activation_of(before) != "linear":
        yield f"{named} stands behind the {activation_of(before)} of {before.name!r}: use {PATTERNS['BatchNormalization']}"


def activation_of(layer: Any) -> str:
    """Keras's name of the activation function inside a layer that has one."""
    return str(getattr(layer.activation, "__name__", layer.activation))


def _first_sentence(error: Exception) -> str:
    return " ".join(str(error).split()).split(". ")[0][:300]


def _registry() -> Any:
    from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import default_8bit_quantize_registry

    return default_8bit_quantize_registry.Default8BitQuantizeRegistry()


def fake_quantized(model: Any) -> Any:
    """A copy of ``model`` with fake quantization, its weights the model's own; the model itself stays as it is.

    Ranges still are tfmot's -6..6; see :func:`measure_ranges`.
    """
    import tf_keras as keras
    from tensorflow_model_optimization.python.core.quantization.keras import quantize

    divided = with_divided_rescaling(model)
    with quantize.quantize_scope():
        annotated = keras.models.clone_model(divided, clone_function=_annotated)
        annotated.set_weights(divided.get_weights())
        return quantize.quantize_apply(annotated)


def _annotated(layer: Any) -> Any:
    from tensorflow_model_optimization.python.core.quantization.keras import quantize
    from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import default_8bit_quantize_configs

    if type(layer).__name__ in OUTPUT_ONLY_LAYERS:
        return quantize.quantize_annotate_layer(layer, default_8bit_quantize_configs.Default8BitOutputQuantizeConfig())
    return quantize.quantize_annotate_layer(layer)


def with_divided_rescaling(model: Any) -> Any:
    """The same function, each Rescaling with an offset divided into a multiplying and an adding one.

    TFLite computes it as MUL and ADD; only between layers is there a place for the range of the product.
    """
    import tf_keras as keras

    if not any(_has_offset(layer) for layer in model.layers):
        return model
    functional = keras.Model(model.inputs, model.outputs)
    config = functional.get_config()
    config["layers"] = [part for entry in config["layers"] for part in _divided(entry)]
    divided = keras.Model.from_config(config)
    divided.set_weights(functional.get_weights())
    return divided


def _has_offset(layer: Any) -> bool:
    import numpy as np

    return type(layer).__name__ == "Rescaling" and bool(np.any(np.asarray(layer.offset)))


def _divided(entry: dict[str, Any]) -> list[dict[str, Any]]:
    """The layer as it is, or its scale under a new name and, behind it, its offset under the old name."""
    import numpy as np

    config = entry["config"]
    if entry["class_name"] != "Rescaling" or not np.any(np.asarray(config["offset"])):
        return [entry]
    product = f"{entry['name']}_scale"
    multiply = {**entry, "name": product, "config": {**config, "name": product, "offset": 0.0}}
    add = {**entry, "config": {**config, "scale": 1.0}, "inbound_nodes": [[[product, 0, 0, {}]]]}
    return [multiply, add]


def measure_ranges(model: Any, batches: Iterable[Any]) -> None:
    """Sets every range of a fake-quantized model: of activations to the smallest and largest value on ``batches``, of weights to theirs.

    Weights and BatchNorm statistics are left as they were.

    Args:
        model: What :func:`fake_quantized` returned.
        batches: Inputs as the model takes them, a batch at a time.
    """
    from tensorflow_model_optimization.python.core.quantization.keras import quantizers

    ranges = [(quantizer, list(pair.values())) for quantizer, pair in _ranges(model)]
    moving = [entry for entry in ranges if type(entry[0]) is quantizers.MovingAverageQuantizer]
    of_ranges = {id(variable) for _, variables in ranges for variable in variables}
    kept = [(variable, variable.numpy()) for variable in model.variables if id(variable) not in of_ranges]
    for quantizer, variables in moving:
        quantizer.__class__ = quantizers.AllValuesQuantizer  # same variables, but they take every batch whole
        for variable in variables:
            variable.assign(0.0)
    try:
        for inputs in batches:
            model(inputs, training=True)
    finally:
        for quantizer, _ in moving:
            quantizer.__class__ = quantizers.MovingAverageQuantizer
    for variable, value in kept:
        variable.assign(value)


def _ranges(model: Any) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Every quantizer of the model, with the pair of variables that holds its range."""
    for layer in model.layers:
        for _, quantizer, pair in getattr(layer, "_weight_vars", []):
            yield quantizer, pair
        for activation in getattr(layer, "_quantize_activations", []):
            for name in ("_pre_activation_vars", "_post_activation_vars"):
                if getattr(activation, name, None):
                    yield activation.quantizer, getattr(activation, name)
        for quantizer in getattr(layer, "_output_quantizers", None) or []:
            yield quantizer, layer._output_quantizer_vars
        if getattr(layer, "quantizer_vars", None):  # a QuantizeLayer, at an input
            yield layer.quantizer, layer.quantizer_vars
