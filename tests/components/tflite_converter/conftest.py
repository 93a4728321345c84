"""Small SavedModels for the tests that need TensorFlow, made once per session."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray


@pytest.fixture(scope="session")
def saved_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Directories of SavedModels with signature ``edge``, by name.

    - images: ``image`` [n, 8, 8, 1] -> ``probs`` [n, 3]; convolution, Dense, softmax.
    - two_inputs: ``features`` [n, 3] and int32 ``tokens`` [n, 4] -> ``logits`` [n, 3].
    - dense, dense_qat: ``x`` [n, 6] -> ``y`` [n, 3]; the second carries the ranges of quantization-aware training.
    - select_tf: ``x`` [n, 8] -> ``y``; an operator that only TensorFlow's own kernels compute.
    - unsupported: ``image`` [n, 8, 8] -> ``y`` [n, 1]; two operators without a TFLite kernel.
    - fixed_batch: ``x`` [4, 6] -> ``y`` [4, 2].
    - open_size: ``image`` [n, any, any, 1] -> ``mean`` [n, 1].
    - residual: ``image`` [n, 8, 8, 2] -> ``y`` [n, 4]; two convolutions added up, with a fused ReLU.
    - sequence: ``x`` [1, 5, 3] -> ``y`` [1, 2]; an LSTM and Dense. open_sequence: the same, batch open.
    - loop: ``x`` [1, 5, 3] -> ``y`` [1, 2]; a GRU, which is a loop in TFLite, and Dense. open_loop: the same, batch open.
    - branches: ``x`` [n, 6] -> ``y`` [n, 3]; two Dense layers, one times 1000, concatenated.
    """
    from components.compat import skip_autograph_conversion

    skip_autograph_conversion()
    root = tmp_path_factory.mktemp("saved-models")
    return {
        "images": _save_images(root / "images"),
        "two_inputs": _save_two_inputs(root / "two"),
        "unsupported": _save_unsupported(root / "unsupported"),
        "select_tf": _save_select_tf(root / "select_tf"),
        "dense": _save_dense(root / "dense", with_fake_quantization=False),
        "dense_qat": _save_dense(root / "dense_qat", with_fake_quantization=True),
        "fixed_batch": _save_fixed_batch(root / "fixed"),
        "open_size": _save_open_size(root / "open"),
        "residual": _save_residual(root / "residual"),
        "sequence": _save_sequence(root / "sequence", "LSTM", 1),
        "open_sequence": _save_sequence(root / "open_sequence", "LSTM", None),
        "loop": _save_sequence(root / "loop", "GRU", 1),
        "open_loop": _save_sequence(root / "open_loop", "GRU", None),
        "branches": _save_branches(root / "branches"),
    }


def _save(directory: Path, model: Any, function: Any) -> Path:
    import tensorflow as tf

    tf.saved_model.save(model, str(directory), signatures={"edge": function})
    return directory


def _draw_weights(model: Any) -> None:
    random = np.random.default_rng(1)
    model.set_weights([random.normal(scale=0.5, size=weight.shape) for weight in model.get_weights()])


def _save_images(directory: Path) -> Path:
    import tensorflow as tf
    import tf_keras as keras

    layers = keras.layers
    image = keras.Input((8, 8, 1), name="image")
    hidden = layers.Flatten()(layers.Conv2D(8, 3, activation="relu")(image))
    model = keras.Model(image, layers.Dense(3, activation="softmax")(layers.Dense(16, activation="relu")(hidden)))
    _draw_weights(model)

    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 1], tf.float32, name="image")])
    def edge(image: Any) -> dict[str, Any]:
        return {"probs": model(image, training=False)}

    return _save(directory, model, edge)


def _save_two_inputs(directory: Path) -> Path:
    import tensorflow as tf
    import tf_keras as keras

    layers = keras.layers
    tokens, features = keras.Input((4,), dtype="int32", name="tokens"), keras.Input((3,), name="features")
    embedded = layers.Flatten()(layers.Embedding(10, 5)(tokens))
    joined = layers.Concatenate()([embedded, layers.Dense(4, activation="relu")(features)])
    model = keras.Model([tokens, features], layers.Dense(3)(joined))
    _draw_weights(model)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 4], tf.int32, name="tokens"),
            tf.TensorSpec([None, 3], tf.float32, name="features"),
        ]
    )
    def edge(tokens: Any, features: Any) -> dict[str, Any]:
        return {"logits": model([tokens, features], training=False)}

    return _save(directory, model, edge)


