"""Equalizes a trained Keras model before fake quantization: the same function, with channels of like range.

Training with quantization in the loop does not mend what int8 cannot tell apart: where channels differ a thousandfold, the small ones
are zero from the first step on, and no gradient brings them back. Rules: 1. The model given stays as it is. 2. Which channel gets which
gain is decided by the converter's equalization (repair/equalization), on the graph that layer_graph reads. 3. A BatchNorm stays one:
gain and offset of its output go into gamma and beta, an offset of its input into the moving mean, which is right in training too.
4. What would change the outputs by more than float32 rounds is dropped, and said.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from edgeproof_edge.errors import EdgeproofError
from numpy.typing import NDArray

from components.repair.equalization import (
    MAX_FLOAT_DIFFERENCE,
    Change,
    ChannelRanges,
    equalize_in_place,
    relative_difference,
)
from components.repair.equalization.linear_operators import LinearOperator
from components.trainer.layer_graph import LayerGraph, WeightLayer, from_operator, kernels_of, read_layers

Array = NDArray[Any]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Equalization:
    """What came of it.

    Attributes:
        model: A copy with other weights, or the given model where nothing was done.
        changes: What was done, by the layer whose output it was done for.
        num_layers: Layers with other weights, a BatchNorm counted with the layer it folds into.
        before: Imbalance of each layer's output: its range / that of its median channel.
        after: The same afterwards.
        largest_difference: Of the outputs before and after, relative to their spread; 0 where nothing was done.
        skipped: Why nothing was done; empty where something was.
    """

    model: Any
    changes: tuple[Change, ...] = ()
    num_layers: int = 0
    before: dict[str, float] = field(default_factory=dict)
    after: dict[str, float] = field(default_factory=dict)
    largest_difference: float = 0.0
    skipped: str = ""


def equalized(model: Any, batches: Iterable[Any]) -> Equalization:
    """Equalizes a copy of a model.

    Args:
        model: A Functional or Sequential ``tf_keras.Model``; it stays as it is.
        batches: Inputs as the model takes them, a batch at a time; ranges are measured on them, and the outputs compared. They are
            gone through twice.
    """
    try:
        return _equalized(model, batches)
    except (EdgeproofError, ArithmeticError, ValueError, TypeError, KeyError, IndexError) as error:
        _log.exception("equalization")  # it only helps: what it does not understand must not end a training
        return Equalization(model, skipped=f"it failed: {' '.join(str(error).split())[:200]}")


def _equalized(model: Any, batches: Iterable[Any]) -> Equalization:
    import tf_keras as keras

    functional = keras.Model(model.inputs, model.outputs)
    config = functional.get_config()
    twin = keras.Model.from_config(config)
    twin.set_weights(functional.get_weights())
    layers = read_layers(twin)
    ranges = measure_channels(twin, layers, batches)
    before = _imbalances(layers, ranges)
    if not all(np.isfinite(ranges.largest(index)).all() for index in layers.activations):
        return Equalization(model, skipped="the model computes numbers that are not finite")
    changes = equalize_in_place(layers.graph, ranges)
    weights = _changed_weights(layers, ranges)
    if not weights:
        return Equalization(
            model, before=before, after=before, skipped="no layer where a gain or an offset helps and can pass"
        )
    rescaled = _with_weights(twin, config, weights)
    difference = max((_difference(twin, rescaled, inputs) for inputs in batches), default=0.0)
    if not difference <= MAX_FLOAT_DIFFERENCE:
        reason = f"it would change the outputs by {difference:.2g} of their spread"
        return Equalization(model, before=before, after=before, skipped=reason)
    num_layers = sum(any(layer.name in weights for layer in entry.layers) for entry in layers.weight_layers)
    return Equalization(rescaled, changes, num_layers, before, _imbalances(layers, ranges), difference)


def measure_channels(model: Any, layers: LayerGraph, batches: Iterable[Any]) -> ChannelRanges:
    """The smallest and largest value per channel of what each layer gives in inference.

    Args:
        model: The model that ``layers`` was read from.
        layers: Its activations.
        batches: Inputs as the model takes them.
    """
    import tensorflow as tf
    import tf_keras as keras

    probe = keras.Model(model.inputs, list(layers.activations.values()))

    @tf.function
    def limits(inputs: Any) -> Any:
        """Reduced while they are computed, so that memory holds few activations of a batch at once."""
        values = tf.nest.flatten(probe(inputs, training=False))
        flat = [tf.reshape(tf.cast(value, tf.float64), [-1, tf.shape(value)[-1]]) for value in values]
        return [tf.reduce_min(value, 0) for value in flat], [tf.reduce_max(value, 0) for value in flat]

    lows: dict[int, Array] = {}
    highs: dict[int, Array] = {}
    for inputs in batches:
        for index, low, high in zip(layers.activations, *limits(inputs), strict=True):
            lows[index] = np.minimum(lows.get(index, np.inf), low.numpy())
            highs[index] = np.maximum(highs.get(index, -np.inf), high.numpy())
    return ChannelRanges(lows, highs)


def _imbalances(layers: LayerGraph, ranges: ChannelRanges) -> dict[str, float]:
    return {layers.graph.name(index): ranges.imbalance(index) for index in layers.activations if index in ranges}


def _difference(original: Any, rewritten: Any, inputs: Any) -> float:
    expected, answers = original.predict_on_batch(inputs), rewritten.predict_on_batch(inputs)
    pairs = zip(expected, answers, strict=True) if isinstance(expected, list) else [(expected, answers)]
    return max(relative_difference(np.asarray(before), np.asarray(after)) for before, after in pairs)


@dataclass(frozen=True)
class _Weights:
    """All weights of a layer, in Keras's order, and what its config has to say for it to have them."""

    values: tuple[Array, ...]
    config: dict[str, Any]


