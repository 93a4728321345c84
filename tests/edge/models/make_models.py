"""Makes the golden .tflite files of this folder. Needs TensorFlow; the tests that read the files do not.

    python tests/edge/models/make_models.py

Each builder below documents one file. The committed files were written with TensorFlow 2.16 and stay as they are, so
that the device library is tested against bytes that no later converter touches. Weights come from one seed; every file
is below 20 kB.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

HERE = Path(__file__).parent
SEED = 7
FEATURES = 8  # inputs "x" of the dense models: float32 [batch, 8], about -3..3
CLASSES = 4  # outputs "scores": [batch, 4]

Converter = tf.lite.TFLiteConverter
Builder = Callable[[], bytes]


class Dense(tf.Module):
    """One layer: scores = softmax(x @ kernel + bias)."""

    def __init__(self, batch: int | None = None) -> None:
        super().__init__()
        draw = np.random.default_rng(SEED)
        self.kernel = tf.constant(draw.normal(0.0, 0.5, (FEATURES, CLASSES)), tf.float32)
        self.bias = tf.constant(draw.normal(0.0, 0.2, CLASSES), tf.float32)
        self.signature = [tf.TensorSpec([batch, FEATURES], tf.float32, name="x")]

    def call(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"scores": tf.nn.softmax(tf.linalg.matmul(x, self.kernel) + self.bias)}


class Logits(Dense):
    """The same layer without the softmax: what the plain NumPy reference of the tests computes."""

    def call(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"scores": tf.linalg.matmul(x, self.kernel) + self.bias}


class WideLogits(Dense):
    """One 64 x 32 layer: large enough for the converter to quantize its weights in the dynamic recipe."""

    def __init__(self) -> None:
        super().__init__()
        draw = np.random.default_rng(SEED)
        self.kernel = tf.constant(draw.normal(0.0, 0.2, (64, 32)), tf.float32)
        self.bias = tf.constant(draw.normal(0.0, 0.2, 32), tf.float32)
        self.signature = [tf.TensorSpec([None, 64], tf.float32, name="x")]

    def call(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"scores": tf.linalg.matmul(x, self.kernel) + self.bias}


class FixedReshape(Dense):
    """Batch 1 in the graph itself: a Reshape to [1, 2, 4] and back, so a resized batch cannot be prepared."""

    def call(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        folded = tf.nn.relu(tf.reshape(x, [1, 2, 4]) * [1.0, -1.0, 0.5, 2.0])
        return {"scores": tf.linalg.matmul(tf.reshape(folded, [1, FEATURES]), self.kernel) + self.bias}


class FixedBatchOfThree(Dense):
    """Declares a batch of 3 and folds it into a Reshape, so that exactly three rows go in at a time."""

    def __init__(self) -> None:
        super().__init__(batch=3)

    def call(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        folded = tf.nn.relu(tf.reshape(x, [3, 2, 4]) * [1.0, -1.0, 0.5, 2.0])
        return {"scores": tf.linalg.matmul(tf.reshape(folded, [3, FEATURES]), self.kernel) + self.bias}


class BatchSum(Dense):
    """Declares batch 1, halves each row and sums the halves over the first dimension: larger batches would mix."""

    def call(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        halves = tf.linalg.matmul(tf.reshape(x, [-1, FEATURES // 2]), self.kernel[: FEATURES // 2])
        return {"scores": tf.reduce_sum(halves, axis=0, keepdims=True) + self.bias}


class InstanceNorm(tf.Module):
    """Normalization over all axes, the batch among them, as converters from ONNX write it: right at batch 1 only."""

    def __init__(self) -> None:
        super().__init__()
        draw = np.random.default_rng(SEED)
        self.kernel = tf.constant(draw.normal(0.0, 0.5, (FEATURES, CLASSES)), tf.float32)
        self.signature = [tf.TensorSpec([1, FEATURES], tf.float32, name="x")]

    def call(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        centred = x - tf.reduce_mean(x, axis=[0, 1], keepdims=True)
        norm = tf.math.rsqrt(tf.reduce_mean(centred * centred, axis=[0, 1], keepdims=True) + 1e-3)
        return {"scores": tf.linalg.matmul(centred * norm, self.kernel)}


class FusedLstm(tf.Module):
    """A Keras LSTM over [1, 4, 2], which becomes one operator with variable tensors: they outlive an invoke."""

    def __init__(self) -> None:
        super().__init__()
        import tf_keras as keras

        keras.utils.set_random_seed(SEED)
        self.layer = keras.layers.LSTM(CLASSES)
        self.layer.build((1, 4, FEATURES // 4))
        self.signature = [tf.TensorSpec([1, FEATURES], tf.float32, name="x")]

    def call(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"scores": self.layer(tf.reshape(x, [1, 4, FEATURES // 4]))}


class RunningMean(Dense):
    """A stream: a tf.Variable of fixed shape [1, 8] holds a moving mean of the rows so far."""

    def __init__(self) -> None:
        super().__init__(batch=1)
        self.mean = tf.Variable(tf.zeros([1, FEATURES]))

    def call(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        self.mean.assign(0.75 * self.mean + 0.25 * x)
        return {"scores": tf.linalg.matmul(self.mean, self.kernel) + self.bias}


class FloatIsland(Dense):
    """SIN has no int8 kernel: DEQUANTIZE, SIN, QUANTIZE in the middle of an int8 graph."""

    def call(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        hidden = tf.math.sin(tf.linalg.matmul(x, self.kernel) + self.bias)
        return {"scores": tf.linalg.matmul(hidden, tf.transpose(self.kernel)) * 0.5}


class Cumprod(Dense):
    """CUMPROD is no TFLite builtin: Flex (FlexCumprod) or custom (Cumprod), depending on the converter's flags."""

    def call(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"scores": tf.math.cumprod(x, axis=1)}