def _save_unsupported(directory: Path) -> Path:
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8], tf.float32, name="image")])
    def edge(image: Any) -> dict[str, Any]:
        with tf.name_scope("odd_layer"):
            positive = tf.math.igamma(tf.abs(image) + 1.0, tf.abs(image) + 2.0)
        with tf.name_scope("det_layer"):
            return {"y": tf.reshape(tf.linalg.det(positive), [-1, 1])}

    return _save(directory, tf.Module(), edge)


def _save_select_tf(directory: Path) -> Path:
    import tensorflow as tf

    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None, 8], tf.float32, name="x")])
    def edge(x: Any) -> dict[str, Any]:
        return {"y": tf.math.cumprod(x, axis=1)}

    return _save(directory, module, edge)


def _save_dense(directory: Path, with_fake_quantization: bool) -> Path:
    """One dense layer; its twin that was trained for int8 carries the ranges of tensors and weights."""
    import tensorflow as tf

    module = tf.Module()
    module.kernel = tf.Variable(np.random.default_rng(4).normal(size=(6, 3)).astype(np.float32))

    def fake_quantized(values: Any, limit: float) -> Any:
        return tf.quantization.fake_quant_with_min_max_args(values, -limit, limit) if with_fake_quantization else values

    @tf.function(input_signature=[tf.TensorSpec([None, 6], tf.float32, name="x")])
    def edge(x: Any) -> dict[str, Any]:
        return {"y": fake_quantized(fake_quantized(x, 4.0) @ fake_quantized(module.kernel, 3.0), 16.0)}

    return _save(directory, module, edge)


def _save_fixed_batch(directory: Path) -> Path:
    import tensorflow as tf

    module = tf.Module()
    module.weights = tf.Variable(np.random.default_rng(3).normal(size=(6, 2)).astype(np.float32))

    @tf.function(input_signature=[tf.TensorSpec([4, 6], tf.float32, name="x")])
    def edge(x: Any) -> dict[str, Any]:
        return {"y": tf.matmul(x, module.weights)}

    return _save(directory, module, edge)


def _save_open_size(directory: Path) -> Path:
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 1], tf.float32, name="image")])
    def edge(image: Any) -> dict[str, Any]:
        return {"mean": tf.reduce_mean(image, [1, 2])}

    return _save(directory, tf.Module(), edge)


def _save_residual(directory: Path) -> Path:
    import tf_keras as keras

    layers = keras.layers
    image = keras.Input((8, 8, 2), name="image")
    trunk = layers.Conv2D(4, 3, padding="same", activation="relu")(image)
    branch = layers.Conv2D(4, 3, padding="same")(trunk)
    added = layers.ReLU()(layers.Add()([layers.Conv2D(4, 1)(trunk), branch]))
    return _save_single(directory, keras.Model(image, layers.GlobalAveragePooling2D()(added)))


def _save_sequence(directory: Path, layer: str, batch: int | None) -> Path:
    import tf_keras as keras

    x = keras.Input((5, 3), name="x")
    recurrent = getattr(keras.layers, layer)(4)(x)
    return _save_single(directory, keras.Model(x, keras.layers.Dense(2)(recurrent)), batch)


def _save_branches(directory: Path) -> Path:
    import tf_keras as keras

    layers = keras.layers
    x = keras.Input((6,), name="x")
    small = layers.Dense(8, activation="relu", name="small")(x)
    large = layers.Rescaling(1000.0)(layers.Dense(8, activation="relu", name="large")(x))
    return _save_single(directory, keras.Model(x, layers.Dense(3)(layers.Concatenate()([small, large]))))


def _save_single(directory: Path, model: Any, batch: int | None = None) -> Path:
    """Saves a Keras model of one input and one output, ``y``, with drawn weights."""
    import tensorflow as tf

    _draw_weights(model)
    spec = model.inputs[0]

    @tf.function(input_signature=[tf.TensorSpec([batch, *spec.shape[1:]], tf.float32, name=model.input_names[0])])
    def edge(value: Any) -> dict[str, Any]:
        return {"y": model(value, training=False)}

    return _save(directory, model, edge)


@pytest.fixture(scope="session")
def images() -> NDArray[np.float32]:
    """600 distinct images [600, 8, 8, 1], 0..1."""
    return np.random.default_rng(0).random((600, 8, 8, 1), dtype=np.float32)
