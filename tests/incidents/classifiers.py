"""Classifiers that plain int8 breaks: each generator trains or rebuilds a tiny model and gives the data it meets.

Several incidents are one trained model whose function was kept while its ranges were made awkward, in ways that BatchNorm
folding, sensors and habits of recording do in the field. Trained models are kept for the life of the process.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.incidents.data import (
    NUM_TRAIN,
    Array,
    Incident,
    Parts,
    Rows,
    clusters,
    digit_images,
    digit_vectors,
    photographed,
)

SEED = 7
BATCH_SIZE = 100
#: Every so many frames of a pool carry a fault; the first one stands at half of it. 0.7 % of the rows.
FAULT_EVERY = 150


def fit(model: Any, x: Any, y: Any, loss: Any, epochs: int, num_rows: int = NUM_TRAIN) -> None:
    """Trains with Adam and a rate that falls to zero; a few seconds."""
    import tf_keras as keras

    from components.compat import skip_autograph_conversion

    skip_autograph_conversion()
    rate = keras.optimizers.schedules.CosineDecay(4e-3, epochs * -(-num_rows // BATCH_SIZE))
    model.compile(keras.optimizers.Adam(rate), loss)
    model.fit(x, y, batch_size=BATCH_SIZE, epochs=epochs, verbose=0)


def save(model: Any, directory: Path) -> Path:
    """Exports the raw-tensor signature ``edge``: inputs and outputs by the names the model gives them."""
    import tensorflow as tf

    def specs() -> list[Any]:
        tensors = zip(model.input_names, model.inputs, strict=True)
        return [tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype, name=name) for name, tensor in tensors]

    @tf.function(input_signature=specs())
    def edge(*tensors: Any) -> dict[str, Any]:
        outputs = model(list(tensors) if len(tensors) > 1 else tensors[0], training=False)
        return outputs if isinstance(outputs, dict) else {model.output_names[0]: outputs}

    module = tf.Module()
    module.variables_of_model = model.variables
    tf.saved_model.save(module, str(directory), signatures={"edge": edge})
    return directory


def start(name: str) -> None:
    """Seeds whatever a new model draws."""
    import tf_keras as keras

    keras.backend.clear_session()
    keras.utils.set_random_seed(SEED + sum(name.encode()))


def multiply_outputs(layer: Any, gains: Array) -> None:
    """Multiplies the channels a layer with a bias or a BatchNorm gives."""
    kernel, *rest = layer.get_weights()
    if type(layer).__name__ == "BatchNormalization":
        layer.set_weights([kernel * gains, rest[0] * gains, *rest[1:]])
    else:
        layer.set_weights([kernel * gains, *(bias * gains for bias in rest)])


def divide_inputs(layer: Any, gains: Array) -> None:
    """Divides the channels a convolution, a depthwise convolution or a Dense layer reads, so that its result stays."""
    kernel, *rest = layer.get_weights()
    layer.set_weights([kernel / gains[:, None], *rest])


def spread(num_channels: int, low: float, high: float, seed: int = SEED) -> Array:
    """Gains from ``low`` to ``high`` in equal ratios, in random order."""
    return np.random.default_rng(seed).permutation(np.geomspace(low, high, num_channels)).astype(np.float32)


def classifier(name: str, directory: Path, model: Any, pool: Rows, holdout: Rows, cause: str) -> Incident:
    """Exports a model of one input and one output and describes it."""
    (at_input,), (at_output,) = model.input_names, model.output_names
    saved = save(model, directory / name)
    return Incident(name, saved, {at_input: pool.x}, pool.y, {at_input: holdout.x}, {at_output: holdout.y}, cause)


# --- a depthwise-separable net, trained once: channel gains, fault codes, and both


def _depthwise_net() -> Any:
    import tf_keras as keras
    from tf_keras import layers

    def block(x: Any, layer: Any) -> Any:
        return layers.ReLU()(layers.BatchNormalization(momentum=0.9, name=f"{layer.name}_norm")(layer(x)))

    image = keras.Input((16, 16, 1), name="image")
    x = block(image, layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False, name="stem"))
    x = block(x, layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depth1"))
    x = block(x, layers.Conv2D(32, 1, use_bias=False, name="point1"))
    x = block(x, layers.DepthwiseConv2D(3, strides=2, padding="same", use_bias=False, name="depth2"))
    x = block(x, layers.Conv2D(64, 1, use_bias=False, name="point2"))
    x = layers.Flatten()(layers.AveragePooling2D(2)(x))
    return keras.Model(image, layers.Dense(10, activation="softmax", name="digit")(x))


@lru_cache(maxsize=1)
def _depthwise_weights() -> list[Array]:
    start("depthwise")
    model = _depthwise_net()
    rows = digit_images().train
    fit(model, rows.x, rows.y, "sparse_categorical_crossentropy", epochs=10)
    return list(model.get_weights())


def _trained_depthwise_net() -> Any:
    start("depthwise")
    model = _depthwise_net()
    model.set_weights(_depthwise_weights())
    return model


def _make_channels_uneven(model: Any) -> None:
    """Gains of 1e-2 to 1e2 per channel behind three BatchNorms, taken back by the layer that follows."""
    for seed, (norm, reader) in enumerate((("stem", "depth1"), ("point1", "depth2"), ("depth2", "point2"))):
        gains = spread(model.get_layer(f"{norm}_norm").gamma.shape[0], 1e-2, 1e2, seed)
        multiply_outputs(model.get_layer(f"{norm}_norm"), gains)
        divide_inputs(model.get_layer(reader), gains)


def _with_dead_frames(rows: Rows, code: float) -> Rows:
    """Whole frames of a fault code, as a sensor gives when it is restarted."""
    x = rows.x.copy()
    x[FAULT_EVERY // 2 :: FAULT_EVERY] = code
    return Rows(x, rows.y)


def _with_dead_pixels(rows: Rows, code: float) -> Rows:
    """Two pixels of a fault code in some frames."""
    x, random = rows.x.copy(), np.random.default_rng(41)
    for row in range(FAULT_EVERY // 2, len(x), FAULT_EVERY):
        x[row].reshape(-1)[random.integers(0, x[row].size, 2)] = code
    return Rows(x, rows.y)


def imbalanced_net() -> Any:
    """The trained net of the incident ``imbalance``, in Keras."""
    model = _trained_depthwise_net()
    _make_channels_uneven(model)
    return model


def imbalance(directory: Path) -> Incident:
    """Channels of very different size behind folded BatchNorms."""
    model, digits = imbalanced_net(), digit_images()
    cause = "channel gains of 1e-2..1e2 behind folded BatchNorms"
    return classifier("imbalance", directory, model, digits.pool, digits.holdout, cause)


def fault_frames(directory: Path) -> Incident:
    """Whole frames of -999 in the pool."""
    digits = digit_images()
    pool = _with_dead_frames(digits.pool, -999.0)
    cause = "0.7 % of the pool's frames are -999 in every pixel"
    return classifier("fault_frames", directory, _trained_depthwise_net(), pool, digits.holdout, cause)


def fault_pixels(directory: Path) -> Incident:
    """A few pixels of 9999 in the pool."""
    digits = digit_images()
    pool = _with_dead_pixels(digits.pool, 9999.0)
    cause = "0.7 % of the pool's frames hold two pixels of 9999"
    return classifier("fault_pixels", directory, _trained_depthwise_net(), pool, digits.holdout, cause)


def faults_and_imbalance(directory: Path) -> Incident:
    """Dead pixels in the pool of a model with uneven channels."""
    model, digits = imbalanced_net(), digit_images()
    pool = _with_dead_pixels(digits.pool, -999.0)
    cause = "0.7 % of the pool's frames hold two pixels of -999, and channel gains of 1e-2..1e2"
    return classifier("faults_and_imbalance", directory, model, pool, digits.holdout, cause)


# --- two convolution branches, trained once by day and night: a domain missing from the head, and uneven branches too


def _two_branch_net() -> Any:
    import tf_keras as keras
    from tf_keras import layers

    def block(x: Any, filters: int, size: int, strides: int, name: str) -> Any:
        x = layers.Conv2D(filters, size, strides=strides, padding="same", use_bias=False, name=name)(x)
        return layers.ReLU()(layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x))

    image = keras.Input((16, 16, 1), name="image")
    joined = layers.Concatenate()([block(image, 16, 3, 2, "fine"), block(image, 16, 5, 2, "coarse")])
    x = block(joined, 24, 1, 1, "mix")
    x = block(x, 32, 3, 2, "deep")
    x = block(x, 32, 3, 1, "deeper")
    x = layers.Flatten()(layers.AveragePooling2D(2)(x))
    return keras.Model(image, layers.Dense(10, activation="softmax", name="digit")(x))


def _day_and_night() -> Parts:
    """Train and holdout mix both; the pool was recorded from noon on, so its first 600 of 1,500 frames are day."""

    def half(rows: Rows, seed: int) -> Rows:
        return Rows(photographed(rows.x, np.random.default_rng(seed).random(len(rows.y)) < 0.5), rows.y)

    digits = digit_images()
    pool = Rows(photographed(digits.pool.x, np.arange(len(digits.pool.y)) >= 600), digits.pool.y)
    return Parts(half(digits.train, 51), pool, half(digits.holdout, 52))


@lru_cache(maxsize=1)
def _two_branch_weights() -> list[Array]:
    start("two branches")
    model = _two_branch_net()
    rows = _day_and_night().train
    fit(model, rows.x, rows.y, "sparse_categorical_crossentropy", epochs=10)
    return list(model.get_weights())


def _trained_two_branch_net() -> Any:
    start("two branches")
    model = _two_branch_net()
    model.set_weights(_two_branch_weights())
    return model


def _largest(model: Any, layer: str, x: Array) -> float:
    """The largest value a layer gives."""
    import tf_keras as keras

    return float(np.max(keras.Model(model.input, model.get_layer(layer).output)(x[:500], training=False)))


def dark(directory: Path) -> Incident:
    """A pool that begins with hours of day."""
    parts = _day_and_night()
    cause = "the pool's first 600 frames are day; half of the field is night"
    return classifier("dark", directory, _trained_two_branch_net(), parts.pool, parts.holdout, cause)


def dark_and_concat(directory: Path) -> Incident:
    """A pool that begins with hours of day, of a model whose branches have very different scales."""
    model, parts = _trained_two_branch_net(), _day_and_night()
    sizes = [_largest(model, f"{name}_norm", parts.train.x) for name in ("fine", "coarse")]
    gains = [np.full(16, scale / size, np.float32) for scale, size in zip((10.0, 1e4), sizes, strict=True)]
    for name, gain in zip(("fine", "coarse"), gains, strict=True):
        multiply_outputs(model.get_layer(f"{name}_norm"), gain)
    divide_inputs(model.get_layer("mix"), np.concatenate(gains))
    cause = "branches of 10 and 1e4 joined, and the pool's first 600 frames are day"
    return classifier("dark_and_concat", directory, model, parts.pool, parts.holdout, cause)


# --- a dense net over two branches of different scales


def concat(directory: Path) -> Incident:
    """Two dense branches, one a thousand times larger than the other, joined into one tensor."""
    import tf_keras as keras
    from tf_keras import layers

    start("concat")
    digits = digit_vectors()
    vector = keras.Input((64,), name="vector")
    small = layers.Dense(48, activation="relu", name="small")(vector)
    large = layers.Dense(48, activation="relu", name="large")(vector)
    x = layers.Dense(48, activation="relu", name="mix")(layers.Concatenate()([small, large]))
    model = keras.Model(vector, layers.Dense(10, activation="softmax", name="digit")(x))
    fit(model, digits.train.x, digits.train.y, "sparse_categorical_crossentropy", epochs=12)
    gains = [
        np.full(48, scale / _largest(model, name, digits.train.x), np.float32)
        for name, scale in (("small", 10.0), ("large", 1e4))
    ]
    multiply_outputs(model.get_layer("small"), gains[0])
    multiply_outputs(model.get_layer("large"), gains[1])
    divide_inputs(model.get_layer("mix"), np.concatenate(gains))
    cause = "branches of 10 and 1e4 joined in one tensor"
    return classifier("concat", directory, model, digits.pool, digits.holdout, cause)


# --- a residual stream


def residual_net() -> Any:
    """The trained net of the incident ``residual``, in Keras."""
    import tf_keras as keras
    from tf_keras import layers

    start("residual")
    digits, num_channels = digit_images(), 16
    image = keras.Input((16, 16, 1), name="image")
    x = layers.Conv2D(24, 5, strides=2, padding="same", activation="relu", name="stem")(image)
    stream = layers.Conv2D(num_channels, 1, name="enter")(x)
    for block in ("a", "b"):
        x = layers.Conv2D(40, 1, activation="relu", name=f"{block}_expand")(stream)
        x = layers.DepthwiseConv2D(3, padding="same", activation="relu", name=f"{block}_depth")(x)
        stream = layers.Add()([stream, layers.Conv2D(num_channels, 1, name=f"{block}_project")(x)])
    x = layers.Conv2D(64, 1, activation="relu", name="leave")(stream)
    x = layers.Flatten()(layers.AveragePooling2D(2)(x))
    model = keras.Model(image, layers.Dense(10, activation="softmax", name="digit")(x))
    fit(model, digits.train.x, digits.train.y, "sparse_categorical_crossentropy", epochs=9)
    offsets = 900.0 * np.random.default_rng(SEED).choice([-1.0, 1.0], num_channels)
    _shift(model.get_layer("enter"), offsets)
    for reader in ("a_expand", "b_expand", "leave"):
        kernel = model.get_layer(reader).get_weights()[0]
        _shift(model.get_layer(reader), -offsets @ kernel[0, 0].astype(np.float64))
    return model


def residual(directory: Path) -> Incident:
    """Inverted bottlenecks along a stream whose channels carry constants of +-900."""
    model, digits = residual_net(), digit_images()
    cause = "constants of +-900 in the channels of a residual stream"
    return classifier("residual", directory, model, digits.pool, digits.holdout, cause)


def _shift(layer: Any, offsets: NDArray[np.float64]) -> None:
    kernel, bias = layer.get_weights()
    layer.set_weights([kernel, (bias + offsets).astype(np.float32)])


# --- a table


def tabular(directory: Path) -> Incident:
    """Raw physical columns, from 1e-3 to 1e5, in one input; the graph standardizes them."""
    import tf_keras as keras
    from tf_keras import layers

    start("tabular")
    scales = np.random.default_rng(SEED).permutation(np.geomspace(1e-3, 1e5, 12))

    def physical(num_rows: int, seed: int) -> Rows:
        rows = clusters(num_rows, 12, 6, seed)
        return Rows(((rows.x + 1.0) * scales).astype(np.float32), rows.y)

    parts = Parts(physical(4000, 61), physical(1500, 62), physical(2000, 63))
    readings = keras.Input((12,), name="readings")
    standardize = layers.Normalization(mean=parts.train.x.mean(axis=0), variance=parts.train.x.var(axis=0))
    x = layers.Dense(64, activation="relu")(standardize(readings))
    x = layers.Dense(64, activation="relu")(x)
    model = keras.Model(readings, layers.Dense(6, activation="softmax", name="state")(x))
    fit(model, parts.train.x, parts.train.y, "sparse_categorical_crossentropy", epochs=8)
    cause = "columns of 1e-3..1e5 in one input tensor"
    return classifier("tabular", directory, model, parts.pool, parts.holdout, cause)


# --- hard-swish


def asleep(num_channels: int, every: int, depth: float) -> Array:
    """Starting BatchNorm offsets [channels]: some start so low, at ``depth`` to twice that, that no gradient wakes them."""
    offsets = np.zeros(num_channels, np.float32)
    offsets[1::every] = np.linspace(depth, 2 * depth, len(offsets[1::every]))
    return offsets


def hard_swish(x: Any) -> Any:
    """x * relu6(x + 3) / 6, which the converter makes HARD_SWISH."""
    import tensorflow as tf

    return x * tf.nn.relu6(x + 3.0) * (1.0 / 6.0)


def sleeping_channels(directory: Path) -> Incident:
    """A hard-swish net with channels at -240 and below that training never woke."""
    import tf_keras as keras
    from tf_keras import layers

    start("sleeping")
    digits = digit_images()

    def block(x: Any, filters: int, size: int, strides: int) -> Any:
        x = layers.Conv2D(filters, size, strides=strides, padding="same", use_bias=False)(x)
        depth = keras.initializers.Constant(asleep(filters, 4, -240.0))
        return hard_swish(layers.BatchNormalization(momentum=0.9, beta_initializer=depth)(x))

    image = keras.Input((16, 16, 1), name="image")
    x = block(image, 16, 3, 2)
    for filters, size, strides in ((24, 1, 1), (32, 3, 2), (32, 1, 1), (48, 3, 1), (48, 1, 1)):
        x = block(x, filters, size, strides)
    x = layers.Flatten()(layers.AveragePooling2D(2)(x))
    model = keras.Model(image, layers.Dense(10, activation="softmax", name="digit")(x))
    fit(model, digits.train.x, digits.train.y, "sparse_categorical_crossentropy", epochs=6)
    cause = "channels at -240 and below in front of hard-swish, which gives 0 below -3"
    return classifier("sleeping_channels", directory, model, digits.pool, digits.holdout, cause)


GENERATORS: Sequence[Callable[[Path], Incident]] = (
    imbalance,
    fault_frames,
    fault_pixels,
    dark,
    concat,
    residual,
    tabular,
    sleeping_channels,
    faults_and_imbalance,
    dark_and_concat,
)
CLASSIFIERS = {generator.__name__: generator for generator in GENERATORS}
