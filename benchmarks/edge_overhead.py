"""What `EdgeModel.predict` costs over a raw set_tensor, invoke, get_tensor of the same bytes in the same process.

Calls alternate, so that both meet the same machine; the figure is the difference of the medians, and beside it that of the
fastest tenths, which a busy machine disturbs less. The large model is
MobileNetV1 0.25 at 224 x 224 with random weights (its speed does not depend on them), int8, given the pixels of a picture;
the tiny ones are the test suite's.

Run: .venv/bin/python -m benchmarks.edge_overhead [--calls 2000] [--mobilenet FILE]

TensorFlow makes the large model in a child process; where `--mobilenet` names a file, it is kept there and used again.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from edgeproof_edge.interpreter import TFLiteModel
from edgeproof_edge.runtime import EdgeModel
from edgeproof_edge.tensors import quantize

from tests.edge.bundles import MODELS, draft_of, unpacked

#: What the device may cost: a share of a MobileNet's time, and so much of a tiny model's.
MAX_SHARE = 0.05
MAX_TINY_MICROSECONDS = 20.0

MAKE_MOBILENET = """
import sys
import numpy as np, tensorflow as tf, tf_keras as keras
pixels = keras.Input((224, 224, 3))
scaled = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(pixels)
body = keras.applications.MobileNet((224, 224, 3), alpha=0.25, weights=None, include_top=True, classes=100)
converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(pixels, body(scaled)))
converter.optimizations = [tf.lite.Optimize.DEFAULT]
random = np.random.default_rng(0)
converter.representative_dataset = lambda: ([random.uniform(0, 255, (1, 224, 224, 3)).astype(np.float32)] for _ in range(4))
converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
converter.inference_input_type = converter.inference_output_type = tf.int8
open(sys.argv[1], "wb").write(converter.convert())
"""


def main() -> None:
    """Measures and prints; exit code 1 where a bound is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--mobilenet", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        mobilenet = arguments.mobilenet or Path(directory) / "mobilenet.tflite"
        if not mobilenet.exists():
            subprocess.run([sys.executable, "-c", MAKE_MOBILENET, str(mobilenet)], check=True, capture_output=True)
        within = [
            _measure(Path(directory), mobilenet, np.uint8, arguments.calls // 4, is_tiny=False),
            _measure(Path(directory), MODELS / "int8.tflite", np.float32, arguments.calls, is_tiny=True),
            _measure(Path(directory), MODELS / "float32.tflite", np.float32, arguments.calls, is_tiny=True),
        ]
    sys.exit(0 if all(within) else 1)


def _measure(directory: Path, file: Path, dtype: type, num_calls: int, is_tiny: bool) -> bool:
    model = EdgeModel.open(unpacked(directory / file.stem, draft_of(file.read_bytes())))
    raw = TFLiteModel.load(file)
    shape = (1, *model.inputs[0].shape[1:])
    example = np.random.default_rng(1).integers(0, 256, shape).astype(dtype)
    spec = model.inputs[0]
    codes = [quantize(example, spec) if spec.is_quantized else example]  # zeros would be computed faster
    times = _times(lambda: raw.invoke_codes(codes), lambda: model.predict(example), num_calls)
    raw_us, wrapped_us = (float(np.median(kept)) for kept in times)
    fast_us = float(np.percentile(times[1], 10) - np.percentile(times[0], 10))
    cost = wrapped_us - raw_us
    within = cost <= (MAX_TINY_MICROSECONDS if is_tiny else MAX_SHARE * raw_us)
    print(
        f"{file.stem:<10} raw {raw_us:8.1f} us   EdgeModel {wrapped_us:8.1f} us   cost {cost:6.1f} us = {cost / raw_us:6.1%} "
        f"(fastest tenth {fast_us:6.1f} us)   "
        f"{'within' if within else 'BEYOND'} {f'{MAX_TINY_MICROSECONDS:g} us' if is_tiny else f'{MAX_SHARE:.0%}'}"
    )
    return within


def _times(raw: Any, wrapped: Any, num_calls: int) -> tuple[list[float], list[float]]:
    """Microseconds of either, in turns."""
    times: tuple[list[float], list[float]] = ([], [])
    for index in range(num_calls + 50):
        for kept, call in zip(times, (raw, wrapped), strict=True):
            started = time.perf_counter()
            call()
            if index >= 50:
                kept.append((time.perf_counter() - started) * 1e6)
    return times


if __name__ == "__main__":
    main()
