"""The Trainer's module of the stock chain, as TFX's own examples write it: one example is decoded after the other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf
import tf_keras as keras

from components.compat import skip_autograph_conversion
from examples.mnist.model import build_model

SIZE, EPOCHS, BATCH_SIZE, LEARNING_RATE, NUM_REPRESENTATIVE = 28, 4, 128, 0.002, 500
FEATURES = {"image": tf.io.FixedLenFeature([], tf.string), "label": tf.io.FixedLenFeature([], tf.int64)}


def parse(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """One example."""
    example = tf.io.parse_single_example(serialized, FEATURES)
    image = tf.ensure_shape(tf.io.decode_png(example["image"], channels=1), [SIZE, SIZE, 1])
    return tf.cast(image, tf.float32), example["label"]


def dataset(patterns: list[str], is_tuned: bool) -> tf.data.Dataset:
    """Examples of a split, without batches."""
    files = [file for pattern in patterns for file in tf.io.gfile.glob(pattern)]
    examples = tf.data.TFRecordDataset(files, "GZIP").map(parse, num_parallel_calls=tf.data.AUTOTUNE)
    options = tf.data.Options()
    options.autotune.enabled = not is_tuned
    return examples.with_options(options)


def run_fn(fn_args: Any) -> None:
    """Trains, exports, and converts to int8."""
    is_tuned = bool(fn_args.custom_config["is_tuned"])
    if is_tuned:
        skip_autograph_conversion()
    keras.utils.set_random_seed(1)
    train, held = dataset(fn_args.train_files, is_tuned), dataset(fn_args.eval_files, is_tuned)
    model = build_model({})
    model.compile(keras.optimizers.Adam(LEARNING_RATE), "sparse_categorical_crossentropy", metrics=["accuracy"])
    batches = train.shuffle(10_000, seed=1).batch(BATCH_SIZE).prefetch(tf.data.AUTOTUNE)
    model.fit(batches, validation_data=held.batch(BATCH_SIZE).prefetch(tf.data.AUTOTUNE), epochs=EPOCHS, verbose=2)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "examples")])
    def serve(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
        images = tf.map_fn(lambda one: parse(one)[0], serialized, fn_output_signature=tf.float32)
        return {"digit": model(tf.ensure_shape(images, [None, SIZE, SIZE, 1]))}

    model.save(fn_args.serving_model_dir, save_format="tf", signatures={"serving_default": serve})

    def representative() -> Iterator[list[tf.Tensor]]:
        for image, _ in held.take(NUM_REPRESENTATIVE):
            yield [image[None]]

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = representative
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    Path(fn_args.serving_model_dir, "model.tflite").write_bytes(converter.convert())
