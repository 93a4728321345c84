"""Peak memory and time of ``edgeproof evaluate``: a large image model, a network of full-size maps and a tiny one alike.

    python -m benchmarks.evaluate_memory [--keep DIR] [NAME ...]

Makes each model (untrained: only its size matters), its int8 file by ``edgeproof convert --recipe int8``, and a holdout of
uint8 images, then judges in a fresh process. Peaks are of the largest process, as the kernel kept them. The verdict does not
matter here; exit code 1 counts as done.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.process_cost import Cost, measure
from components.compat import quiet_libraries

#: What ``evaluate`` may take, whatever the model and the number of rows.
MAX_BYTES = 1.2e9


@dataclass(frozen=True)
class Subject:
    """A model to judge: what builds it, the shape of its input, and how many rows the holdout has."""

    name: str
    build: Callable[[], Any]
    shape: tuple[int, ...]
    num_rows: int
    num_pool: int = 40


def mobilenet() -> Any:
    """MobileNetV2 at 224 pixels with random weights."""
    import tf_keras as keras

    image = keras.layers.Input((224, 224, 3), name="image")
    scaled = keras.layers.Rescaling(1 / 127.5, -1)(image)
    body = keras.applications.MobileNetV2(weights=None, classes=10, input_shape=(224, 224, 3))
    return keras.Model(image, body(scaled))


def unet() -> Any:
    """Three levels of a U-Net over 512 x 512 pixels."""
    import tf_keras as keras

    layers = keras.layers
    image = x = layers.Input((512, 512, 3), name="image")
    x, skips = layers.Rescaling(1 / 255)(x), []
    for width in (8, 16, 32):
        x = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
        skips.append(x)
        x = layers.MaxPooling2D()(x)
    x = layers.Conv2D(64, 3, padding="same", activation="relu")(x)
    for width, skip in zip((32, 16, 8), reversed(skips), strict=True):
        x = layers.Concatenate()([layers.Conv2DTranspose(width, 2, strides=2)(x), skip])
        x = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 1)(x))
    return keras.Model(image, layers.Softmax()(x))


def tiny() -> Any:
    """A few hundred weights."""
    import tf_keras as keras

    image = keras.layers.Input((4, 4, 1), name="image")
    hidden = keras.layers.Dense(16, activation="relu")(keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image)))
    return keras.Model(image, keras.layers.Dense(4, activation="softmax")(hidden))


SUBJECTS = (
    Subject("MobileNetV2 224", mobilenet, (224, 224, 3), 600),
    Subject("U-Net 512", unet, (512, 512, 3), 100, 20),
    Subject("tiny MLP", tiny, (4, 4, 1), 100_000, 500),
)


def prepare(subject: Subject, directory: Path) -> None:
    """Writes the SavedModel, the holdout and the int8 file."""
    import tensorflow as tf
    import tf_keras as keras

    keras.utils.set_random_seed(7)
    model, draw = subject.build(), np.random.default_rng(7)
    spec = tf.TensorSpec([None, *subject.shape], tf.float32, name="image")
    function = tf.function(lambda image: {"scores": model(image, training=False)}, input_signature=[spec])
    tf.saved_model.save(model, str(directory / "model"), signatures={"edge": function})
    for name, num_rows in (("pool", subject.num_pool), ("holdout", subject.num_rows)):
        images = draw.integers(0, 256, (num_rows, *subject.shape), np.uint8)
        np.savez(directory / f"{name}.npz", image=images, y=draw.integers(0, 4, num_rows))
    arguments = ["--saved-model", directory / "model", "--calibration", directory / "pool.npz", "--recipe", "int8"]
    measure([*_edgeproof("convert"), *map(str, arguments), "--min-samples", "1", "--out", str(directory / "edge")])


def judge(directory: Path) -> Cost:
    """One ``edgeproof evaluate`` in a process of its own."""
    arguments = ["--saved-model", directory / "model", "--tflite", directory / "edge" / "model.tflite"]
    data = ["--data", directory / "holdout.npz", "--min-examples", "1", "--out", directory / "verdict"]
    return measure([*_edgeproof("evaluate"), *map(str, [*arguments, *data])], accepted=(0, 1))


def _edgeproof(verb: str) -> list[str]:
    return [sys.executable, "-m", "pipeline.cli", verb]


def main() -> None:
    """Prints a line per model; exit code 1 where one takes more than it may."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="models; all by default")
    parser.add_argument("--keep", type=Path, help="directory for the models, which are made once")
    arguments = parser.parse_args()
    quiet_libraries()
    largest = 0.0
    with tempfile.TemporaryDirectory(prefix="edgeproof-memory-") as scratch:
        for subject in SUBJECTS:
            if arguments.names and subject.name not in arguments.names:
                continue
            directory = (arguments.keep or Path(scratch)) / subject.name.replace(" ", "-")
            directory.mkdir(parents=True, exist_ok=True)
            if not (directory / "edge" / "model.tflite").is_file():
                prepare(subject, directory)
            cost = judge(directory)
            largest = max(largest, cost.largest_process_bytes)
            print(
                f"{subject.name:16} {subject.num_rows:7} rows  {cost.seconds:6.1f} s  "
                f"peak {cost.largest_process_bytes / 1e9:.2f} GB",
                flush=True,
            )
    print(f"largest {largest / 1e9:.2f} GB; wanted at most {MAX_BYTES / 1e9:.1f} GB")
    sys.exit(int(largest > MAX_BYTES))


if __name__ == "__main__":
    main()
