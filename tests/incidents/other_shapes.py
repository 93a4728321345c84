"""Models beyond one-input classifiers, built so that int8 needs care: several inputs and outputs, regression, token ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.incidents.classifiers import (
    asleep,
    classifier,
    divide_inputs,
    fit,
    hard_swish,
    multiply_outputs,
    save,
    spread,
    start,
)
from tests.incidents.data import (
    FIRST_RARE_WORD,
    NUM_TOPICS,
    NUM_WORDS,
    WORDS_PER_TEXT,
    Array,
    Incident,
    Rows,
    clusters,
    digit_images,
    located_digits,
    texts,
    wear,
)


def _convolution(x: Any, filters: int) -> Any:
    """Convolution at half the size, BatchNorm, ReLU."""
    from tf_keras import layers

    x = layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False)(x)
    return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))


def two_inputs(directory: Path) -> Incident:
    """An image of 0..1 and a row of physical readings of 4e-3 to 1e5; the answer needs both.

    The class is the image's pair of digits (0 or 1, 2 or 3, ...) in one of two states of the machine.
    """
    import tf_keras as keras
    from tf_keras import layers

    start("two inputs")
    digits, scales = digit_images(), np.geomspace(4e-3, 1e5, 8).astype(np.float32)

    def rows(images: Rows, seed: int) -> tuple[dict[str, Array], Array]:
        states = clusters(len(images.y), 8, 2, seed)
        return {"image": images.x, "readings": states.x * scales}, images.y // 2 * 2 + states.y

    train, pool, holdout = rows(digits.train, 71), rows(digits.pool, 72), rows(digits.holdout, 73)
    image, readings = keras.Input((16, 16, 1), name="image"), keras.Input((8,), name="readings")
    x = _convolution(_convolution(image, 16), 32)
    seen = layers.Dense(64, activation="relu")(layers.Flatten()(x))
    raw = train[0]["readings"]
    standard = layers.Normalization(mean=raw.mean(axis=0), variance=raw.var(axis=0))(readings)
    felt = layers.Dense(32, activation="relu")(standard)
    x = layers.Dense(64, activation="relu")(layers.Concatenate()([seen, felt]))
    model = keras.Model([image, readings], layers.Dense(10, activation="softmax", name="state")(x))
    fit(model, train[0], train[1], "sparse_categorical_crossentropy", epochs=6)
    return Incident(
        "two_inputs",
        save(model, directory / "two_inputs"),
        *pool,
        holdout[0],
        {"state": holdout[1]},
        "an image of 0..1 and readings of 4e-3..1e5",
    )


def fused_heads(directory: Path) -> Incident:
    """A class head and a box head in one Dense layer: logits of about 10 and sensor pixels of 0..480 share a scale."""
    import tf_keras as keras
    from tf_keras import layers

    start("fused heads")
    train, pool, holdout = (
        located_digits(count, seed, unseen) for count, seed, unseen in ((6000, 81, 0), (1500, 82, 0), (1500, 83, 1))
    )
    image = keras.Input((20, 20, 1), name="image")
    x = _convolution(_convolution(image, 16), 32)
    x = layers.Dense(96, activation="relu")(layers.Flatten()(x))
    fused = layers.Dense(14, name="heads")(x)
    outputs = {
        "digit": layers.Softmax(name="digit")(fused[:, :10]),
        "box": layers.Activation("linear", name="box")(fused[:, 10:]),
    }
    model = keras.Model(image, outputs)
    center = train.boxes.mean(axis=0)
    targets = {"digit": train.y, "box": (train.boxes - center) / 100.0}
    fit(model, train.x, targets, {"digit": "sparse_categorical_crossentropy", "box": "mse"}, 10, 6000)
    kernel, bias = model.get_layer("heads").get_weights()
    to_pixels = np.array([1.0] * 10 + [100.0] * 4, np.float32)
    model.get_layer("heads").set_weights([kernel * to_pixels, bias * to_pixels + np.r_[np.zeros(10), center]])
    return Incident(
        "fused_heads",
        save(model, directory / "fused_heads"),
        {"image": pool.x},
        pool.y,
        {"image": holdout.x},
        {"digit": holdout.y, "box": holdout.boxes},
        "class logits and box pixels of 0..480 in one Dense layer",
    )


def wide_regression(directory: Path) -> Incident:
    """Hours from 0 to 500: an int8 output has steps of 2."""
    import tf_keras as keras
    from tf_keras import layers

    start("wide regression")
    train, pool, holdout = wear(12000, 91), wear(1500, 92), wear(3000, 93)
    spectrum = keras.Input((8,), name="spectrum")
    x = layers.Dense(128, activation="relu")(spectrum)
    x = layers.Dense(128, activation="relu")(x)
    model = keras.Model(spectrum, layers.Dense(1, name="hours")(x))
    fit(model, train.x, (train.y - 250.0) / 100.0, "mse", 12, 12000)
    kernel, bias = model.get_layer("hours").get_weights()
    model.get_layer("hours").set_weights([kernel * 100.0, bias * 100.0 + 250.0])
    return Incident(
        "wide_regression",
        save(model, directory / "wide_regression"),
        {"spectrum": pool.x},
        pool.y,
        {"spectrum": holdout.x},
        {"hours": holdout.y},
        "an output of 0..500 in 256 steps",
    )


def rare_words(directory: Path) -> Incident:
    """Token ids; the rows of words that training never met are 500 times larger than the others."""
    import tf_keras as keras
    from tf_keras import layers

    start("rare words")
    train, pool, holdout = texts(6000, 101, 0), texts(1500, 102, 600), texts(2000, 103, 500)
    words = keras.Input((WORDS_PER_TEXT,), dtype="int32", name="words")
    x = layers.Embedding(NUM_WORDS, 24, name="rows")(words)
    x = layers.Dense(64, activation="relu")(layers.GlobalAveragePooling1D()(x))
    model = keras.Model(words, layers.Dense(NUM_TOPICS, activation="softmax", name="topic")(x))
    fit(model, train.x, train.y, "sparse_categorical_crossentropy", 4, 6000)
    (table,) = model.get_layer("rows").get_weights()
    common, rare = table[:FIRST_RARE_WORD], table[FIRST_RARE_WORD:]
    table[FIRST_RARE_WORD:] = rare * 500.0 * np.abs(common).max() / np.abs(rare).max()
    model.get_layer("rows").set_weights([table])
    cause = "embedding rows of rare words 500 times larger than the others"
    return classifier("rare_words", directory, model, pool, holdout, cause)


def mobile_net(directory: Path) -> Incident:
    """Hard-swish, squeeze-excite and residuals as in MobileNetV3, with sleeping channels and an uneven residual stream."""
    import tf_keras as keras
    from tf_keras import layers

    start("mobile net")
    digits, num_channels, num_expanded = digit_images(), 24, 64

    def norm(x: Any, name: str, depth: float = 0.0) -> Any:
        offsets = keras.initializers.Constant(asleep(x.shape[-1], 6, depth))
        return layers.BatchNormalization(momentum=0.9, beta_initializer=offsets, name=f"{name}_norm")(x)

    def gate(x: Any) -> Any:
        squeezed = layers.GlobalAveragePooling2D(keepdims=True)(x)
        excited = layers.Conv2D(x.shape[-1], 1)(layers.Conv2D(16, 1, activation="relu")(squeezed))
        return x * layers.ReLU(6.0)(excited + 3.0) * (1.0 / 6.0)

    def bottleneck(x: Any, block: str, strides: int) -> Any:
        x = layers.Conv2D(num_expanded, 1, use_bias=False, name=f"{block}_expand")(x)
        x = hard_swish(norm(x, f"{block}_expand", -240.0))
        x = layers.DepthwiseConv2D(3, strides=strides, padding="same", use_bias=False)(x)
        x = gate(hard_swish(norm(x, f"{block}_depth")))
        return norm(layers.Conv2D(num_channels, 1, use_bias=False)(x), f"{block}_project")

    image = keras.Input((16, 16, 1), name="image")
    x = hard_swish(norm(layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False)(image), "stem", -240.0))
    stream = bottleneck(x, "a", 2)
    for block in ("b", "c"):
        stream = layers.Add()([stream, bottleneck(stream, block, 1)])
    x = hard_swish(norm(layers.Conv2D(96, 1, use_bias=False, name="leave")(stream), "leave", -240.0))
    x = layers.Dense(96, activation=hard_swish)(layers.Flatten()(layers.AveragePooling2D(2)(x)))
    model = keras.Model(image, layers.Dense(10, activation="softmax", name="digit")(x))
    fit(model, digits.train.x, digits.train.y, "sparse_categorical_crossentropy", epochs=5)
    gains = spread(num_channels, 0.03, 30.0)
    for writer in ("a_project", "b_project", "c_project"):
        multiply_outputs(model.get_layer(f"{writer}_norm"), gains)
    for reader in ("b_expand", "c_expand", "leave"):
        divide_inputs(model.get_layer(reader), gains)
    cause = "channels at -240 and below in front of hard-swish, and gains of 0.03..30 along the residual stream"
    return classifier("mobile_net", directory, model, digits.pool, digits.holdout, cause)


GENERATORS: Sequence[Callable[[Path], Incident]] = (two_inputs, fused_heads, wide_regression, rare_words, mobile_net)
OTHER_SHAPES = {generator.__name__: generator for generator in GENERATORS}
