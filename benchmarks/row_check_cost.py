"""What it costs to find out whether rows may go into a model together: its share of an evaluation, in CPU seconds of one run.

    python -m benchmarks.row_check_cost                # 10,000 rows
    python -m benchmarks.row_check_cost --rows 2000

Three models, exported here: a convolutional net (rows go in together), the same with a normalization over the whole batch
(rows go in one by one) and an LSTM at batch 1 (its state is reset before each row). Both the SavedModel's and the
candidate's check are counted, in the process that evaluates.
"""

from __future__ import annotations

import argparse
import functools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from components.compat import quiet_libraries

quiet_libraries()

SIZE, NUM_CLASSES = 28, 4
WANTED = 0.05


def saved_model(kind: str, directory: Path) -> Path:
    """Writes one of the models."""
    import tensorflow as tf
    import tf_keras as keras

    keras.utils.set_random_seed(1)
    layers = keras.layers
    net: Any = keras.Sequential(
        [layers.Input((SIZE, SIZE, 1), batch_size=1 if kind == "lstm" else None)]
        + (
            [layers.Reshape((SIZE, SIZE)), layers.LSTM(32)]
            if kind == "lstm"
            else [
                layers.Conv2D(16, 3, 2, activation="relu"),
                layers.Conv2D(32, 3, 2, activation="relu"),
                layers.Flatten(),
            ]
        )
        + [layers.Dense(NUM_CLASSES)]
    )

    def call(image: Any) -> dict[str, Any]:
        if kind == "batch normalization":
            image = image - tf.reduce_mean(image, axis=[0, 1, 2], keepdims=True)
        return {"scores": net(image)}

    spec = tf.TensorSpec([1 if kind == "lstm" else None, SIZE, SIZE, 1], tf.float32, name="image")
    module = tf.Module()
    module.net = net
    tf.saved_model.save(module, str(directory), signatures={"edge": tf.function(call, input_signature=[spec])})
    return directory


def timed(method: Callable[..., Any], spent: list[float]) -> Callable[..., Any]:
    """The method, with its CPU seconds written down."""

    @functools.wraps(method)
    def run(*arguments: Any) -> Any:
        started = time.thread_time()
        try:
            return method(*arguments)
        finally:
            spent.append(time.thread_time() - started)

    return run


def share_of_check(kind: str, num_rows: int, directory: Path) -> tuple[float, float]:
    """CPU seconds of the checks, and of the whole evaluation."""
    import tensorflow as tf
    from edgeproof_edge.interpreter import TFLiteModel

    from components.evaluator.arrays import evaluate_arrays
    from components.evaluator.gate.thresholds import GateRules
    from components.saved_models.saved_model import FloatModel

    source = saved_model(kind, directory / kind.replace(" ", "-"))
    tflite = directory / f"{source.name}.tflite"
    tflite.write_bytes(tf.lite.TFLiteConverter.from_saved_model(str(source), signature_keys=["edge"]).convert())
    rows = np.random.default_rng(1).normal(size=(num_rows, SIZE, SIZE, 1)).astype(np.float32)
    spent: list[float] = []
    originals = {model: model._find_feeding for model in (TFLiteModel, FloatModel)}
    for model, original in originals.items():
        setattr(model, "_find_feeding", timed(original, spent))  # noqa: B010
    started = time.process_time()
    labels = np.arange(num_rows) % NUM_CLASSES
    evaluate_arrays(source, tflite, {"image": rows}, labels, GateRules(), kernel_sample_size=0)
    whole = time.process_time() - started
    for model, original in originals.items():
        setattr(model, "_find_feeding", original)  # noqa: B010
    return sum(spent), whole


def main() -> None:
    """Prints one line per model."""
    parser = argparse.ArgumentParser(description="What finding out whether rows may go in together costs.")
    parser.add_argument("--rows", type=int, default=10_000, help="rows of the holdout (default: %(default)s)")
    arguments = parser.parse_args()
    print(f"{'model':20s} {'check':>8s} {'whole':>8s} {'share':>7s}   wanted: at most {WANTED:.0%} at 10,000 rows")
    with tempfile.TemporaryDirectory(prefix="row-check-") as scratch:
        for kind in ("convolutions", "batch normalization", "lstm"):
            check, whole = share_of_check(kind, arguments.rows, Path(scratch))
            print(f"{kind:20s} {check:7.2f}s {whole:7.2f}s {check / whole:7.2%}", flush=True)


if __name__ == "__main__":
    main()
