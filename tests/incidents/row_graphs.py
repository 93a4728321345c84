"""Small random graphs in which rows may or may not depend on one another, as SavedModels, with a reference at batch 1.

Every graph takes ``x [batch, 6]`` (some also ``mask [batch, 6]``) and gives ``scores [batch, 3]``. What a row may learn of its
neighbours: normalization over the batch, a mask made of the whole batch, the longest of all rows, a fused LSTM's state, a
``tf.Variable``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

WIDTH, CLASSES = 6, 3


def _dense(x: Any, draw: np.random.Generator, width: int) -> Any:
    import tensorflow as tf

    kernel = tf.constant(draw.normal(0, 0.7, (x.shape[-1], width)), tf.float32)
    return tf.linalg.matmul(x, kernel) + tf.constant(draw.normal(0, 0.2, width), tf.float32)


def _normalize(axes: list[int]) -> Callable[..., Any]:
    def layer(x: Any, mask: Any, draw: np.random.Generator, state: Any) -> Any:
        import tensorflow as tf

        centred = x - tf.reduce_mean(x, axes, keepdims=True)
        return centred * tf.math.rsqrt(tf.reduce_mean(centred * centred, axes, keepdims=True) + 1e-2)

    return layer


def _hidden(x: Any, mask: Any, draw: np.random.Generator, state: Any) -> Any:
    import tensorflow as tf

    return tf.nn.relu(_dense(x, draw, WIDTH))


def _own_mask(x: Any, mask: Any, draw: np.random.Generator, state: Any) -> Any:
    return x * mask


def _longest_mask(x: Any, mask: Any, draw: np.random.Generator, state: Any) -> Any:
    import tensorflow as tf

    return x / (1.0 + tf.reduce_max(tf.reduce_sum(mask, axis=1)))


def _any_mask(x: Any, mask: Any, draw: np.random.Generator, state: Any) -> Any:
    import tensorflow as tf

    return x * tf.reduce_max(mask, axis=0, keepdims=True)


def _cumulated(x: Any, mask: Any, draw: np.random.Generator, state: Any) -> Any:
    import tensorflow as tf

    return x + 0.5 * tf.math.cumsum(x, axis=0)


def _lstm(x: Any, mask: Any, draw: np.random.Generator, state: Any) -> Any:
    import tensorflow as tf

    return state["lstm"](tf.reshape(x, [1, 3, WIDTH // 3]))


def _variable(x: Any, mask: Any, draw: np.random.Generator, state: Any) -> Any:
    state["memory"].assign(0.6 * state["memory"] + 0.4 * x)
    return state["memory"] + 0.0 * x


#: What a graph may hold, and whether it can be exported with an open batch.
LAYERS: dict[str, tuple[Callable[..., Any], bool]] = {
    "hidden": (_hidden, True),
    "norm over the row": (_normalize([1]), True),
    "norm over the batch": (_normalize([0]), True),
    "norm over all": (_normalize([0, 1]), True),
    "own mask": (_own_mask, True),
    "longest mask": (_longest_mask, True),
    "any mask": (_any_mask, True),
    "cumulated": (_cumulated, True),
    "lstm": (_lstm, False),
    "variable": (_variable, False),
}


class RandomGraph:
    """One graph: some layers, a dense layer to three classes, softmax or none; batch 1 or open."""

    def __init__(self, seed: int) -> None:
        draw = np.random.default_rng(seed)
        names = [str(name) for name in draw.choice(list(LAYERS), size=int(draw.integers(1, 4)), replace=False)]
        self.layers = tuple(sorted(names, key=lambda name: name in ("lstm", "variable")))
        self.is_open = bool(draw.integers(2)) and all(LAYERS[name][1] for name in self.layers)
        self.has_mask = any("mask" in name for name in self.layers)
        self.is_stream = "variable" in self.layers
        self.seed = seed

    def save(self, directory: Path) -> Path:
        """Writes the SavedModel."""
        import tensorflow as tf
        import tf_keras as keras

        keras.utils.set_random_seed(self.seed)
        module, batch = tf.Module(), None if self.is_open else 1
        module.memory = tf.Variable(tf.zeros([1, WIDTH]))
        module.lstm = keras.layers.LSTM(WIDTH)
        module.lstm.build((1, 3, WIDTH // 3))
        state = {"memory": module.memory, "lstm": module.lstm}
        spec = tf.TensorSpec([batch, WIDTH], tf.float32)

        def call(x: Any, mask: Any) -> dict[str, Any]:
            draw = np.random.default_rng(self.seed + 1)
            for name in self.layers:
                x = LAYERS[name][0](x, mask, draw, state)
            return {"scores": _dense(x, draw, CLASSES)}

        if self.has_mask:
            specs = [tf.TensorSpec(spec.shape, spec.dtype, name=name) for name in ("x", "mask")]
            function = tf.function(lambda x, mask: call(x, mask), input_signature=specs)
        else:
            function = tf.function(
                lambda x: call(x, None), input_signature=[tf.TensorSpec(spec.shape, spec.dtype, name="x")]
            )
        tf.saved_model.save(module, str(directory), signatures={"edge": function})
        return directory

    def rows(self, num_rows: int) -> dict[str, Array]:
        """Inputs by name."""
        draw = np.random.default_rng(self.seed + 2)
        x = draw.normal(0, 1.5, (num_rows, WIDTH)).astype(np.float32)
        lengths = draw.integers(1, WIDTH + 1, num_rows)
        mask = (np.arange(WIDTH) < lengths[:, None]).astype(np.float32)
        return {"x": x, "mask": mask} if self.has_mask else {"x": x}


def float_reference(directory: Path, rows: Mapping[str, Array]) -> Array:
    """Scores of plain TensorFlow, one row after the other; a variable begins as it was saved."""
    import tensorflow as tf

    module = tf.saved_model.load(str(directory))
    function = module.signatures["edge"]
    num_rows = len(rows["x"])
    outputs = [
        function(**{name: tf.constant(array[row : row + 1]) for name, array in rows.items()})["scores"].numpy()
        for row in range(num_rows)
    ]
    return np.concatenate(outputs)


def edge_reference(tflite: bytes, rows: Mapping[str, Array], *, is_stream: bool) -> Array:
    """Scores of plain LiteRT at batch 1: a new interpreter for every row, or one for a stream."""
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_content=tflite, num_threads=1).get_signature_runner()  # holds on to its interpreter
    inputs, output = runner.get_input_details(), runner.get_output_details()["scores"]
    outputs: list[Array] = []
    interpreter = None
    for row in range(len(rows["x"])):
        if interpreter is None or not is_stream:
            interpreter = Interpreter(model_content=tflite, num_threads=1)
            interpreter.allocate_tensors()
        interpreter.reset_all_variables()  # a Keras LSTM begins anew with every call
        for name, detail in inputs.items():
            interpreter.set_tensor(detail["index"], _codes(rows[name][row : row + 1], detail))
        interpreter.invoke()
        outputs.append(_real(interpreter.get_tensor(output["index"]), output))
    return np.concatenate(outputs)


def _codes(values: Array, detail: Mapping[str, Any]) -> Array:
    scale, zero_point = detail["quantization"]
    if not scale:
        return values.astype(detail["dtype"])
    limits = np.iinfo(detail["dtype"])
    return np.clip(np.rint(values.astype(np.float64) / scale) + zero_point, limits.min, limits.max).astype(
        detail["dtype"]
    )


def _real(values: Array, detail: Mapping[str, Any]) -> Array:
    scale, zero_point = detail["quantization"]
    return (values.astype(np.float32) - zero_point) * np.float32(scale) if scale else values