class HardSwish(tf.Module):
    """A 3 x 3 convolution, hard-swish, global mean: image [batch, 8, 8, 3] in 0..255, scores [batch, 4]."""

    def __init__(self) -> None:
        super().__init__()
        draw = np.random.default_rng(SEED)
        self.kernel = tf.constant(draw.normal(0.0, 0.4, (3, 3, 3, CLASSES)), tf.float32)
        self.signature = [tf.TensorSpec([None, 8, 8, 3], tf.float32, name="image")]

    def call(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        hidden = tf.nn.conv2d(image / 255.0, self.kernel, strides=1, padding="SAME")
        hidden = hidden * tf.nn.relu6(hidden + 3.0) * (1.0 / 6.0)
        return {"scores": tf.reduce_mean(hidden, axis=[1, 2])}


class TwoInputs(tf.Module):
    """Floats "x" [batch, 4] and token ids "ids" int32 [batch, 5] of a 10-row table; outputs "scores" and "norm"."""

    def __init__(self) -> None:
        super().__init__()
        draw = np.random.default_rng(SEED)
        self.table = tf.constant(draw.normal(0.0, 1.0, (10, 4)), tf.float32)
        self.signature = [
            tf.TensorSpec([None, 4], tf.float32, name="x"),
            tf.TensorSpec([None, 5], tf.int32, name="ids"),
        ]

    def call(self, x: tf.Tensor, ids: tf.Tensor) -> dict[str, tf.Tensor]:
        tokens = tf.reduce_sum(tf.gather(self.table, ids), axis=1)
        return {"scores": x + tokens, "norm": tf.reduce_sum(x * x, axis=1, keepdims=True)}


def converter_of(module: tf.Module, keys: tuple[str, ...] = ("edge",)) -> Converter:
    """Goes through a SavedModel with the signatures `keys`, as the pipeline does."""
    function = tf.function(module.call, input_signature=module.signature)
    directory = tempfile.mkdtemp(prefix="edgeproof-golden-")
    tf.saved_model.save(module, directory, signatures=dict.fromkeys(keys, function))
    return Converter.from_saved_model(directory, signature_keys=list(keys))


def samples(module: tf.Module) -> Callable[[], Iterator[dict[str, np.ndarray]]]:
    """64 calibration rows in the range that each input documents."""

    def rows() -> Iterator[dict[str, np.ndarray]]:
        draw = np.random.default_rng(SEED + 1)
        for _ in range(64):
            row: dict[str, np.ndarray] = {}
            for spec in module.signature:
                shape = [1, *spec.shape[1:]]
                if spec.dtype == tf.int32:
                    row[spec.name] = draw.integers(0, 10, shape).astype(np.int32)
                elif spec.name == "image":
                    row[spec.name] = draw.uniform(0, 255, shape).astype(np.float32)
                else:
                    row[spec.name] = np.clip(draw.normal(0, 1.2, shape), -3, 3).astype(np.float32)
            yield row

    return rows


def float32(module: tf.Module) -> bytes:
    return converter_of(module).convert()


def weights_only(module: tf.Module, dtype: tf.DType | None = None) -> bytes:
    converter = converter_of(module)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if dtype is not None:
        converter.target_spec.supported_types = [dtype]
    return converter.convert()


def full_integer(module: tf.Module, io: tf.DType, int16: bool = False) -> bytes:
    converter = converter_of(module)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = samples(module)
    ops = tf.lite.OpsSet
    if int16:
        converter.target_spec.supported_ops = [
            ops.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
            ops.TFLITE_BUILTINS,
        ]
    converter.inference_input_type = converter.inference_output_type = io
    return converter.convert()


def float_output() -> bytes:
    converter = converter_of(Dense())
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = samples(Dense())
    converter.inference_input_type = tf.int8
    return converter.convert()


def flex() -> bytes:
    converter = converter_of(Cumprod())
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    return converter.convert()


def custom() -> bytes:
    converter = converter_of(Cumprod())
    converter.allow_custom_ops = True
    return converter.convert()


def two_signatures() -> bytes:
    return converter_of(Logits(), keys=("edge", "serving_default")).convert()


MODELS: dict[str, Builder] = {
    "float32": lambda: float32(Dense()),
    "float16": lambda: weights_only(WideLogits(), tf.float16),
    "dynamic": lambda: weights_only(WideLogits()),
    "int8": lambda: full_integer(Logits(), tf.int8),
    "int8_softmax": lambda: full_integer(Dense(), tf.int8),
    "uint8": lambda: full_integer(Dense(), tf.uint8),
    "int8_float_io": lambda: full_integer(Dense(), tf.float32),
    "int8_float_output": float_output,
    "int16x8": lambda: full_integer(Logits(), tf.int16, int16=True),
    "int16x8_float_io": lambda: full_integer(Logits(), tf.float32, int16=True),
    "two_inputs": lambda: float32(TwoInputs()),
    "two_inputs_int8": lambda: full_integer(TwoInputs(), tf.int8),
    "fixed_batch": lambda: float32(FixedReshape(batch=1)),
    "fixed_batch_resizable": lambda: float32(Logits(batch=1)),
    "batch_of_three": lambda: float32(FixedBatchOfThree()),
    "batch_sum": lambda: float32(BatchSum(batch=1)),
    "instance_norm": lambda: float32(InstanceNorm()),
    "instance_norm_int8": lambda: full_integer(InstanceNorm(), tf.int8),
    "lstm": lambda: float32(FusedLstm()),
    "lstm_int8": lambda: full_integer(FusedLstm(), tf.int8),
    "running_mean": lambda: float32(RunningMean()),
    "float_island": lambda: full_integer(FloatIsland(), tf.int8),
    "hard_swish": lambda: float32(HardSwish()),
    "hard_swish_int8": lambda: full_integer(HardSwish(), tf.int8),
    "flex": flex,
    "custom": custom,
    "two_signatures": two_signatures,
}


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        tempfile.tempdir = scratch  # every SavedModel goes there
        for name, build in MODELS.items():
            data = build()
            (HERE / f"{name}.tflite").write_bytes(data)
            print(f"{name}.tflite {len(data)} bytes")


if __name__ == "__main__":
    main()
