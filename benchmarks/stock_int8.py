"""What a user writes without Edgeproof: ``python -m benchmarks.stock_int8 SAVED_MODEL SIGNATURE POOL.npz OUT.tflite ROWS``.

TensorFlow's converter with full int8, calibrated with the first rows of the pool.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray


def main() -> None:
    """Converts one model."""
    saved_model, signature, pool, out, num_rows = sys.argv[1:]
    converter = tf.lite.TFLiteConverter.from_saved_model(saved_model, signature_keys=[signature])
    with np.load(pool, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}

    def rows() -> Iterator[dict[str, NDArray[np.generic]]]:
        for row in range(int(num_rows)):
            yield {name: array[row : row + 1] for name, array in arrays.items() if name != "y"}

    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = rows
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    Path(out).write_bytes(converter.convert())


if __name__ == "__main__":
    main()