def _changed_weights(layers: LayerGraph, ranges: ChannelRanges) -> dict[str, _Weights]:
    """By the layer's name; what a layer with a BatchNorm cannot take itself stands under the BatchNorm's name."""
    changed: dict[str, _Weights] = {}
    for entry in layers.weight_layers:
        read = [LinearOperator.read(layers.graph, operator) for operator in entry.operators]
        operators = [operator for operator in read if operator is not None]
        if len(operators) == len(read):
            for layer, weights in _weights_of(layers, ranges, entry, operators):
                if not _are_the_same(weights, layer.get_weights()):
                    changed[layer.name] = weights
    return changed


def _weights_of(
    layers: LayerGraph, ranges: ChannelRanges, entry: WeightLayer, operators: Sequence[LinearOperator]
) -> list[tuple[Any, _Weights]]:
    layer, last = entry.layer, operators[-1]
    kernels = [
        from_operator(operator.kind, _constant(layers, operator.weights), kernel.shape)
        for operator, kernel in zip(operators, kernels_of(layer), strict=True)
    ]
    bias = None if last.bias is None else _constant(layers, last.bias)
    if entry.norm is None or last.output not in ranges:
        biases = () if bias is None else (bias,)
        return [(layer, _Weights((*kernels, *biases), {} if bias is None else {"use_bias": True}))]
    gain, offset = ranges.total_gain(last.output), ranges.total_offset(last.output)
    kernels[-1] = kernels[-1] / (gain.reshape(kernels[-1].shape[2:]) if last.kind == "DEPTHWISE_CONV_2D" else gain)
    own_bias = layer.bias.numpy() if layer.use_bias else np.zeros_like(gain)
    missing = np.zeros_like(gain) if bias is None else (bias + offset) / gain - own_bias
    changes = [(layer, _Weights((*kernels, *((own_bias,) if layer.use_bias else ())), {}))]
    if (gain != 1).any() or offset.any() or missing.any():
        changes.append((entry.norm, _norm_weights(entry.norm, gain, offset, missing)))
    return changes


def _norm_weights(norm: Any, gain: Array, offset: Array, missing: Array) -> _Weights:
    """A BatchNorm that gives ``gain`` times what it gave, less ``offset``, where its input is less by ``missing`` than it was."""
    gamma = np.ones_like(gain) if norm.gamma is None else norm.gamma.numpy()
    beta = np.zeros_like(gain) if norm.beta is None else norm.beta.numpy()
    values = (gamma * gain, beta * gain - offset, norm.moving_mean.numpy() - missing, norm.moving_variance.numpy())
    return _Weights(values, {"scale": True, "center": True})


def _constant(layers: LayerGraph, tensor: int) -> Array:
    values = layers.graph.constant(tensor)
    assert values is not None
    return values


def _are_the_same(weights: _Weights, before: Sequence[Array]) -> bool:
    return len(weights.values) == len(before) and all(
        np.allclose(new, old, rtol=1e-6, atol=0) for new, old in zip(weights.values, before, strict=True)
    )


def _with_weights(model: Any, config: dict[str, Any], weights: dict[str, _Weights]) -> Any:
    """A copy of the model in which those layers have those weights."""
    import tf_keras as keras

    def changed(entry: dict[str, Any]) -> dict[str, Any]:
        new = weights.get(entry["name"])
        return entry if new is None else {**entry, "config": {**entry["config"], **new.config}}

    copy = keras.Model.from_config({**config, "layers": [changed(entry) for entry in config["layers"]]})
    for layer in copy.layers:
        new = weights.get(layer.name)
        layer.set_weights(model.get_layer(layer.name).get_weights() if new is None else list(new.values))
    return copy
